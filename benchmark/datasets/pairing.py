"""Matching images with their masks by file stem, never by extension."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmark.datasets.files import relative
from benchmark.types.data import Problem


def by_stem(paths: Iterable[Path], ending: str = "") -> dict[str, list[Path]]:
    """Group files by stem, without ``ending`` where the stem has it."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.stem.removesuffix(ending), []).append(path)
    return groups


def pair(
    root: Path, category: str, images: Sequence[Path], masks: Sequence[Path], ending: str = ""
) -> Iterator[tuple[Path, Path] | Problem]:
    """Pair every image with the one mask of its stem (plus ``ending``).

    Yields:
        (image, mask), or a `Problem` for an image without a mask, a mask without an image, or a stem used twice.
    """
    images_of, masks_of = by_stem(images), by_stem(masks, ending)
    for stem, group in images_of.items():
        if len(group) > 1:
            yield Problem(category, relative(root, group[1]), f"has the same stem as {group[0].name}")
        elif stem not in masks_of:
            yield Problem(category, relative(root, group[0]), "defective image without a mask")
        elif len(masks_of[stem]) > 1:
            yield Problem(category, relative(root, masks_of[stem][1]), f"second mask beside {masks_of[stem][0].name}")
        else:
            yield group[0], masks_of[stem][0]
    for stem in masks_of.keys() - images_of.keys():
        yield Problem(category, relative(root, masks_of[stem][0]), "mask without an image")
