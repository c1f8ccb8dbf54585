"""Square attack (Andriushchenko et al. 2020) on the score: a black box that sees one number per query.

Random squares of the image jump to a corner of the ball; a change stays if the score moves the harmful way. The squares
shrink by the published schedule, stretched to the number of queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.gradients import score
from attacks.pgd import Best
from benchmark.types.attack import Attack, AttackBatch, Target, keyed_seed
from benchmark.types.ball import Ball

FIRST_SHARE = 0.8
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the query budget after which the squares' area halves."""


def square_side(query: int, queries: int, height: int, width: int) -> int:
    """Side in pixels of the square tried at a query."""
    halved = sum(query > share * queries for share in HALVINGS)
    side = round(math.sqrt(FIRST_SHARE * 0.5**halved * height * width))
    return min(max(1, side), height, width)


class SquareScore(Attack):
    """1,000 score queries per image and epsilon, the vertical stripes of the start included."""

    card = CARDS["square_score"]
    queries = 1000

    def __init__(self) -> None:
        self.config = {"queries": self.queries}

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        def merit(levels: Tensor) -> Tensor:
            return score(target, levels) * batch.direction

        clean_merit = merit(batch.images)
        for epsilon in epsilons:
            ball, best = Ball.around(batch.images, epsilon), Best(batch, clean_merit)
            generators = [
                torch.Generator().manual_seed(keyed_seed(name, self.name, epsilon, 0)) for name in batch.sample_ids
            ]
            candidate = ball.quantise(ball.origin + epsilon * _stripes(batch, generators))
            best.update(candidate, merit(candidate))
            for query in range(1, self.queries):
                side = square_side(query, self.queries, *batch.images.shape[2:])
                candidate = _with_squares(best.levels, ball, side, generators)
                best.update(candidate, merit(candidate))
            yield best.images


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).float() * 2 - 1


def _stripes(batch: AttackBatch, generators: Sequence[torch.Generator]) -> Tensor:
    """Signs [B, 3, 1, W]: random vertical stripes."""
    width = batch.images.shape[3]
    return torch.stack([_signs((3, 1, width), g) for g in generators]).to(batch.images.device)


def _with_squares(levels: Tensor, ball: Ball, side: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Candidates: in one random square per image, every channel goes to the top or the bottom of the ball."""
    height, width = levels.shape[2:]
    candidate = levels.clone()
    for row, generator in enumerate(generators):
        top = int(torch.randint(0, height - side + 1, (1,), generator=generator))
        left = int(torch.randint(0, width - side + 1, (1,), generator=generator))
        window = (row, slice(None), slice(top, top + side), slice(left, left + side))
        up = _signs((3, 1, 1), generator).to(levels.device) > 0
        candidate[window] = torch.where(up, ball.high[window], ball.low[window])
    return candidate
