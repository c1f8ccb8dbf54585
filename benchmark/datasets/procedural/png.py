"""PNG files whose bytes depend on the pixels alone: compressors differ between machines, so nothing is compressed."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STORED = 0xFFFF
"""Longest stored block of a zlib stream, in bytes."""


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write grey [H, W] or RGB [H, W, 3] pixels."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", _stored(rows)) + _chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stored(data: bytes) -> bytes:
    """A zlib stream of stored blocks (RFC 1950, 1951)."""
    starts = range(0, len(data), STORED)
    blocks = [data[start : start + STORED] for start in starts]
    framed = [
        struct.pack("<BHH", start + STORED >= len(data), len(block), len(block) ^ STORED) + block
        for start, block in zip(starts, blocks, strict=True)
    ]
    return b"\x78\x01" + b"".join(framed) + struct.pack(">I", zlib.adler32(data))
