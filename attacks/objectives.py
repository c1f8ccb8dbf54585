"""White-box attacks on what stands beside the score: the foreground mask, the map, and the uncertainty flag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, relu

from attacks.cards import CARDS
from attacks.pgd import PGD, PGDScore, softened
from benchmark.errors import NotApplicableError
from benchmark.types.attack import AttackBatch, Target
from benchmark.types.ball import to_unit
from benchmark.types.detector import MaskedScorer

HINGE_SLACK = 1.0
"""How far past the mask's threshold a token is pushed: the 3 x 3 morphology can undo a bare crossing."""


def grid_mask(batch: AttackBatch, region: tuple[int, int, int, int] | None, grid: torch.Size) -> Tensor:
    """Ground truth on a detector's grid: True [B, h, w] where any pixel of the cell is defect.

    Raises:
        NotApplicableError: If the data set has no masks.
    """
    if batch.masks is None:
        raise NotApplicableError("the attack aims at the defect and the data set has no masks")
    top, left, bottom, right = region or (0, 0, *batch.masks.shape[1:])
    seen = batch.masks[:, None, top:bottom, left:right].float()
    return adaptive_max_pool2d(seen, tuple(grid))[:, 0] > 0


def masked_scorer(target: Target) -> MaskedScorer:
    """The detector, if it masks the background.

    Raises:
        NotApplicableError: If it does not.
    """
    fitted = target.fitted
    if not (isinstance(fitted, MaskedScorer) and fitted.masked):
        raise NotApplicableError("the detector does not mask the foreground of this category")
    return fitted


class PGDScoreFrozenMask(PGDScore):
    """pgd_score under the clean image's foreground mask, held throughout: what the mask's own movement is worth.

    Merit stays the true score, with the mask computed from the perturbed image. All else is that of pgd_score.
    """

    card = CARDS["pgd_score_frozen_mask"]

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        detector = masked_scorer(target)
        held = detector.with_foreground(target.features(to_unit(batch.images)))
        yield from _UnderHeldMask(held).perturb(target, batch, epsilons)


class _UnderHeldMask(PGDScore):
    """pgd_score whose value comes from another head on the same features."""

    def __init__(self, held: MaskedScorer) -> None:
        super().__init__()
        self.held = held

    def look(self, target: Target, batch: AttackBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        features = target.features(images)
        value = softened(self.held.score(features))
        return value * batch.direction, masked_scorer(target).score(features).score * batch.direction


class MaskFlip(PGD):
    """Moves tokens across the foreground threshold: defects out of the mask, the background of normals into it.

    The mask's mean, component and sign are held constant within a step and taken anew in the next; merit is the true
    score, with the mask computed from the perturbed image.
    """

    card = CARDS["mask_flip"]
    family = "mask_flip"

    def look(self, target: Target, batch: AttackBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        fitted = masked_scorer(target)
        features = target.features(images)
        margin = fitted.foreground_margin(features)  # [B, h, w]
        defect = grid_mask(batch, features.region, margin.shape[1:])
        hide = (relu(margin + HINGE_SLACK) * defect).sum(dim=(1, 2))
        background = margin.detach() <= 0
        show = (relu(HINGE_SLACK - margin) * background).sum(dim=(1, 2))
        value = -torch.where(batch.labels > 0, hide, show)
        return value, fitted.score(features).score * batch.direction


class PGDMap(PGD):
    """Raises the map where there is no defect and lowers it on the defect: the localisation is what breaks.

    Value and merit are mean normal-cell minus mean defect-cell map value (PatchGuard's objective, Nafez et al. 2025);
    the whole map counts as normal where there is no defect.
    """

    card = CARDS["pgd_map"]
    family = "pgd_map"

    def look(self, target: Target, batch: AttackBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        prediction = target.predict(images)
        if prediction.anomaly_map is None:
            raise NotApplicableError("the detector has no map")
        defect = grid_mask(batch, prediction.region, prediction.anomaly_map.shape[1:])
        value = _mean_where(prediction.anomaly_map, ~defect) - _mean_where(prediction.anomaly_map, defect)
        return value, value.detach()


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean [B] over the cells that are True; 0 where there are none."""
    return (values * where).sum(dim=(1, 2)) / where.sum(dim=(1, 2)).clamp(min=1)


class FlagAdaptive(PGD):
    """Crosses the threshold WITHOUT raising the entropy flag; the attacker knows the calibrator.

    Entropy is a function of the score: just past the threshold it may be low enough, else the score must go on to the
    far side of the uncertain band, so the score always moves the harmful way. A sample stops at its first unflagged
    success (infinite merit). Without one, a flagged success beats none, then the lower entropy wins among successes and
    the more harmful score among failures.
    """

    card = CARDS["flag_adaptive"]
    family = "flag_adaptive"

    def look(self, target: Target, batch: AttackBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        prediction = target.predict(images)
        score = prediction.score.detach()
        entropy = binary_entropy(target.flag_probability(score))
        harm = (score - target.threshold) * batch.direction
        # A score equal to the threshold counts as anomalous: normals succeed there, anomalies only below.
        crossed = torch.where(batch.labels > 0, harm > 0, harm >= 0)
        ranked = torch.where(crossed, 3.0 - entropy, torch.atan(harm))  # failures lie below 2, successes above
        unflagged = crossed & (entropy <= target.flag_entropy_limit)
        return softened(prediction) * batch.direction, torch.where(unflagged, torch.inf, ranked)


def binary_entropy(probability: Tensor) -> Tensor:
    """Entropy in nats of a Bernoulli probability."""
    inside = probability.clamp(1e-12, 1 - 1e-7)
    return -(inside * inside.log() + (1 - inside) * torch.log1p(-inside))
