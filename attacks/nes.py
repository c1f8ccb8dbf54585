"""NES (Ilyas et al. 2018): gradients estimated from score queries in antithetic pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.gradients import faded, score
from attacks.pgd import MOMENTUM, Best
from benchmark.types.attack import Attack, AttackBatch, Target, random_uniform
from benchmark.types.ball import Ball


class NESScore(Attack):
    """20 signed steps, each along a gradient estimated from 25 antithetic pairs: 1,000 queries besides the clean score.

    A probe moves every value by half of epsilon, at least one grey level; every probe is a valid image and may be the
    result.
    """

    card = CARDS["nes_score"]
    steps = 20
    pairs = 25

    def __init__(self) -> None:
        self.config = {"steps": self.steps, "pairs": self.pairs}

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        clean_merit = score(target, batch.images) * batch.direction
        for epsilon in epsilons:
            ball, best = Ball.around(batch.images, epsilon), Best(batch, clean_merit)
            levels, running = ball.origin, torch.zeros_like(ball.origin)
            for step in range(self.steps):
                running = faded(running, self.estimate(target, batch, ball, levels, best, step), MOMENTUM)
                size = 5.0 * epsilon / self.steps * (1 - step / self.steps)
                levels = ball.clip(levels + size * running.sign())
            yield best.images

    def estimate(self, target: Target, batch: AttackBatch, ball: Ball, levels: Tensor, best: Best, step: int) -> Tensor:
        """Gradient estimate [B, 3, H, W] of the harmful direction at ``levels``."""
        probe = max(1, ball.epsilon // 2)
        total = torch.zeros_like(levels)
        for pair in range(self.pairs):
            signs = torch.where(random_uniform(batch, self.name, ball.epsilon, 0, step, pair) < 0.5, -1.0, 1.0)
            merits = []
            for side in (1, -1):
                candidate = ball.quantise(levels + side * probe * signs)
                merits.append(score(target, candidate) * batch.direction)
                best.update(candidate, merits[-1])
            total += (merits[0] - merits[1]).to(total)[:, None, None, None] * signs
        return total
