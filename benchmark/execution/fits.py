"""What one job fits: detectors and surrogate heads, each once, from support views that are made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.calibration.crossfit import fold_of
from benchmark.data.episodes import DatasetSupport, as_tensor
from benchmark.data.image_store import ImageStore
from benchmark.planning.jobs import DetectorSpec, Job
from benchmark.planning.workbench import Workbench
from benchmark.registry import load_attribute
from benchmark.types import Dataset, Episode, Extractor, Features, FittedDetector, Sample, keyed_seed

Logit = Callable[[Features], Tensor]


class Fits:
    """Fitted detectors and surrogate heads of one job.

    Nested supports (shots x seeds) overlap: a view of a support image is rotated once, and what a surrogate head learns
    from an image is extracted once, however many episodes the image is in.
    """

    def __init__(self, job: Job, dataset: Dataset, images: ImageStore, parts: Workbench) -> None:
        self.job, self.dataset, self.images, self.parts = job, dataset, images, parts
        self._fitted: dict[tuple[str, int, int], FittedDetector] = {}
        self._heads: dict[tuple[Any, ...], Any] = {}
        self._supports: dict[tuple[int, int], DatasetSupport] = {}
        self._views: dict[tuple[str, float], Tensor] = {}
        self._pooled: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}

    def support(self, shots: int, seed: int) -> DatasetSupport:
        """The support set of one episode of this category."""
        if (shots, seed) not in self._supports:
            spec = next(e for e in self.job.episodes if (e.shots, e.seed) == (shots, seed))
            episode = Episode(self.job.dataset, self.job.category, shots, seed, spec.support, ())
            self._supports[shots, seed] = DatasetSupport(self.dataset, episode, self.job.canonical_edge, self._views)
        return self._supports[shots, seed]

    def fitted(self, spec: DetectorSpec, shots: int, seed: int) -> FittedDetector:
        """A detector fitted to one episode."""
        key = (spec.label, shots, seed)
        if key not in self._fitted:
            detector = self.parts.detector(spec)
            if detector.extractor is not None:
                self.extractor(spec)
            fit_seed = keyed_seed("fit", self.job.dataset, self.job.category, shots, seed, spec.label)
            support = self.support(shots, seed)
            if detector.card.transductive:
                query = [(s.id, self._canonical(s)) for s in self.job.query]
                self._fitted[key] = detector.fit_transductive(support, query, seed=fit_seed)
            else:
                self._fitted[key] = detector.fit(support, seed=fit_seed)
        return self._fitted[key]

    def surrogate(self, victim: DetectorSpec, shots: int, seed: int) -> Logit:
        """The head fitted on the support of an episode, for the features of the victim."""
        extractor = self.extractor(victim)
        key = (extractor.id, shots, seed)
        if key not in self._heads:
            fit = load_attribute("attacks.surrogate:fit_surrogate")
            solver = keyed_seed("surrogate", self.job.dataset, self.job.category, shots, seed)
            self._heads[key] = fit(extractor, self.support(shots, seed), seed=solver, pooled=self._pooled)
        logit: Logit = self._heads[key].logit
        return logit

    def oracle(self, victim: DetectorSpec, ids: Sequence[str]) -> Logit:
        """Audit only: each image is attacked through the head fitted on the TRUE LABELS of the other fold."""
        query = self.job.query
        folds = fold_of([s.id for s in query], [s.label for s in query])
        fold = {s.id: int(f) for s, f in zip(query, folds, strict=True)}
        heads = [self._oracle_head(victim, [s for s in query if fold[s.id] != f], f) for f in (0, 1)]
        first = torch.tensor([fold[name] == 0 for name in ids], device=self.job.device)
        return lambda features: torch.where(first, heads[0].logit(features), heads[1].logit(features))

    def _oracle_head(self, victim: DetectorSpec, others: Sequence[Sample], fold: int) -> Any:
        extractor = self.extractor(victim)
        key = (extractor.id, "oracle", fold)
        if key not in self._heads:
            fit = load_attribute("attacks.surrogate:fit_oracle_surrogate")
            images = [self._canonical(s) for s in others]
            self._heads[key] = fit(extractor, images, [s.label for s in others], seed=0)
        return self._heads[key]

    def extractor(self, spec: DetectorSpec) -> Extractor:
        """The extractor of a detector that has one, on the job's device."""
        detector = self.parts.detector(spec)
        assert detector.extractor is not None
        detector.extractor = detector.extractor.to(self.job.device)
        return detector.extractor

    def _canonical(self, sample: Sample) -> Tensor:
        return as_tensor(self.images.get(self.dataset, [sample])[0]).to(self.job.device)
