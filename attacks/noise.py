"""Noise at the same epsilon: the control that knows nothing of the detector. An attack that does no better is
broken."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attacks.cards import CARDS
from benchmark.types.attack import Attack, AttackBatch, Target, random_uniform
from benchmark.types.ball import Ball


class Noise(Attack):
    """Adds seeded noise; subclasses say which from uniform numbers."""

    @abstractmethod
    def offset(self, uniform: Tensor, epsilon: int) -> Tensor:
        """Grey-level offsets [B, 3, H, W] from uniform [0, 1) numbers of that shape."""

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        for epsilon in epsilons:
            ball = Ball.around(batch.images, epsilon)
            uniform = random_uniform(batch, self.name, epsilon, 0)
            yield ball.images(ball.origin + self.offset(uniform, epsilon))


class SignNoise(Noise):
    """+epsilon or -epsilon with equal chance: a random corner of the ball, as strong as noise gets in
    L-infinity."""

    card = CARDS["sign_noise"]

    def offset(self, uniform: Tensor, epsilon: int) -> Tensor:
        return torch.where(uniform < 0.5, -epsilon, epsilon).float()


class UniformNoise(Noise):
    """Every whole offset from -epsilon to epsilon with equal chance."""

    card = CARDS["uniform_noise"]

    def offset(self, uniform: Tensor, epsilon: int) -> Tensor:
        return torch.floor(uniform * (2 * epsilon + 1)) - epsilon


class GaussianNoise(Noise):
    """Standard deviation epsilon / 2, cut at the ball (about 5 % of the values)."""

    card = CARDS["gaussian_noise"]

    def offset(self, uniform: Tensor, epsilon: int) -> Tensor:
        inside = uniform.clamp(1e-7, 1.0 - 1e-7)
        return torch.erfinv(2.0 * inside - 1.0) * (epsilon / 2**0.5)
