"""Auto-PGD (Croce and Hein 2020) on the detector's own score: a step size that halves itself when progress stalls.

The published losses (cross-entropy, DLR) need classes; the value climbed here is that of `attacks.pgd`, in the unit of
the score. As in `attacks.pgd`, values and gradients are those of the quantised iterate while a float accumulator moves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.gradients import faded
from attacks.pgd import MOMENTUM, Best, PGDScore
from benchmark.types.attack import AttackBatch, Target
from benchmark.types.ball import Ball

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


class APGDScore(PGDScore):
    """Auto-PGD with its published momentum and checkpoints; every sample has its own step size.

    Two departures, both measured to be stronger on nearest-neighbour scores: the sign is that of the running gradient
    of `attacks.pgd`, and the first step is epsilon, not twice that.
    """

    card = CARDS["apgd_score"]
    family = "apgd_score"

    def climb(self, target: Target, batch: AttackBatch, ball: Ball, levels: Tensor, best: Best) -> None:
        pace, reviews, last = _Pace(levels, float(ball.epsilon)), checkpoints(self.steps), 0
        previous, gradient = levels, torch.zeros_like(levels)
        for index in range(self.steps):
            candidate = ball.quantise(levels)
            value, merit, fresh = self.slope(target, batch, candidate)
            best.update(candidate, merit)
            gradient = faded(gradient, fresh, MOMENTUM)
            pace.record(value, levels, gradient)
            if index in reviews:
                back = pace.review(index - last)[:, None, None, None]
                levels = torch.where(back, pace.levels, levels)
                previous = torch.where(back, pace.levels, previous)
                gradient = torch.where(back, pace.gradient, gradient)
                last = index
            stepped = ball.clip(levels + pace.step[:, None, None, None] * gradient.sign())
            share = MOMENTUM if index else 1.0
            moved = ball.clip(levels + share * (stepped - levels) + (1 - share) * (levels - previous))
            levels, previous = moved, levels
        candidate = ball.quantise(levels)
        best.update(candidate, self.merit(target, batch, candidate))


class APGDScore10(APGDScore):
    """Ten steps."""

    card = CARDS["apgd_score_10"]
    steps = 10


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
