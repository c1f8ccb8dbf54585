"""The one object through which an attack reaches a detector. It counts what the attack spends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from benchmark.calibration.calibrators import Platt
from benchmark.errors import ContractError, NotApplicableError
from benchmark.execution.clean_graph import CleanGraph
from benchmark.metrics.threshold import best_f1_threshold
from benchmark.metrics.uncertainty import entropy
from benchmark.types.detector import (
    Extractor,
    Features,
    FeatureScorer,
    FittedDetector,
    Prediction,
    SubstituteGradient,
    TransductiveScorer,
)

EOT_DRAWS = 8
"""Forward passes averaged for a detector that declares itself random."""


@dataclass(frozen=True, slots=True)
class FlagModel:
    """The decision rule that `flag_adaptive` knows: probability = sigmoid(slope * score + intercept), fitted
    on clean scores.

    Attributes:
        slope: Platt slope.
        intercept: Platt intercept.
        entropy_limit: Predictive entropy (nats) above which 5 % of the clean images are flagged.
        threshold: Clean decision threshold on the raw score.
    """

    slope: float
    intercept: float
    entropy_limit: float
    threshold: float


def clean_flag(scores: ArrayLike, labels: Sequence[int]) -> FlagModel:
    """The rule that a defender would fit to all clean scores and labels; only attackers use it."""
    values = np.asarray(scores, np.float64)
    platt = Platt.fit(values, labels)
    limit = float(np.quantile(entropy(platt.probability(values)), 0.95))
    intercept = platt.intercept - platt.slope * platt.centre
    return FlagModel(platt.slope, intercept, limit, best_f1_threshold(labels, values))


class BoundTarget:
    """A `Target`: a fitted detector bound to the samples of one batch.

    Run it under ``torch.no_grad()``; attacks switch gradients on where they need them.

    Args:
        fitted: The detector; transductive ones leave each sample out of their own references.
        sample_ids: Ids of the batch, in batch order.
        surrogate: Logit of the linear head from features (`SurrogateHead.logit`), for the head attacks.
        flag: The clean decision rule, for `flag_adaptive`.
        clean: Shares one forward pass of the clean images between the targets of a batch.
        draws: Forward passes averaged per prediction; `EOT_DRAWS` where the card says ``deterministic = False`` (EOT).
        record: Keep the scores of every prediction.

    Attributes:
        forwards: Forward passes so far, counted per image and draw.
        backwards: Backward passes so far, counted per image and draw.
        dead: bool [B] on the CPU: the image was given a gradient at least once, and never one other than zero.
        history: With ``record``, (rows or None, scores) of every prediction, in order: the query curve.
    """

    def __init__(
        self,
        fitted: FittedDetector,
        sample_ids: tuple[str, ...],
        *,
        surrogate: Callable[[Features], Tensor] | None = None,
        flag: FlagModel | None = None,
        clean: CleanGraph | None = None,
        draws: int = 1,
        record: bool = False,
    ) -> None:
        self._fitted = fitted
        self._sample_ids = sample_ids
        self._surrogate = surrogate
        self._flag = flag
        self._clean = clean
        self._draws = draws
        self._whole = fitted.excluding(sample_ids) if isinstance(fitted, TransductiveScorer) else fitted
        self.forwards = 0
        self.backwards = 0
        self.history: list[tuple[Tensor | None, Tensor]] = []
        self._record = record
        self._asked = torch.zeros(len(sample_ids), dtype=torch.bool)
        self._alive = torch.zeros(len(sample_ids), dtype=torch.bool)

    @property
    def dead(self) -> Tensor:
        return self._asked & ~self._alive

    @property
    def fitted(self) -> FittedDetector:
        return self._whole

    @property
    def queried(self) -> tuple[str, ...]:
        return self._sample_ids

    @property
    def forwards_per_image(self) -> float:
        """Mean forward passes per image of the batch."""
        return self.forwards / len(self._sample_ids)

    @property
    def backwards_per_image(self) -> float:
        """Mean backward passes per image of the batch."""
        return self.backwards / len(self._sample_ids)

    def predict(self, images: Tensor, rows: Tensor | None = None) -> Prediction:
        detector = self._detector(rows)
        images = self._counted(images, self._draws, rows)
        prediction = _mean([_predict(detector, images) for _ in range(self._draws)])
        if self._record:
            self.history.append((rows, prediction.score.detach()))
        return prediction

    def features(self, images: Tensor) -> Features:
        if not isinstance(self._whole, FeatureScorer):
            raise NotApplicableError("the detector has no tokens: it is not a head on a frozen feature extractor")
        counted, extractor = self._counted(images, 1, None), self._whole.extractor
        return extractor(counted) if self._clean is None else self._clean.features(extractor, counted)

    def surrogate_logit(self, images: Tensor) -> Tensor:
        features = self.features(images)
        if self._surrogate is None:
            raise NotApplicableError("no surrogate head was fitted for this episode")
        return self._surrogate(features)

    def flag_probability(self, scores: Tensor) -> Tensor:
        rule = self._rule()
        return torch.sigmoid(rule.slope * scores + rule.intercept)

    @property
    def flag_entropy_limit(self) -> float:
        return self._rule().entropy_limit

    @property
    def threshold(self) -> float:
        return self._rule().threshold

    def _rule(self) -> FlagModel:
        if self._flag is None:
            raise NotApplicableError("no calibrator: it needs normal and anomalous clean images in the other fold")
        return self._flag

    def _detector(self, rows: Tensor | None) -> FittedDetector:
        if rows is None or not isinstance(self._fitted, TransductiveScorer):
            return self._whole
        return self._fitted.excluding([self._sample_ids[row] for row in rows.tolist()])

    def _counted(self, images: Tensor, draws: int, rows: Tensor | None) -> Tensor:
        """Count a forward pass, and a backward pass when a gradient reaches the images."""
        self.forwards += len(images) * draws
        if images.requires_grad and torch.is_grad_enabled():
            images = images.view_as(images)
            images.register_hook(partial(self._count_backward, draws, rows))  # type: ignore[no-untyped-call]
        return images

    def _count_backward(self, draws: int, rows: Tensor | None, gradient: Tensor) -> None:
        self.backwards += len(gradient) * draws
        where = slice(None) if rows is None else rows.cpu()
        self._asked[where] = True
        self._alive[where] |= (gradient != 0).flatten(1).any(dim=1).cpu()


def _predict(detector: FittedDetector, images: Tensor) -> Prediction:
    """The prediction; where a substitute is declared, with the true values and the substitute's gradient
    (BPDA)."""
    if not (images.requires_grad and torch.is_grad_enabled() and isinstance(detector, SubstituteGradient)):
        return detector(images)
    with torch.no_grad():
        true = detector(images)
    soft = detector.substitute(images)
    anomaly_map = true.anomaly_map
    if anomaly_map is not None and soft.anomaly_map is not None:
        anomaly_map = _borrow(anomaly_map, soft.anomaly_map)
    return Prediction(_borrow(true.score, soft.score), anomaly_map, true.region, true.map_sigma)


def _borrow(value: Tensor, soft: Tensor) -> Tensor:
    """``value`` with the gradient of ``soft``: exact in value, since soft - soft.detach() is zero."""
    return value + (soft - soft.detach())


def _mean(draws: list[Prediction]) -> Prediction:
    """The mean prediction over draws."""
    first = draws[0]
    if len(draws) == 1:
        return first
    maps = [draw.anomaly_map for draw in draws if draw.anomaly_map is not None]
    anomaly_map = torch.stack(maps).mean(0) if maps else None
    return Prediction(torch.stack([draw.score for draw in draws]).mean(0), anomaly_map, first.region, first.map_sigma)


class Unreachable(FittedDetector):
    """Stands for the detector where the attacker knows nothing (`none`)."""

    def __call__(self, images: Tensor) -> Prediction:
        raise ContractError("an attack with knowledge 'none' queried the detector")


class BackboneAlone(FeatureScorer):
    """Stands for the detector where the attacker knows its backbone and not its score (`surrogate`)."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor

    def score(self, features: Features) -> Prediction:
        raise ContractError("an attack with knowledge 'surrogate' queried the detector's score")
