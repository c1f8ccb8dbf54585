"""One detector under test: fits, scores and gradients, with transductive detectors handled like the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from benchmark.conformance.images import MemorySupport, blotted, texture
from benchmark.types import Card, Detector, FittedDetector, Prediction, Support, TransductiveScorer

SHOTS = 2
QUERIES = 2
FIT_SEED = 7


class Case:
    """What the checks share.

    Args:
        factory: Makes the detector; called again where a check needs an untouched one.
        edge: Height and width of the pictures.
    """

    def __init__(self, factory: Callable[[], Detector], edge: int) -> None:
        self.factory = factory
        self.edge = edge
        self.detector = factory()

    @property
    def card(self) -> Card:
        """The detector's card."""
        return self.detector.card

    @cached_property
    def references(self) -> list[Tensor]:
        """Normal support pictures; none for detectors that take none."""
        return [texture(self.edge, self.edge, i) for i in range(SHOTS)] if self.card.few_shot else []

    @cached_property
    def query(self) -> Tensor:
        """uint8 [2 * QUERIES, 3, H, W]: normals, then anomalies."""
        normals = [texture(self.edge, self.edge, 100 + i) for i in range(QUERIES)]
        return torch.stack(normals + [blotted(self.edge, self.edge, 200 + i) for i in range(QUERIES)])

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Sample ids of the query pictures."""
        return tuple(f"query/{i}" for i in range(len(self.query)))

    @cached_property
    def fitted(self) -> FittedDetector:
        """The detector fitted to the references (or, if transductive, to the query)."""
        return self.fit(self.references)

    def fit(
        self, references: Sequence[Tensor], query: Tensor | None = None, detector: Detector | None = None
    ) -> FittedDetector:
        """Fit to other references or another query set, or with another copy of the detector."""
        support: Support = MemorySupport(references)
        detector = detector or self.detector
        if not self.card.transductive:
            return detector.fit(support, seed=FIT_SEED)
        pictures = self.query if query is None else query
        pairs = [(f"query/{i}", picture) for i, picture in enumerate(pictures)]
        return detector.fit_transductive(support, pairs, seed=FIT_SEED)

    def predict(self, fitted: FittedDetector, pixels: Tensor, ids: Sequence[str] | None = None) -> Prediction:
        """Score float pixels in [0, 1] or uint8 pictures; a transductive detector leaves the named samples out."""
        floats = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        names = self.ids[: len(pixels)] if ids is None else ids
        scorer = fitted.excluding(names) if isinstance(fitted, TransductiveScorer) else fitted
        return scorer(floats)

    def score(self, fitted: FittedDetector, pixels: Tensor, ids: Sequence[str] | None = None) -> Tensor:
        """Scores float64 [B], without gradient, on the CPU."""
        with torch.no_grad():
            return self.predict(fitted, pixels, ids).score.double().cpu()


def differ(first: Tensor, second: Tensor, tolerance: float) -> str:
    """ "" if two score vectors agree within a relative tolerance, else the largest gap in words."""
    scale = torch.maximum(first.abs().max(), second.abs().max()).clamp_min(1e-6)
    gap = (first - second).abs().max()
    return "" if gap <= tolerance * scale else f"scores differ by {gap:.3g} on a scale of {scale:.3g}"
