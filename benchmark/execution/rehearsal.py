"""Attacks and probes on grey 8 x 8 images and detectors that only count: what they spend, without spending it.

They run as they are, so a count needs no formula that could differ from them, and plug-ins need to declare nothing.
Where work stops early (`flag_adaptive`) or turns out not to apply (no mask), the count is an upper bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from benchmark.execution.batches import Chunk, Cost
from benchmark.execution.clean_graph import CleanGraph
from benchmark.execution.fits import Fits, Logit
from benchmark.execution.probes import run_probe
from benchmark.execution.runner import JobBench
from benchmark.execution.target import FlagModel
from benchmark.planning.jobs import CellSpec, DetectorSpec, EpisodeSpec, Job, PassSpec
from benchmark.planning.workbench import Workbench
from benchmark.types import (
    AttackBatch,
    CategoryInfo,
    Detector,
    Features,
    FeatureScorer,
    FittedDetector,
    Prediction,
    Sample,
    Support,
)

EDGE = 8
Kind = Literal["forward", "backward", "fit"]
Spent = Counter[Kind]
"""Images forward and backward, and support images fitted to."""


class Stage(JobBench):
    """A job's bench with stand-ins for images, detectors and heads; ``spent`` counts what passes through."""

    def __init__(self, job: Job, bench: Workbench) -> None:
        super().__init__(job, {})
        self.spent: Spent = Counter()
        self.parts = _Parts(bench, self.spent)
        self.fits = _Fits(job, self.dataset, self.images, self.parts)

    @torch.no_grad()
    def craft(self, passes: Sequence[PassSpec]) -> None:
        """Make the adversarial images of passes that share their clean images, of one query image."""
        (chunk,) = self.chunks(passes[0].samples[:1])
        clean = CleanGraph(chunk.batch.images)
        for spec in passes:
            for _ in self._images(spec, chunk, {n: Cost() for n in spec.budgets}, clean):
                pass

    @torch.no_grad()
    def probe(self, cell: CellSpec) -> None:
        """Run a probe."""
        run_probe(self, cell, Cost())

    def chunks(self, samples: Sequence[Sample]) -> Iterator[Chunk]:
        images = torch.full((len(samples), 3, EDGE, EDGE), 128, dtype=torch.uint8)
        labels, masks = (
            torch.tensor([s.label for s in samples]),
            torch.zeros(len(samples), EDGE, EDGE, dtype=torch.bool),
        )
        yield Chunk(tuple(samples), AttackBatch(images, labels, tuple(s.id for s in samples), masks))

    def _flag(self, spec: DetectorSpec, shots: int, seed: int) -> FlagModel:
        return FlagModel(slope=1.0, intercept=0.0, entropy_limit=-1.0, threshold=0.0)


class _Counter:
    """An extractor of one number for each image."""

    def __init__(self, name: str, spent: Spent) -> None:
        self.id, self.weights, self.random_weights = name, dict[str, str](), False
        self._spent = spent

    def __call__(self, images: Tensor) -> Features:
        self._spent["forward"] += len(images)
        if images.requires_grad and torch.is_grad_enabled():
            images = images.view_as(images)
            images.register_hook(self._backward)  # type: ignore[no-untyped-call]
        patch = images.mean(dim=(1, 2, 3))[:, None, None, None]
        return Features((patch,), patch[:, 0, 0], (0, 0, EDGE, EDGE))

    def _backward(self, gradient: Tensor) -> None:
        self._spent["backward"] += len(gradient)

    def to(self, device: str) -> _Counter:
        return self


class _Scorer(FeatureScorer):
    """The number is the score, the map and the margin of the mask."""

    masked = True

    def __init__(self, extractor: _Counter) -> None:
        self.extractor = extractor

    def score(self, features: Features) -> Prediction:
        return Prediction(features.pooled()[:, 0], features.maps[0][..., 0])

    def with_foreground(self, features: Features) -> _Scorer:
        return self

    def foreground_margin(self, features: Features) -> Tensor:
        return features.maps[0][..., 0]


class _Detector(Detector):
    """Stands for a detector of the plan: its card, one forward pass a score, fits that cost nothing but count."""

    def __init__(self, real: Detector, spent: Spent) -> None:
        self.card = replace(real.card, transductive=False)  # type: ignore[misc]
        self._spent = spent
        self.stand_in = _Scorer(_Counter(real.name, spent))
        self.extractor = self.stand_in.extractor if real.extractor is not None else None

    def fit(self, support: Support, *, seed: int) -> _Scorer:
        self._spent["fit"] += len(support)
        return self.stand_in


class _Parts(Workbench):
    """Stand-ins for the detectors of another bench; its attacks."""

    def __init__(self, real: Workbench, spent: Spent) -> None:
        super().__init__(attacks=real.attacks)
        self._real, self._spent, self._made = real, spent, dict[DetectorSpec, _Detector]()

    def detector(self, spec: DetectorSpec) -> _Detector:
        if spec not in self._made:
            self._made[spec] = _Detector(self._real.detector(spec), self._spent)
        return self._made[spec]


class _Fits(Fits):
    """Blank support sets, and detectors and heads that nobody fitted: those of episodes are counted elsewhere."""

    parts: _Parts

    def fitted(self, spec: DetectorSpec, shots: int, seed: int) -> FittedDetector:
        return self.parts.detector(spec).stand_in

    def support(self, shots: int, seed: int) -> Support:  # type: ignore[override]
        return _Blank(next(e for e in self.job.episodes if (e.shots, e.seed) == (shots, seed)))

    def surrogate(self, victim: DetectorSpec, shots: int, seed: int) -> Logit:
        return lambda features: features.pooled().sum(1)

    def oracle(self, victim: DetectorSpec, ids: Sequence[str]) -> Logit:
        return self.surrogate(victim, 0, 0)


class _Blank(Support):
    def __init__(self, episode: EpisodeSpec) -> None:
        self.info, self.samples = CategoryInfo("blank", "blank", "blank"), episode.support

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        return [[torch.full((3, EDGE, EDGE), 128, dtype=torch.uint8) for _ in angles] for _ in self.samples]
