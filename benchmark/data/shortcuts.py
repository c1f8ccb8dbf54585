"""Shortcut audit: how well trivial statistics, which know nothing of defects, separate a category's clean test images.

A category whose defects differ in brightness, sharpness or file size can be "solved" without seeing a defect. One
circulating copy of MVTec AD screw separates by mean brightness alone. Results on such a category carry the warning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmark.errors import DataError, ResultError
from benchmark.metrics.ranking import auroc_value
from benchmark.storage.cachedir import cache_dir
from benchmark.storage.jsonio import load_checked, save_checked
from benchmark.types.data import Dataset, Manifest, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
WARN_AT = 0.95
"""From this AUROC on a statistic counts as a shortcut."""
THUMBNAIL = 32
NEIGHBOUR = "thumbnail_1nn"


@dataclass(frozen=True, slots=True)
class CategoryAudit:
    """AUROC of each trivial statistic on the clean test split of one category.

    Attributes:
        category: Category.
        auroc: Statistic -> AUROC; of the better direction, because either is a shortcut, except for the thumbnail
            1-NN, where far from the training images is the only direction. Empty when there is nothing to separate.
        reason: Why there are no figures, or "".
    """

    category: str
    auroc: Mapping[str, float]
    reason: str = ""

    @property
    def warning(self) -> str | None:
        """One sentence for results on this category, or None."""
        if not self.auroc:
            return None
        name = max(self.auroc, key=lambda key: self.auroc[key])
        if self.auroc[name] < WARN_AT:
            return None
        return f"{name} alone separates the test images of {self.category} with AUROC {self.auroc[name]:.2f}"


def audit(dataset: Dataset, manifest: Manifest) -> tuple[CategoryAudit, ...]:
    """Audit every category of a manifest; remembered by the digest of a faultless manifest.

    A category with broken files, or without both classes, has no figures and a reason.
    """
    store = cache_dir() / "audit" / f"v{VERSION}-{manifest.dataset}-{manifest.version}-{manifest.digest[:32]}.json"
    try:
        return tuple(CategoryAudit(**row) for row in load_checked(store))
    except (OSError, ResultError, TypeError):
        pass
    audits = tuple(_category(dataset, manifest, category) for category in manifest.categories())
    if not manifest.problems:  # the digest covers samples, not faults, which may be repaired
        save_checked(store, [asdict(row) for row in audits])
    return audits


def _category(dataset: Dataset, manifest: Manifest, category: str) -> CategoryAudit:
    if not dataset.info.has_normals:
        return CategoryAudit(category, {}, "no normal images")
    try:
        test, train = manifest.of(category, "test"), manifest.of(category, "train")
        labels = np.array([sample.label for sample in test], dtype=np.bool_)
        if labels.all() or not labels.any():
            return CategoryAudit(category, {}, "the test split holds one class only")
        rows, seen = _measure(dataset, test), _measure(dataset, train)
    except DataError as error:
        return CategoryAudit(category, {}, str(error))
    found = {name: _two_sided(np.array([row[0][name] for row in rows]), labels) for name in rows[0][0]}
    if seen:
        nearest = _nearest(np.stack([row[1] for row in rows]), np.stack([row[1] for row in seen]))
        found[NEIGHBOUR] = auroc_value(nearest[labels], nearest[~labels])
    return CategoryAudit(category, {name: round(value, 6) for name, value in found.items()})


def _measure(dataset: Dataset, samples: Sequence[Sample]) -> list[tuple[dict[str, float], NDArray[np.float32]]]:
    """Statistics and thumbnail of each image."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda sample: _statistics(dataset, sample), samples))


def _statistics(dataset: Dataset, sample: Sample) -> tuple[dict[str, float], NDArray[np.float32]]:
    image = dataset.image(sample)
    grey = np.asarray(Image.fromarray(image).convert("L")).astype(np.float32)
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    values = {
        "mean": float(grey.mean(dtype=np.float64)),
        "standard_deviation": float(grey.std(dtype=np.float64)),
        "sharpness": float(np.abs(edges).mean(dtype=np.float64)) if edges.size else 0.0,
        "resolution": float(grey.size),
    }
    values |= {f"percentile_{q}": float(np.percentile(grey, q)) for q in (1, 5, 50, 95, 99)}
    if sample.path and dataset.root is not None:
        values["file_size"] = float((dataset.root / sample.path).stat().st_size)
    small = Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return values, np.asarray(small, dtype=np.float32).reshape(-1)


def _two_sided(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    value = auroc_value(scores[labels], scores[~labels])
    return max(value, 1 - value)


def _nearest(query: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each query thumbnail [n, d] to the nearest of the reference thumbnails [m, d]."""
    distances = [np.sqrt(((reference - row) ** 2).sum(axis=1, dtype=np.float64)).min() for row in query]
    return np.array(distances, dtype=np.float64)
