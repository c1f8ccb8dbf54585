"""Transfer: images made against one detector, replayed on the others.

The harness gives `perturb` the target of the SOURCE detector, fitted to the same episode, and scores the images with
every other detector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from attacks.cards import CARDS
from attacks.pgd import PGDScore, PGDScore10
from benchmark.types.attack import Attack, AttackBatch, Target


class Transfer(Attack):
    """pgd_score against AnomalyDINO; bit for bit the images that pgd_score makes there."""

    card = CARDS["transfer"]
    made_by: type[PGDScore] = PGDScore

    def __init__(self) -> None:
        self.config = {"source": "anomalydino", "attack": self.made_by.card.name}

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        return self.made_by().perturb(target, batch, epsilons)


class Transfer10(Transfer):
    """pgd_score_10 against AnomalyDINO."""

    card = CARDS["transfer_10"]
    made_by = PGDScore10
