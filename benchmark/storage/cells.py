"""The run folder's memory: one file per cell, addressed by what it depends on.

A *cell* is the score vector of one (detector, episode, attack, budget). Its address is the SHA-256 of a
canonical JSON of everything that can change a score. Cells are safetensors files: no code runs when one is
read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import StoreError
from benchmark.storage.jsonio import atomic_write, canonical_json, digest_bytes, digest_json
from benchmark.storage.scratch import try_lock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CellPixels:
    """Pixel evidence of one cell, on ``bins`` equal bins of [low, high].

    Attributes:
        low, high: The category's clean map range, shared by all conditions of one fitted detector.
        image: int32 [M] index of the image in the cell's sample order.
        region: int32 [M]; -1 = the image's normal pixels, 0.. = its ground-truth regions.
        counts: int32 [M, bins] pixels per bin.
    """

    low: float
    high: float
    image: NDArray[np.int32]
    region: NDArray[np.int32]
    counts: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Cell:
    """One evaluated condition.

    Attributes:
        address: SHA-256 of the key.
        key: Everything that the scores depend on.
        scores: float32 [N] in the order of the cell's sample list.
        pixels: Pixel evidence, where the track asks for it and the detector has a map.
        facts: Deterministic facts for cost and validity: passes per image, zero-gradient count ...
        seconds: Wall time of its own scoring, and its share of the time that the images and their features took.
    """

    address: str
    key: Mapping[str, Any]
    scores: NDArray[np.float32]
    pixels: CellPixels | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def cell_address(key: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of the key."""
    return digest_json(key)


class CellStore:
    """Cells below ``<run>/cells``. Reading re-checks the digest; a corrupt cell counts as missing and is reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cells"
        self.corrupt: list[str] = []

    def path(self, address: str) -> Path:
        """Where the cell of an address lies."""
        return self.folder / address[:2] / f"{address}.safetensors"

    def __contains__(self, address: str) -> bool:
        return self.load(address) is not None

    def addresses(self) -> Iterator[str]:
        """Addresses of all files present, sorted."""
        for path in sorted(self.folder.glob("??/*.safetensors")):
            yield path.stem

    def save(self, cell: Cell) -> None:
        """Write a cell atomically; the payload digest travels in its header."""
        atomic_write(self.path(cell.address), _encode(cell))

    def fault(self, address: str) -> str:
        """What is wrong with a stored cell, "" if nothing is; unlike `load` this removes nothing.

        Raises:
            StoreError: If the file cannot be read.
        """
        try:
            _decode(self.path(address).read_bytes(), address)
        except (ValueError, KeyError, TypeError) as error:
            return str(error)
        except OSError as error:
            raise StoreError(f"cannot read {self.path(address)}: {error.strerror}") from error
        return ""

    def load(self, address: str) -> Cell | None:
        """Read a cell, or None where it is missing or corrupt (then listed in ``corrupt`` and removed)."""
        path = self.path(address)
        try:
            return _decode(path.read_bytes(), address)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            self.corrupt.append(f"{path.name}: {error}")
            path.unlink(missing_ok=True)
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error


def _encode(cell: Cell) -> bytes:
    import numpy as np
    from safetensors.numpy import save

    tensors: dict[str, Any] = {"scores": np.ascontiguousarray(cell.scores, np.float32)}
    header: dict[str, Any] = {"key": dict(cell.key), "facts": dict(cell.facts), "seconds": cell.seconds}
    if cell.pixels is not None:
        pixels = cell.pixels
        header["range"] = [pixels.low, pixels.high]
        tensors |= {"image": pixels.image, "region": pixels.region, "counts": pixels.counts}
    header["digest"] = _payload_digest(tensors, header)
    return bytes(save(tensors, metadata={"trustad": canonical_json(header)}))


def _decode(data: bytes, address: str) -> Cell:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["trustad"])
    except SafetensorError as error:
        raise ValueError(f"not a cell file ({error})") from error
    if header.pop("digest") != _payload_digest(tensors, header):
        raise ValueError("the digest does not match the content")
    if cell_address(header["key"]) != address:
        raise ValueError("the cell belongs to another address")
    pixels = None
    if "range" in header:
        low, high = header["range"]
        pixels = CellPixels(low, high, tensors["image"], tensors["region"], tensors["counts"])
    return Cell(address, header["key"], tensors["scores"], pixels, header["facts"], header["seconds"])


def _payload_digest(tensors: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    parts = [canonical_json(header).encode()]
    parts += [name.encode() + tensors[name].tobytes() for name in sorted(tensors)]
    return digest_bytes(b"\x00".join(parts))


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock vanishes with the process, however it ends.

    Raises:
        StoreError: If another run holds it, or the folder cannot be written.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
    with handle:
        if not try_lock(handle.fileno()):
            raise StoreError(f"another run is using {folder}; wait for it to end or choose another --out")
        yield
