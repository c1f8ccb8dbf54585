"""Episodes: the images a detector is fitted on and scores, and their fixed batches (PROTOCOL.md, section 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from benchmark.data.canonical import canonicalise, rotate
from benchmark.errors import DataError, NotApplicableError, UsageError
from benchmark.types.data import CategoryInfo, Dataset, Episode, Manifest, Sample, Support

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


def sample_episode(
    dataset: Dataset, manifest: Manifest, category: str, shots: int, seed: int, limit: int | None = None
) -> Episode:
    """The episode (category, shots k, seed s): support = sorted train/good files [s*k : (s+1)*k], query = test split.

    Args:
        dataset: Where the manifest comes from.
        manifest: Its index.
        category: One of its categories.
        shots: Number of support images k; 0 in the zero-shot tracks.
        seed: Which slice s of the training files.
        limit: Keep the first ``limit`` normal query images and ``limit`` anomalies, dealt from the defects in turn, all
            in manifest order; None keeps the whole test split.

    Raises:
        UsageError: If a number is out of range.
        DataError: If the category is absent, damaged or has too few normal images, or if a support image is
            also a query image (same content).
        NotApplicableError: If shots are asked from a data set without normal images.
    """
    if shots < 0 or seed < 0 or (limit is not None and limit < 1):
        raise UsageError(f"shots={shots}, seed={seed}, limit={limit}: shots and seed must be >= 0, limit >= 1")
    where = f"{manifest.dataset}/{category}"
    if shots and not dataset.info.has_normals:
        raise NotApplicableError(f"{manifest.dataset}: no normal images, so there is no support set; zero-shot only")
    query = manifest.of(category, "test")
    if not query:
        raise DataError(
            f"{where}: no test images under {dataset.root}; present: {', '.join(manifest.categories()) or 'none'}"
        )
    support = _support(manifest, category, shots, seed)
    _check_disjoint(where, support, query)
    kept = query if limit is None else _limited(query, limit)
    return Episode(manifest.dataset, category, shots, seed, support, kept)


def _support(manifest: Manifest, category: str, shots: int, seed: int) -> tuple[Sample, ...]:
    normals = [sample for sample in manifest.of(category, "train") if sample.label == 0] if shots else []
    start, stop = seed * shots, (seed + 1) * shots
    if len(normals) < stop:
        raise DataError(
            f"{manifest.dataset}/{category}: {shots} shots with seed {seed} need {stop} normal training images, "
            f"but there are {len(normals)}"
        )
    return tuple(normals[start:stop])


def _check_disjoint(where: str, support: Sequence[Sample], query: Sequence[Sample]) -> None:
    by_content = {sample.sha256: sample for sample in query}
    for sample in support:
        if twin := by_content.get(sample.sha256):
            raise DataError(
                f"{where}: support image {sample.id} and test image {twin.id} have the same content; remove one"
            )


def _limited(query: Sequence[Sample], limit: int) -> tuple[Sample, ...]:
    """The first normals, and anomalies dealt from the sorted defects in turn, in the order of ``query``."""
    defects = sorted({sample.defect for sample in query if sample.label})
    piles = [[sample for sample in query if sample.label and sample.defect == defect] for defect in defects]
    dealt = [sample for turn in zip_longest(*piles) for sample in turn if sample is not None]
    kept = {sample.id for sample in dealt[:limit]}
    kept |= {sample.id for sample in [sample for sample in query if not sample.label][:limit]}
    return tuple(sample for sample in query if sample.id in kept)


class DatasetSupport(Support):
    """The support set of an episode, decoded from its data set on first use and kept.

    Args:
        dataset: Where the samples come from.
        episode: Gives the samples and the category.
        edge: The track's canonical edge.
        views: Views by (sample id, angle), to be shared by supports of the same data set and edge that overlap.
    """

    def __init__(
        self, dataset: Dataset, episode: Episode, edge: int, views: dict[tuple[str, float], Tensor] | None = None
    ) -> None:
        name = dataset.info.class_names.get(episode.category, episode.category)
        self.info = CategoryInfo(episode.dataset, episode.category, name)
        self.samples = episode.support
        self._dataset, self._edge = dataset, edge
        self._views = {} if views is None else views

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        """One list per sample with one canonical uint8 [3, h, w] tensor per angle (degrees, counter-clockwise).

        Copies: supports that overlap share the views, and a detector may write into what it gets.
        """
        return [self._of(sample, angles) for sample in self.samples]

    def _of(self, sample: Sample, angles: Sequence[float]) -> list[Tensor]:
        missing = [angle for angle in angles if (sample.id, angle) not in self._views]
        if missing:
            original = self._dataset.image(sample)
            for angle in missing:
                self._views[sample.id, angle] = as_tensor(canonicalise(rotate(original, angle), self._edge))
        return [self._views[sample.id, angle].clone() for angle in angles]


def query_image(dataset: Dataset, sample: Sample, edge: int) -> Tensor:
    """Decode one canonical image: uint8 [3, h, w]."""
    return as_tensor(canonicalise(dataset.image(sample), edge))


def as_tensor(image: NDArray[np.uint8]) -> Tensor:
    """uint8 [h, w, 3] array -> its own uint8 [3, h, w] tensor."""
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def chunks(samples: Sequence[Sample], shapes: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[Sample, ...]]:
    """Fixed batches: samples ordered by canonical shape, then as given; never two shapes or more than ``size`` in one.

    Args:
        samples: Query samples in manifest order.
        shapes: Their canonical (h, w), aligned with ``samples``.
        size: Largest batch.
    """
    for shape in sorted(set(shapes)):
        alike = [sample for sample, own in zip(samples, shapes, strict=True) if own == shape]
        for start in range(0, len(alike), size):
            yield tuple(alike[start : start + size])
