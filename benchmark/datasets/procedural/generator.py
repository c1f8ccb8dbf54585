"""Which categories and images there are, and the MVTec AD folder tree they are written to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.procedural import objects, textures
from benchmark.datasets.procedural.camera import Camera
from benchmark.datasets.procedural.canvas import Array, Stream
from benchmark.datasets.procedural.defects import Fault
from benchmark.datasets.procedural.png import write_png
from benchmark.errors import StoreError, UnknownNameError, UsageError
from benchmark.storage.scratch import scratch_folder

GENERATOR_VERSION = 1
"""Raised by any change that moves a pixel; part of every cache key and result."""

TRAIN_GOOD, TEST_GOOD, TEST_PER_DEFECT = 48, 30, 10
VISIBLE = 6.0
"""A pixel belongs to the mask if the defect moves one of its channels by more than this many grey levels."""


class Category(NamedTuple):
    paint: Callable[[Stream, Fault | None], Array]
    defects: tuple[str, str, str]


_CATEGORIES = {
    "capsule": Category(objects.capsule, ("crack", "dent", "misprint")),
    "connector": Category(objects.connector, ("bent_pin", "bridge", "missing_pin")),
    "metal": Category(textures.metal, ("corrosion", "dent", "scratch")),
    "nut": Category(objects.nut, ("rust", "scratch", "stripped_thread")),
    "ring": Category(objects.ring, ("cut", "fibre", "flash")),
    "tile": Category(textures.tile, ("chip", "crack", "stain")),
    "weave": Category(textures.weave, ("hole", "stain", "thread")),
    "wood": Category(textures.wood, ("hole", "scratch", "stain")),
}
CATEGORIES: tuple[str, ...] = tuple(_CATEGORIES)


class Image(NamedTuple):
    """One image to be rendered: ``split`` is "train" or "test", ``defect`` is "good" or a kind of the category."""

    category: str
    split: str
    defect: str
    number: int

    @property
    def path(self) -> Path:
        return Path(self.category, self.split, self.defect, f"{self.number:03d}.png")

    @property
    def mask_path(self) -> Path:
        return Path(self.category, "ground_truth", self.defect, f"{self.number:03d}_mask.png")


def render(
    category: str, split: str, defect: str, index: int, *, flawless: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Render one image and its mask.

    Args:
        category: One of ``CATEGORIES``.
        split: ``"train"`` or ``"test"``.
        defect: ``"good"`` or a kind of defect of the category.
        index: Number of the image within (split, defect), from 0.
        flawless: Leave the defect out: the same scene, light and noise without it.

    Returns:
        Pixels [112, 112, 3] in 0..255, and the mask [112, 112]: true exactly where the pixels differ from those of the
        flawless rendering.

    Raises:
        UnknownNameError: No such category or kind of defect.
        UsageError: No such split, or defects asked of the training split.
    """
    kinds = _look_up(category).defects
    if defect != "good" and defect not in kinds:
        raise UnknownNameError(f"defect of {category}", defect, ("good", *kinds))
    if split not in ("train", "test") or (split == "train" and defect != "good"):
        raise UsageError(f"no split {split!r} with {defect!r} images: train has good ones, test has good and defects")
    name = ("procedural", str(GENERATOR_VERSION), category, split, defect, str(index))
    number = index if defect == "good" else index * len(kinds) + kinds.index(defect)
    camera = Camera(Stream(*name, "camera"), number)
    clean = camera.expose(_CATEGORIES[category].paint(Stream(*name, "scene"), None))
    if defect == "good" or flawless:
        return np.floor(clean + 0.5).astype(np.uint8), np.zeros(clean.shape[:2], dtype=np.bool_)
    fault = Fault(defect, Stream(*name, "fault"))
    flawed = camera.expose(_CATEGORIES[category].paint(Stream(*name, "scene"), fault))
    mask = np.abs(flawed - clean).max(axis=2) > VISIBLE
    pixels = np.floor(np.where(mask[..., None], flawed, clean) + 0.5)
    return pixels.astype(np.uint8), mask


def images(category: str) -> Iterator[Image]:
    """Every image of a category: 48 training normals, 30 test normals, 10 of each kind of defect."""
    yield from (Image(category, "train", "good", i) for i in range(TRAIN_GOOD))
    yield from (Image(category, "test", "good", i) for i in range(TEST_GOOD))
    for defect in _look_up(category).defects:
        yield from (Image(category, "test", defect, i) for i in range(TEST_PER_DEFECT))


def generate(root: Path, *, categories: Sequence[str] | None = None) -> None:
    """Write categories (default: all) under ``root`` in the MVTec AD layout; those already there are left alone.

    Each category is written beside its place and renamed into it: an interrupted run leaves whole categories only.

    Raises:
        UnknownNameError: No such category; nothing was written.
        StoreError: The disk is full or read-only.
    """
    wanted = CATEGORIES if categories is None else tuple(categories)
    for category in wanted:
        _look_up(category)
    try:
        root.mkdir(parents=True, exist_ok=True)
        for category in wanted:
            if not (root / category).exists():
                _write(root, category)
    except OSError as error:
        raise StoreError(f"cannot write {root}: {error.strerror}; free space or set TRUSTAD_CACHE") from error


def _write(root: Path, category: str) -> None:
    with scratch_folder(root, category) as work:
        for image in images(category):
            pixels, mask = render(*image)
            write_png(work / image.path, pixels)
            if image.defect != "good":
                write_png(work / image.mask_path, np.where(mask, 255, 0).astype(np.uint8))
        try:
            (work / category).rename(root / category)
        except OSError:
            if not (root / category).is_dir():  # another process may have been first, with the same pixels
                raise


def _look_up(category: str) -> Category:
    if category not in _CATEGORIES:
        raise UnknownNameError("procedural category", category, CATEGORIES)
    return _CATEGORIES[category]
