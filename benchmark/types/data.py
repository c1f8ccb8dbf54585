"""Data contracts: samples, manifests, episodes and the support set that a detector is fitted on.

Words: a *category* is one object or texture; *support* are the k normal reference images; *query* is the test split.
``label`` is 1 for anomalous and comes from the folder, never from the mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from benchmark.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set.

    Attributes:
        id: Unique within the data set and stable across machines: the POSIX path of the image relative to the root.
        category: Object or texture.
        split: ``"train"`` (normals only) or ``"test"``.
        label: 0 normal, 1 anomalous; from the folder.
        defect: Defect folder name, ``"good"`` for normals.
        path: Image path relative to the root (POSIX), or ``""`` when the image is made in memory.
        masks: Mask paths relative to the root; several where a data set has one file per defect region.
        sha256: SHA-256 of the image file's bytes (of the pixels, where there is no file).
        width: Original width in pixels.
        height: Original height in pixels.
        meta: Data-set specific facts, e.g. ``{"lighting": "shift_1"}``.
    """

    id: str
    category: str
    split: Literal["train", "test"]
    label: int
    defect: str
    path: str
    masks: tuple[str, ...]
    sha256: str
    width: int
    height: int
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file. A category with problems fails as a whole; nothing is skipped silently."""

    category: str
    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The index of a data set on disk: every sample, sorted by id, and what is wrong with it.

    ``digest`` is a SHA-256 over the canonical JSON of all samples; it goes into every result.
    """

    dataset: str
    version: int
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]
    digest: str

    def categories(self) -> tuple[str, ...]:
        """Categories present on disk, sorted."""
        return tuple(sorted({s.category for s in self.samples} | {p.category for p in self.problems}))

    def of(self, category: str, split: str) -> tuple[Sample, ...]:
        """Samples of one category and split, in manifest order.

        Raises:
            DataError: If the category has problems; the message names the first and counts the others.
        """
        bad = [p for p in self.problems if p.category == category]
        if bad:
            more = f" (and {len(bad) - 1} more; see `trustad data verify {self.dataset}`)" if len(bad) > 1 else ""
            raise DataError(f"{self.dataset}/{category}: {bad[0].path}: {bad[0].what}{more}")
        return tuple(s for s in self.samples if s.category == category and s.split == split)


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a data set is, for cards, the leaderboard and refusals.

    Attributes:
        name: Registry name.
        version: Bumped whenever the loader would yield other samples or pixels from the same files.
        title: Human name.
        categories: Published categories, in the publication's order.
        licence: SPDX-like text.
        url: Official page.
        citation: Short citation.
        has_normals: False for the pixel-only medical sets: no image metrics, no support, no rank.
        has_masks: False for image-level sets.
        redistributable: True where the licence lets images be shown in the gallery.
        size_bytes: Approximate download size, or None.
        class_names: Natural-language class name per category, for text prompts, where it differs.
    """

    name: str
    version: int
    title: str
    categories: tuple[str, ...]
    licence: str
    url: str
    citation: str
    has_normals: bool = True
    has_masks: bool = True
    redistributable: bool = False
    size_bytes: int | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)


class Dataset(Protocol):
    """A data set on disk or in memory. Registered as a factory ``(root: Path | None) -> Dataset``."""

    @property
    def info(self) -> DatasetInfo: ...

    @property
    def root(self) -> Path | None: ...

    def index(self, categories: Sequence[str] | None = None) -> Manifest:
        """Index the given categories (default: all present). Missing categories are not an error here."""
        ...

    def image(self, sample: Sample) -> NDArray[np.uint8]:
        """Decode one image: uint8 RGB [H, W, 3] at original resolution; EXIF orientation is ignored."""
        ...

    def mask(self, sample: Sample) -> NDArray[np.bool_] | None:
        """Ground truth [H, W] (True = defect) at original resolution; None where the data set has no masks.

        Normal samples give an all-False mask when the data set has masks.
        """
        ...


@dataclass(frozen=True, slots=True)
class CategoryInfo:
    """Where a support set comes from; detectors with per-category rules or text prompts read it."""

    dataset: str
    category: str
    class_name: str


class Support(ABC):
    """The k reference images of an episode. All are normal. k = 0 in the zero-shot tracks."""

    info: CategoryInfo
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    @abstractmethod
    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        """Canonical reference images, one list per sample with one uint8 [3, H, W] tensor per angle.

        Args:
            angles: Degrees, counter-clockwise. The ORIGINAL image is rotated about its centre on the same canvas
                (bilinear, reflect-101 border) and then made canonical; angle 0 is the untouched image.
        """

    def images(self) -> list[Tensor]:
        """The canonical reference images, uint8 [3, H, W] each."""
        return [views[0] for views in self.views()]


@dataclass(frozen=True, slots=True)
class Episode:
    """One few-shot task: (data set, category, shots, seed) with its query samples, in manifest order."""

    dataset: str
    category: str
    shots: int
    seed: int
    support: tuple[Sample, ...]
    query: tuple[Sample, ...]
