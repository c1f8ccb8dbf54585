"""scikit-learn's handwritten digits as one-class episodes: one digit is normal, the other nine are anomalies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmark.datasets.manifest import build_manifest
from benchmark.errors import DataError
from benchmark.storage.jsonio import digest_bytes
from benchmark.types.data import DatasetInfo, Manifest, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EDGE = 112
TRAIN = 60
"""The first images of a digit, in the collection's order, are its training normals; no later image is ever one."""
PER_OTHER = 12
"""Anomalies per category from each other digit, the first of those that are not training images of their own."""

Item = tuple[Literal["train", "test"], int, int]
"""Split, digit shown, and row in scikit-learn's table."""


class Digits:
    """1,797 real 8x8 scans (UCI Optical Recognition of Handwritten Digits), enlarged to 112 pixels; no masks."""

    root: Path | None = None
    info = DatasetInfo(
        name="digits",
        version=1,
        title="Handwritten digits",
        categories=tuple("0123456789"),
        licence="CC-BY-4.0",
        url="https://archive.ics.uci.edu/dataset/80",
        citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998; via scikit-learn",
        has_masks=False,
        redistributable=True,
        class_names={digit: f"handwritten digit {digit}" for digit in "0123456789"},
    )

    def __init__(self, root: Path | None = None) -> None:
        """``root`` is not used: scikit-learn carries the images."""

    def index(self, categories: Sequence[str] | None = None) -> Manifest:
        """Index the given digits (default: all ten).

        Raises:
            DataError: If a category is not a digit.
        """
        wanted = self.info.categories if categories is None else tuple(dict.fromkeys(categories))
        if unknown := [category for category in wanted if category not in self.info.categories]:
            raise DataError(f"digits has no category {unknown[0]!r}; it has {', '.join(self.info.categories)}")
        return build_manifest(
            self.info, (self._sample(category, *item) for category in wanted for item in self.items(category))
        )

    def items(self, category: str) -> Iterator[Item]:
        """Training normals, held-out normals and anomalies of a category."""
        for digit in range(10):
            rows = [row for row, shown in enumerate(self._digits[1]) if shown == digit]
            if digit == int(category):
                yield from (("train", digit, row) for row in rows[:TRAIN])
                yield from (("test", digit, row) for row in rows[TRAIN:])
            else:
                yield from (("test", digit, row) for row in rows[TRAIN : TRAIN + PER_OTHER])

    def image(self, sample: Sample) -> NDArray[np.uint8]:
        """Dark ink on white paper, uint8 [112, 112, 3]."""
        return self._enlarged(int(sample.meta["row"]))

    def mask(self, sample: Sample) -> None:
        """There are no masks."""

    def _sample(self, category: str, split: Literal["train", "test"], digit: int, row: int) -> Sample:
        normal = digit == int(category)
        defect = "good" if normal else f"digit_{digit}"
        name, content = f"{category}/{split}/{defect}/{row:04d}", digest_bytes(self._enlarged(row).tobytes())
        return Sample(name, category, split, int(not normal), defect, "", (), content, EDGE, EDGE, {"row": str(row)})

    @cached_property
    def _digits(self) -> tuple[NDArray[np.uint8], list[int]]:
        """Ink [1797, 8, 8] in 0..16 and the digit shown."""
        from sklearn.datasets import load_digits

        table = load_digits()
        return table.images.astype("uint8"), table.target.tolist()

    def _enlarged(self, row: int) -> NDArray[np.uint8]:
        import numpy as np
        from PIL import Image

        paper = 255 - np.minimum(self._digits[0][row].astype(np.int64) * 16, 255)
        large = Image.fromarray(paper.astype(np.uint8)).resize((EDGE, EDGE), Image.Resampling.BICUBIC)
        return np.repeat(np.asarray(large)[:, :, None], 3, axis=2)
