"""PGD on the detector's own score: the white box.

Every step evaluates value and gradient at the QUANTISED iterate (a float accumulator moves: a straight-through
gradient), so one forward and one backward pass give the next step and the true score of a candidate that could be
returned. Neighbours are assigned anew in each forward pass, because the detector itself is differentiated.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.gradients import ascent, faded
from benchmark.types.attack import Attack, AttackBatch, Target, random_uniform
from benchmark.types.ball import Ball, to_unit
from benchmark.types.detector import Prediction

WIDE = 0.05
SHARPNESS = 0.5
MOMENTUM = 0.75


def softened(prediction: Prediction) -> Tensor:
    """What to move so that the score moves [B]: the score plus a log-sum-exp of the top 5 % of the map.

    Pushing only the patches that make the score today lets others take their place, and pulling only those leaves the
    next ones idle; the soft, widened top keeps all of them in view. It is scaled to the size of the score, so that
    neither term drowns the other whatever the map's unit; its temperature is half the standard deviation of the top
    values. Scales are held constant.
    """
    score = prediction.score
    if prediction.anomaly_map is None or not prediction.anomaly_map.requires_grad:
        return score
    values = prediction.anomaly_map.flatten(1)
    top = values.topk(max(1, math.ceil(WIDE * values.shape[1])), dim=1).values
    spread = SHARPNESS * top.detach().std(dim=1, correction=0, keepdim=True).clamp(min=1e-6)
    soft = (torch.logsumexp(top / spread, dim=1, keepdim=True) * spread)[:, 0]
    return score + soft * (score.abs() / soft.abs().clamp(min=1e-6)).detach()


class Best:
    """The image of most merit so far of each sample, starting with the clean one."""

    def __init__(self, batch: AttackBatch, clean_merit: Tensor) -> None:
        self.merit = clean_merit
        self.levels = batch.images.float()

    def update(self, levels: Tensor, merit: Tensor) -> None:
        """Keep candidates [B, 3, H, W] (whole levels) of more merit [B]."""
        better = merit > self.merit
        self.merit = torch.where(better, merit, self.merit)
        self.levels = torch.where(better[:, None, None, None], levels, self.levels)

    @property
    def settled(self) -> bool:
        """Every sample reached infinite merit: nothing is left to gain."""
        return bool((self.merit == torch.inf).all())

    @property
    def images(self) -> Tensor:
        """uint8 [B, 3, H, W]."""
        return self.levels.to(torch.uint8)


class PGD(Attack):
    """Steps along the sign of the running gradient from a random start, 2.5 epsilon / steps on average, shrinking to 0.

    The running gradient is a sum of L1-normalised gradients that fades by 0.75 a step (Dong et al. 2018): neighbours
    and top patches change from step to step, and the sum remembers. Subclasses say what to look at (`look`); a sample
    stops early once its merit is infinite. The result never has less merit than the clean image.
    """

    steps = 40
    restarts = 1
    family: ClassVar[str]
    """Keys the random start: members of a family start alike, so more steps or restarts are compared like with like."""

    def __init__(self) -> None:
        self.config = {"steps": self.steps, "restarts": self.restarts, "momentum": MOMENTUM}

    @abstractmethod
    def look(self, target: Target, batch: AttackBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        """(value to climb [B], merit by which iterates are kept [B]) of images [B, 3, H, W] in [0, 1]."""

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        clean_merit = self.merit(target, batch, batch.images)
        for epsilon in epsilons:
            ball, best = Ball.around(batch.images, epsilon), Best(batch, clean_merit)
            for restart in range(self.restarts):
                uniform = random_uniform(batch, self.family, epsilon, restart)
                self.climb(target, batch, ball, ball.random_start(uniform), best)
            yield best.images

    def climb(self, target: Target, batch: AttackBatch, ball: Ball, levels: Tensor, best: Best) -> None:
        """One run from ``levels``; every visited image is offered to ``best``."""
        running = torch.zeros_like(levels)
        for index in range(self.steps):
            if best.settled:
                return
            candidate = ball.quantise(levels)
            _, merit, gradient = self.slope(target, batch, candidate)
            best.update(candidate, merit)
            running = faded(running, gradient, MOMENTUM)
            step = 5.0 * ball.epsilon / self.steps * (1 - index / self.steps)
            levels = ball.clip(levels + step * running.sign())
        candidate = ball.quantise(levels)
        best.update(candidate, self.merit(target, batch, candidate))

    def slope(self, target: Target, batch: AttackBatch, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value [B], merit [B] and gradient of the value [B, 3, H, W] at whole levels."""
        return ascent(lambda images: self.look(target, batch, images), levels)

    def merit(self, target: Target, batch: AttackBatch, levels: Tensor) -> Tensor:
        """Merit [B] at whole levels, without a gradient."""
        with torch.no_grad():
            return self.look(target, batch, to_unit(levels))[1]


class PGDScore(PGD):
    """Moves the score the harmful way; merit is the true score."""

    card = CARDS["pgd_score"]
    family = "pgd_score"

    def look(self, target: Target, batch: AttackBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        prediction = target.predict(images)
        return softened(prediction) * batch.direction, prediction.score * batch.direction


class PGDScore10(PGDScore):
    """Ten steps."""

    card = CARDS["pgd_score_10"]
    steps = 10


class PGDScore100(PGDScore):
    """A hundred steps."""

    card = CARDS["pgd_score_100"]
    steps = 100


class PGDScoreRestarts(PGDScore):
    """Five random restarts."""

    card = CARDS["pgd_score_restarts"]
    restarts = 5
