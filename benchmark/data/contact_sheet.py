"""A contact sheet of one category: training images, normal test images and each defect with its mask outlined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from benchmark.errors import DataError
from benchmark.types.data import Dataset, Manifest, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE = 160
CAPTION = 14
COLUMNS = 6
OUTLINE = (255, 32, 32)


def contact_sheet(dataset: Dataset, manifest: Manifest, category: str) -> Image.Image:
    """One row per group (train, test good, every defect), the first images of each, masks outlined in red.

    Raises:
        DataError: If the category is absent, damaged or empty.
    """
    rows = _rows(manifest, category)
    if not rows:
        raise DataError(
            f"{manifest.dataset}/{category}: no images; present: {', '.join(manifest.categories()) or 'none'}"
        )
    sheet = Image.new("RGB", (COLUMNS * TILE, len(rows) * (TILE + CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (title, samples) in enumerate(rows):
        top = number * (TILE + CAPTION)
        pen.text((2, top + 1), f"{title} ({len(samples)})", fill="black")
        for column, sample in enumerate(samples[:COLUMNS]):
            tile = _tile(dataset, sample)
            left = column * TILE + (TILE - tile.width) // 2
            sheet.paste(tile, (left, top + CAPTION + (TILE - tile.height) // 2))
    return sheet


def _rows(manifest: Manifest, category: str) -> list[tuple[str, Sequence[Sample]]]:
    test = manifest.of(category, "test")
    rows = [("train / good", manifest.of(category, "train"))]
    for defect in sorted({sample.defect for sample in test}, key=lambda name: (name != "good", name)):
        rows.append((f"test / {defect}", tuple(sample for sample in test if sample.defect == defect)))
    return [row for row in rows if row[1]]


def _tile(dataset: Dataset, sample: Sample) -> Image.Image:
    tile = Image.fromarray(dataset.image(sample))
    tile.thumbnail((TILE - 2, TILE - 2), Image.Resampling.LANCZOS)
    mask = dataset.mask(sample) if sample.label else None
    if mask is None:
        return tile
    pixels = np.array(tile)
    pixels[_outline(mask, tile.size)] = OUTLINE
    return Image.fromarray(pixels)


def _outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Border pixels of a mask at tile size; any covered pixel counts, so that thin defects stay visible."""
    small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) > 0
    padded = np.pad(small, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return small & ~inner
