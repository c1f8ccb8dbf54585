"""One perturbation for a whole category (Moosavi-Dezfooli et al. 2017): the sticker on the lens.

It depends on the images it was fitted to, so it is not an `Attack` (those treat every image alone): fit it on one half
of the test images and apply it to the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.gradients import ascent, faded
from attacks.pgd import MOMENTUM, softened
from benchmark.types.attack import AttackBatch, Target
from benchmark.types.ball import Ball

STEPS = 40


def fit_universal(target: Target, batch: AttackBatch, epsilon: int) -> Tensor:
    """A perturbation, float32 [3, H, W] in whole grey levels within epsilon, that harms the images of a batch on
    average.

    Args:
        target: Bound to this batch.
        batch: Images to learn from, all of one size; anomalies are pushed down and normals up by the same perturbation.
        epsilon: Grey levels.
    """

    def objective(images: Tensor) -> tuple[Tensor, Tensor]:
        prediction = target.predict(images)
        return softened(prediction) * batch.direction, prediction.score * batch.direction

    ball = Ball.around(batch.images, epsilon)
    delta = torch.zeros_like(ball.origin[:1])
    best, best_harm, running = delta, -torch.inf, delta
    for step in range(STEPS):
        whole = delta.round()
        _, harm, gradient = ascent(objective, ball.quantise(ball.origin + whole))
        if harm.mean().item() > best_harm:
            best, best_harm = whole, harm.mean().item()
        running = faded(running, gradient.mean(dim=0, keepdim=True), MOMENTUM)
        size = 5.0 * epsilon / STEPS * (1 - step / STEPS)
        delta = (delta + size * running.sign()).clamp(-epsilon, epsilon)
    return best[0]


def apply_universal(delta: Tensor, images: Tensor) -> Tensor:
    """uint8 images [B, 3, H, W] moved by a perturbation [3, H, W] (or one each) in grey levels, cut at 0 and 255."""
    return (images.float() + delta).round().clamp(0, 255).to(torch.uint8)
