"""Decode once: canonical 8-bit images and masks in memory-mapped files, so that later passes read at memory speed.

A shard is a safetensors file with a few dozen images, named by the keys in it, with a checksum per image in its header.
A shard that fails its checks is deleted and its images are decoded again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.data.canonical import RECIPE, canonical_mask, canonical_shape, canonicalise
from benchmark.errors import DataError, NotApplicableError, ResultError, StoreError
from benchmark.storage.cachedir import cache_dir
from benchmark.storage.jsonio import atomic_write, digest_json, strict_loads
from benchmark.types.data import Dataset, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARD = 32
"""Most images in one shard file: bounds both the memory of a worker and the work lost with a corrupt file."""
LAYOUT = 2
"""Version of the shard files."""
COLUMNS = 509
METADATA = "__metadata__"
DTYPES = {"U8": np.uint8, "BOOL": np.bool_}


class ImageStore:
    """Canonical images and masks of data sets, decoded on first use and kept on disk.

    Args:
        edge: Canonical smaller edge in pixels.
        cache: Folder that may be deleted at any time; default: the user's cache folder.
        workers: Threads that decode (Pillow releases the interpreter lock); default: one per core, at most 8.
    """

    def __init__(self, edge: int, cache: Path | None = None, workers: int | None = None) -> None:
        self.edge = edge
        self._folder = (cache or cache_dir()) / f"images-{LAYOUT}" / f"recipe-{RECIPE}-edge-{edge}"
        self._workers = workers or min(8, os.cpu_count() or 1)
        self._where: dict[Path, dict[str, Path]] = {}

    def get(self, dataset: Dataset, samples: Sequence[Sample]) -> list[NDArray[np.uint8]]:
        """Canonical images, uint8 [h, w, 3], aligned with ``samples``.

        Raises:
            DataError: If files cannot be decoded; the message names the first, and how many there are.
        """

        def decode(sample: Sample) -> NDArray[Any]:
            return canonicalise(dataset.image(sample), self.edge)

        return self._all(dataset, samples, [sample.sha256 for sample in samples], decode)

    def masks(self, dataset: Dataset, samples: Sequence[Sample]) -> list[NDArray[np.bool_]]:
        """Canonical masks, bool [h, w] (True = defect), aligned with ``samples``; all False for normal samples.

        Raises:
            NotApplicableError: If the data set has no masks.
            DataError: As `get`.
        """
        if not dataset.info.has_masks:
            raise NotApplicableError(f"{dataset.info.name}: no masks, so there are no pixel metrics")

        def decode(sample: Sample) -> NDArray[Any]:
            mask = dataset.mask(sample)
            if mask is None:
                raise DataError(f"{sample.id}: no mask although {dataset.info.name} has masks")
            return canonical_mask(mask, canonical_shape(sample.height, sample.width, self.edge))

        keys = [digest_json([sample.id, sample.sha256, sample.masks, dict(sample.meta)]) for sample in samples]
        return self._all(dataset, samples, keys, decode)

    def _all(
        self, dataset: Dataset, samples: Sequence[Sample], keys: Sequence[str], decode: Callable[[Sample], NDArray[Any]]
    ) -> list[NDArray[Any]]:
        folder = self._folder / f"{dataset.info.name}-{dataset.info.version}"
        found = self._read(folder, keys)
        missing = {key: sample for key, sample in zip(keys, samples, strict=True) if key not in found}
        if missing:
            self._build(folder, missing, decode)
            found |= self._read(folder, missing)
        if any(key not in found for key in keys):
            raise StoreError(f"{folder} changes while it is read; point TRUSTAD_CACHE to a folder of its own")
        return [found[key] for key in keys]

    def _read(self, folder: Path, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
        """What the shards hold of ``keys``; a damaged shard is deleted and gives nothing."""
        where = self._shards(folder)
        known = sorted((where[key], key) for key in set(keys) if key in where)
        found: dict[str, NDArray[Any]] = {}
        for shard, group in groupby(known, key=lambda item: item[0]):
            try:
                found |= _load(shard, [key for _, key in group])
            except DataError:
                shard.unlink(missing_ok=True)
                self._where[folder] = {key: path for key, path in where.items() if path != shard}
                where = self._where[folder]
        return found

    def _shards(self, folder: Path) -> dict[str, Path]:
        """Key -> shard, from the headers on disk, read once per folder."""
        if folder not in self._where:
            self._where[folder] = {}
            for shard in sorted(folder.glob("*.safetensors")):
                try:
                    self._where[folder] |= dict.fromkeys(_keys(shard), shard)
                except DataError:
                    shard.unlink(missing_ok=True)
        return self._where[folder]

    def _build(self, folder: Path, missing: dict[str, Sample], decode: Callable[[Sample], NDArray[Any]]) -> None:
        """Decode in parallel, one shard per task, and report every broken file together."""
        jobs = list(missing.items())
        size = min(SHARD, -(-len(jobs) // self._workers))
        batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        broken: list[str] = []

        def build(batch: list[tuple[str, Sample]]) -> tuple[Path, list[str]]:
            images: dict[str, NDArray[Any]] = {}
            for key, sample in batch:
                try:
                    images[key] = np.ascontiguousarray(decode(sample))
                except DataError as error:
                    broken.append(str(error))
            shard = folder / f"{digest_json(sorted(images))[:32]}.safetensors"
            if images:
                _save(shard, images)
            return shard, list(images)

        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            for shard, keys in pool.map(build, batches):
                self._where[folder] |= dict.fromkeys(keys, shard)
        if broken:
            more = f" (and {len(broken) - 1} more files)" if len(broken) > 1 else ""
            raise DataError(f"{sorted(broken)[0]}{more}; `trustad data verify` lists every fault")


def _save(shard: Path, images: dict[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    checks = {key: _check(image) for key, image in images.items()}
    atomic_write(shard, save(images, checks), durable=False)  # save_file has temporary files of its own


def _check(image: NDArray[Any]) -> str:
    """CRC-32 of the wrapping sums of `COLUMNS` interleaved columns of 64-bit words, and of the bytes left over.

    As fast as memory, where a CRC of all bytes takes most of a pass; 509 is prime, so that swapped pages show, too.
    """
    data = image.reshape(-1).view(np.uint8)
    whole = len(data) // (8 * COLUMNS) * (8 * COLUMNS)
    sums = np.add.reduce(data[:whole].view(np.uint64).reshape(-1, COLUMNS), axis=0)
    return str(zlib.crc32(data[whole:].data, zlib.crc32(sums.data)))


def _open(shard: Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Header and data of a mapped safetensors file. Pages are private: the caller may write into arrays.

    Raises:
        DataError: If the file is cut off or its header is damaged.
    """
    try:
        mapped = np.memmap(shard, np.uint8, mode="c")
        start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
        header: dict[str, Any] = strict_loads(mapped[8:start].tobytes(), source=str(shard))
    except (OSError, ValueError, OverflowError, ResultError) as error:
        raise DataError(f"{shard}: damaged cache file") from error
    return header, mapped[start:].view(np.ndarray)


def _keys(shard: Path) -> list[str]:
    return [key for key in _open(shard)[0] if key != METADATA]


def _load(shard: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of a mapped shard, checked against its header; nothing is copied."""
    header, data = _open(shard)
    images = {}
    for key in keys:
        try:
            entry = header[key]
            start, stop = entry["data_offsets"]
            image = data[start:stop].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
            whole = header[METADATA][key] == _check(image)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{shard}: damaged cache file") from error
        if not whole:
            raise DataError(f"{shard}: damaged cache file")
        images[key] = image
    return images
