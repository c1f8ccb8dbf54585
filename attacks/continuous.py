"""Attacks on float images, without rounding: L2, and L-infinity budgets that are no whole grey level. Never ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from attacks.pgd import MOMENTUM, softened
from benchmark.types.attack import AttackBatch, Norm, Target, random_uniform
from benchmark.types.ball import to_unit


class ContinuousPGD:
    """`attacks.pgd` on float32 images in [0, 1]: forty steps, best iterate by the true score, never worse than clean.

    Args:
        norm: ``"L2"``: steps along the normalised gradient, radii in [0, 1] units over all values of an image.
            ``"Linf"``: along its sign.
    """

    steps = 40

    def __init__(self, norm: Norm) -> None:
        self.norm = norm

    @property
    def name(self) -> str:
        """Name in the continuous table."""
        return f"pgd_score_{self.norm.lower()}_continuous"

    def perturb(self, target: Target, batch: AttackBatch, radii: Sequence[float]) -> Iterator[Tensor]:
        """Yield float32 [B, 3, H, W] images in [0, 1], one tensor per radius."""
        for radius in radii:
            yield self._climb(target, batch, radius)

    def _climb(self, target: Target, batch: AttackBatch, radius: float) -> Tensor:
        clean = to_unit(batch.images)
        noise = 2.0 * random_uniform(batch, self.name, repr(radius), 0) - 1.0
        images = self.project(clean + radius * self.unit(noise), clean, radius)
        best, running = clean, torch.zeros_like(clean)
        best_harm = target.predict(clean).score.detach() * batch.direction
        for step in range(self.steps):
            with torch.enable_grad():
                leaf = images.detach().requires_grad_(True)
                prediction = target.predict(leaf)
                (gradient,) = torch.autograd.grad((softened(prediction) * batch.direction).sum(), leaf)
            harm = prediction.score.detach() * batch.direction
            better = harm > best_harm
            best_harm = torch.where(better, harm, best_harm)
            best = torch.where(better[:, None, None, None], images, best)
            running = MOMENTUM * running + self.unit(gradient)
            size = 5.0 * radius / self.steps * (1 - step / self.steps)
            images = self.project(images + size * self.unit(running), clean, radius)
        return best

    def unit(self, direction: Tensor) -> Tensor:
        """The direction at norm 1 (0 stays 0)."""
        if self.norm == "Linf":
            return direction.sign()
        length: Tensor = torch.linalg.vector_norm(direction, dim=(1, 2, 3), keepdim=True)
        return direction / torch.where(length > 0, length, 1.0)

    def project(self, images: Tensor, clean: Tensor, radius: float) -> Tensor:
        """Into the ball and into [0, 1] (clipping to the range never leaves a ball around an image)."""
        delta = images - clean
        if self.norm == "Linf":
            return (clean + delta.clamp(-radius, radius)).clamp(0, 1)
        length: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
        return (clean + delta * (radius / length.clamp(min=radius))).clamp(0, 1)
