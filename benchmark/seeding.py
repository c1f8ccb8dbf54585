"""Random numbers keyed by a name: the same on every machine and in every NumPy version, whatever ran before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def keyed_uniforms(key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) on a grid of 2**-53, a function of ``key`` and ``shape`` alone.

    Built on raw PCG64 output, whose stream NumPy guarantees (NEP 19); ``Generator`` methods may change.
    """
    return _next(_stream(key), shape)


def keyed_rows(key: str, rows: int, columns: int, block: int = 128) -> Iterator[npt.NDArray[np.float64]]:
    """``keyed_uniforms(key, (rows, columns))``, some rows at a time."""
    stream = _stream(key)
    for start in range(0, rows, block):
        yield _next(stream, (min(block, rows - start), columns))


def _stream(key: str) -> np.random.PCG64:
    return np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))


def _next(stream: np.random.PCG64, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    raw = stream.random_raw(int(np.prod(shape)))
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53, dtype=np.float64).reshape(shape)
