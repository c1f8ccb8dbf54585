"""PGD on the detector's own score: the white box.

Every step evaluates score and gradient at the QUANTISED iterate (a float accumulator moves: a
straight-through gradient), so one forward and one backward pass give the next step and the true score of a
candidate that could be returned. Neighbours are assigned anew in each forward pass, because the detector
itself is differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.gradients import ascent, score
from attacks.projection import Ball
from benchmark.types.attack import Attack, AttackBatch, Target, random_uniform
from benchmark.types.detector import Prediction

WIDE = 0.05
SHARPNESS = 0.5


def softened(prediction: Prediction) -> Tensor:
    """What to move so that the score moves [b]: the score plus a log-sum-exp of the top 5 % of the map.

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


def climbed(target: Target, batch: AttackBatch, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value to climb [B] (`softened`, in the harmful direction), true score [B] and gradient [B, 3, H, W] at images."""

    def objective(images: Tensor) -> tuple[Tensor, Tensor]:
        prediction = target.predict(images)
        return softened(prediction) * batch.direction, prediction.score

    return ascent(objective, levels)


class Best:
    """The most harmful image so far of each sample, by the true score of the quantised image."""

    def __init__(self, batch: AttackBatch, clean_score: Tensor) -> None:
        self.direction = batch.direction.to(clean_score)
        self.harm = clean_score * self.direction
        self.levels = batch.images.float()

    def update(self, levels: Tensor, scores: Tensor) -> None:
        """Keep candidates [B, 3, H, W] (whole levels) whose scores [B] are more harmful."""
        harm = scores * self.direction
        better = harm > self.harm
        self.harm = torch.where(better, harm, self.harm)
        self.levels = torch.where(better[:, None, None, None], levels, self.levels)

    @property
    def images(self) -> Tensor:
        """uint8 [B, 3, H, W]."""
        return self.levels.to(torch.uint8)


class PGDScore(Attack):
    """Steps of 2.5 epsilon / steps along the sign of the gradient, from a random start; never worse than the
    clean image."""

    card = CARDS["pgd_score"]
    steps = 40
    restarts = 1

    def __init__(self) -> None:
        self.config = {"steps": self.steps, "restarts": self.restarts}

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        clean_score = score(target, batch.images)
        for epsilon in epsilons:
            ball, best = Ball.around(batch.images, epsilon), Best(batch, clean_score)
            for restart in range(self.restarts):
                uniform = random_uniform(batch, self.name, epsilon, restart)
                self.climb(target, batch, ball, ball.random_start(uniform), best)
            yield best.images

    def climb(self, target: Target, batch: AttackBatch, ball: Ball, levels: Tensor, best: Best) -> None:
        """One run from ``levels``; every visited image is offered to ``best``."""
        step = 2.5 * ball.epsilon / self.steps
        for _ in range(self.steps):
            candidate = ball.quantise(levels)
            _, scores, gradient = climbed(target, batch, candidate)
            best.update(candidate, scores)
            levels = ball.clip(levels + step * gradient.sign())
        candidate = ball.quantise(levels)
        best.update(candidate, score(target, candidate))


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
