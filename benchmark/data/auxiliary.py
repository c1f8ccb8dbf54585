"""A registered data set as the labelled auxiliary images that trainings of adapters take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.data.canonical import RECIPE
from benchmark.data.image_store import ImageStore
from benchmark.errors import DataError, NotApplicableError
from benchmark.registry import load_attribute
from benchmark.storage.jsonio import digest_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchmark.types import Dataset, Sample


def auxiliary_set(dataset: Dataset, categories: Sequence[str], edge: int, *, store: ImageStore | None = None) -> Any:
    """The test split of a data set as a `detectors.training.auxiliary.AuxiliarySet`; images are decoded when asked for.

    Args:
        dataset: With masks.
        categories: Categories to take; empty = all that are there.
        edge: Canonical smaller edge in pixels.
        store: Decoded images; default: one in the user's cache.

    Raises:
        NotApplicableError: If the data set has no masks or no normal images.
        DataError: If a category is damaged or nothing is left.
    """
    import torch

    from benchmark.data.episodes import as_tensor

    info = dataset.info
    if not (info.has_masks and info.has_normals):
        raise NotApplicableError(f"{info.name}: adapters need normal images and masks of anomalies to train on")
    manifest = dataset.index(categories or None)
    images = store or ImageStore(edge)

    def image(sample: Sample) -> Tensor:
        return as_tensor(images.get(dataset, [sample])[0])

    def mask(sample: Sample) -> Tensor:
        return torch.from_numpy(images.masks(dataset, [sample])[0].copy())

    kind = load_attribute("detectors.training.auxiliary:AuxiliarySample")
    samples = [
        kind(
            id=sample.id,
            digest=digest_json([sample.sha256, RECIPE]),
            category=sample.category,
            class_name=info.class_names.get(sample.category, sample.category),
            label=sample.label,
            image=lambda sample=sample: image(sample),
            mask=lambda sample=sample: mask(sample),
        )
        for category in manifest.categories()
        for sample in manifest.of(category, "test")
    ]
    if not samples:
        raise DataError(f"{info.name}: no test images under {dataset.root}")
    return load_attribute("detectors.training.auxiliary:AuxiliarySet")(info.name, manifest.digest, edge, tuple(samples))
