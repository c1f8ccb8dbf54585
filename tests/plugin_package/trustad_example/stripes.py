"""A data set made in memory: stripes, and stripes with a blot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.manifest import build_manifest
from benchmark.types import DatasetInfo, Manifest, Sample

SIZE = 48


class Stripes:
    """Two categories of stripes; the number in a sample's id seeds its pixels."""

    root: Path | None = None
    info = DatasetInfo(
        name="stripes",
        version=1,
        title="Stripes",
        categories=("wide", "narrow"),
        licence="CC0-1.0",
        url="",
        citation="",
        redistributable=True,
    )

    def __init__(self, root: Path | None = None) -> None:
        pass

    def index(self, categories: Sequence[str] | None = None) -> Manifest:
        wanted = self.info.categories if categories is None else categories
        splits = [("train", "good", 8), ("test", "good", 4), ("test", "blot", 4)]
        return build_manifest(
            self.info,
            [
                self._sample(category, split, defect, number)
                for category in wanted
                for split, defect, count in splits
                for number in range(count)
            ],
        )

    def image(self, sample: Sample) -> NDArray[np.uint8]:
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(sample.id.encode()).digest()[:8], "big"))
        period = 12 if sample.category == "wide" else 6
        row = ((np.arange(SIZE) + rng.integers(period)) // (period // 2) % 2) * 160 + 40
        image = np.tile(row[None, :, None], (SIZE, 1, 3)) + rng.integers(0, 20, (SIZE, SIZE, 3))
        image[self.mask(sample)] = 128
        return image.astype(np.uint8)

    def mask(self, sample: Sample) -> NDArray[np.bool_]:
        mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
        if sample.label:
            corner = 4 + 5 * int(sample.id[-1])
            mask[corner : corner + 8, corner : corner + 8] = True
        return mask

    def _sample(self, category: str, split: str, defect: str, number: int) -> Sample:
        name = f"{category}/{split}/{defect}/{number}"
        label, blank = int(defect != "good"), hashlib.sha256(name.encode()).hexdigest()
        return Sample(name, category, split, label, defect, "", (), blank, SIZE, SIZE)  # type: ignore[arg-type]
