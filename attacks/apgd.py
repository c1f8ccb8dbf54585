"""Auto-PGD (Croce and Hein 2020) on the detector's own score: a step size that halves itself when progress stalls.

The published losses (cross-entropy, DLR) need classes; the value climbed here is that of `attacks.pgd`, in the unit of
the score. As in `attacks.pgd`, values and gradients are those of the quantised iterate while a float accumulator moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.gradients import score
from attacks.pgd import Best, climbed
from attacks.projection import Ball
from benchmark.types.attack import Attack, AttackBatch, Target, random_uniform

MOMENTUM = 0.75
MIN_INCREASES = 0.75
MIN_STEP = 0.25
"""Smallest step in grey levels: smaller ones cannot move a quantised image within the remaining iterations."""


def checkpoints(steps: int) -> list[int]:
    """Iterations at which the step size is reviewed: 0.22, 0.41, 0.57 ... of the budget, at least 0.06 apart."""
    before, now = 0.0, 0.22
    found = []
    while now < 1.0:
        found.append(max(1, round(now * steps)))
        before, now = now, now + max(now - before - 0.03, 0.06)
    return sorted(set(found))


class APGDScore(Attack):
    """Auto-PGD with momentum 0.75 and halvings at the published checkpoints; never worse than the clean image."""

    card = CARDS["apgd_score"]
    steps = 40

    def __init__(self) -> None:
        self.config = {"steps": self.steps, "momentum": MOMENTUM}

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        clean_score = score(target, batch.images)
        for epsilon in epsilons:
            ball, best = Ball.around(batch.images, epsilon), Best(batch, clean_score)
            start = ball.random_start(random_uniform(batch, self.name, epsilon, 0))
            climb(target, batch, start, ball, best, self.steps)
            yield best.images


class APGDScore10(APGDScore):
    """Ten steps."""

    card = CARDS["apgd_score_10"]
    steps = 10


def climb(target: Target, batch: AttackBatch, start: Tensor, ball: Ball, best: Best, steps: int) -> None:
    """One run of Auto-PGD from ``start``; every sample has its own step size. Visited images are offered to
    ``best``."""
    levels = previous = start
    pace, reviews, last = _Pace(start, 2.0 * ball.epsilon), checkpoints(steps), 0
    for index in range(steps):
        candidate = ball.quantise(levels)
        value, scores, gradient = climbed(target, batch, candidate)
        best.update(candidate, scores)
        pace.record(value, levels, gradient)
        if index in reviews:
            back = pace.review(index - last)[:, None, None, None]
            levels, previous, gradient = (
                torch.where(back, pace.levels, levels),
                torch.where(back, pace.levels, previous),
                torch.where(back, pace.gradient, gradient),
            )
            last = index
        stepped = ball.clip(levels + pace.step[:, None, None, None] * gradient.sign())
        share = MOMENTUM if index else 1.0
        moved = ball.clip(levels + share * (stepped - levels) + (1 - share) * (levels - previous))
        levels, previous = moved, levels
    candidate = ball.quantise(levels)
    best.update(candidate, score(target, candidate))


class _Pace:
    """Step size and best point of each sample."""

    def __init__(self, start: Tensor, step: float) -> None:
        self.step = torch.full((len(start),), step, device=start.device)
        self.levels = self.gradient = start
        self.top = self.value = torch.full_like(self.step, -torch.inf)
        self.increases = torch.zeros_like(self.step)
        self.reviewed_step, self.reviewed_top = torch.zeros_like(self.step), self.top

    def record(self, value: Tensor, levels: Tensor, gradient: Tensor) -> None:
        """Take note of the values [B] at a point."""
        self.increases = self.increases + (value > self.value)
        self.value = value
        better = value > self.top
        self.top = torch.where(better, value, self.top)
        self.levels = torch.where(better[:, None, None, None], levels, self.levels)
        self.gradient = torch.where(better[:, None, None, None], gradient, self.gradient)

    def review(self, interval: int) -> Tensor:
        """Halve the step of the samples that stall; True [B] where the run goes back to its best point."""
        few = self.increases < MIN_INCREASES * interval
        stuck = (self.step == self.reviewed_step) & (self.top <= self.reviewed_top)
        stalled = few | stuck
        self.reviewed_step, self.reviewed_top = self.step, self.top
        self.step = torch.where(stalled, (self.step / 2).clamp(min=MIN_STEP), self.step)
        self.increases = torch.zeros_like(self.increases)
        return stalled
