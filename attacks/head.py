"""Attacks through the surrogate: a linear head on the detector's frozen features (the paper's threat model).

The attacker knows the backbone and fits the head; the detector's bank, score and threshold stay unseen.
Cross-entropy on the true label and the logit itself have gradients of the same sign everywhere, so the logit
is climbed: it cannot saturate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.gradients import ascent, faded
from benchmark.types.attack import Attack, AttackBatch, Target, random_uniform
from benchmark.types.ball import Ball


def head_gradient(target: Target, batch: AttackBatch, levels: Tensor) -> Tensor:
    """Gradient [B, 3, H, W] of the harmful direction of the head's logit."""

    def harm(images: Tensor) -> tuple[Tensor, Tensor]:
        logit = target.surrogate_logit(images)
        return logit * batch.direction.to(logit), logit

    return ascent(harm, levels)[2]


class FGSMHead(Attack):
    """x + epsilon sign(gradient) with sign(0) = 0. One backward pass serves all epsilons."""

    card = CARDS["fgsm_head"]

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        sign = head_gradient(target, batch, batch.images).sign()
        for epsilon in epsilons:
            ball = Ball.around(batch.images, epsilon)
            yield ball.images(ball.origin + epsilon * sign)


class PGDHead(Attack):
    """Ten steps of 2.5 epsilon / 10 from a random start; the attacker sees no score, so the last iterate
    counts."""

    card = CARDS["pgd_head"]
    steps = 10
    head = "synthetic"

    def __init__(self) -> None:
        self.config = {"steps": self.steps, "head": self.head}

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        for epsilon in epsilons:
            ball = Ball.around(batch.images, epsilon)
            uniform = random_uniform(batch, self.name, epsilon, 0)
            levels = ball.clip(ball.origin + (2.0 * uniform - 1.0) * epsilon)
            for _ in range(self.steps):
                sign = head_gradient(target, batch, levels).sign()
                levels = ball.clip(levels + 2.5 * epsilon / self.steps * sign)
            yield ball.images(levels)


class PGDHeadOracle(PGDHead):
    """The harness binds the head that was fitted on true labels (`attacks.surrogate.fit_oracle_surrogate`)."""

    card = CARDS["pgd_head_oracle"]
    head = "oracle"


class MIFGSMHead(Attack):
    """Ten steps of epsilon / 10 along the sum of L1-normalised gradients (momentum 1), from the clean
    image."""

    card = CARDS["mi_fgsm_head"]
    steps = 10

    def __init__(self) -> None:
        self.config = {"steps": self.steps, "momentum": 1.0}

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        for epsilon in epsilons:
            ball = Ball.around(batch.images, epsilon)
            levels, velocity = ball.origin, torch.zeros_like(ball.origin)
            for _ in range(self.steps):
                gradient = head_gradient(target, batch, levels)
                velocity = faded(velocity, gradient, momentum=1.0)
                levels = ball.clip(levels + epsilon / self.steps * velocity.sign())
            yield ball.images(levels)
