"""Running an attack and believing nothing it says: every output is checked in whole grey levels."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from benchmark.errors import ContractError, UsageError
from benchmark.types.attack import Attack, AttackBatch, Norm, Target
from benchmark.types.ball import Ball, to_unit


def perturb(
    attack: Attack, target: Target, batch: AttackBatch, epsilons: Sequence[int]
) -> Generator[Tensor, None, None]:
    """Run an attack and yield one checked uint8 [B, 3, H, W] tensor per epsilon, in the given order.

    Epsilon 0 is the identity. Outputs are uint8; float images in [0, 1] that stay within epsilon + 0.5/255
    are rounded and projected into the ball.

    Args:
        attack: The attack.
        target: What it may query.
        batch: Clean images.
        epsilons: Whole grey levels, 0 to 255.

    Raises:
        UsageError: If an epsilon is not a whole number from 0 to 255.
        ContractError: Naming the attack, if it yields too few or too many images, another shape or dtype, a
            value that is not finite, or an image outside the ball.
    """
    for epsilon in epsilons:
        if not isinstance(epsilon, int) or not 0 <= epsilon <= 255:
            raise UsageError(f"epsilon {epsilon!r} is not a whole number of grey levels from 0 to 255")
    active = [epsilon for epsilon in epsilons if epsilon > 0]
    own = replace(batch, images=batch.images.clone())
    outputs = iter(attack.perturb(target, own, active)) if active else iter(())
    for epsilon in epsilons:
        if epsilon == 0:
            yield batch.images.clone()
            continue
        output = next(outputs, None)
        if output is None:
            raise ContractError(f"attack {attack.name}: fewer images than the {len(active)} epsilons asked for")
        yield checked(attack.name, output, batch, epsilon)
    if next(outputs, None) is not None:
        raise ContractError(f"attack {attack.name}: more images than the {len(active)} epsilons asked for")


class ContinuousAttack(Protocol):
    """An attack on float images, such as `attacks.continuous.ContinuousPGD`."""

    norm: Norm

    @property
    def name(self) -> str: ...

    def perturb(self, target: Target, batch: AttackBatch, radii: Sequence[float]) -> Iterator[Tensor]:
        """Yield float32 [B, 3, H, W] images in [0, 1], one tensor per radius."""
        ...


def perturb_continuous(
    attack: ContinuousAttack, target: Target, batch: AttackBatch, radii: Sequence[float]
) -> Generator[Tensor, None, None]:
    """Run an attack on float images and yield one checked float32 [B, 3, H, W] tensor in [0, 1] per radius; not ranked.

    Raises:
        ContractError: Naming the attack, for another shape, values that are not finite or outside [0, 1], or an image
            outside the ball by more than 1e-4 of the radius (float rounding).
    """
    clean = to_unit(batch.images)
    for radius, output in zip(radii, attack.perturb(target, batch, radii), strict=True):
        where = f"attack {attack.name} at radius {radius:g}"
        if output.shape != clean.shape or not bool(torch.isfinite(output).all()):
            raise ContractError(f"{where}: another shape, or values that are not finite")
        order = 2.0 if attack.norm == "L2" else torch.inf
        length = torch.linalg.vector_norm((output - clean).flatten(1).double(), ord=order, dim=1).max().item()
        if length > radius * 1.0001 + 1e-7 or output.min() < 0 or output.max() > 1:
            raise ContractError(f"{where}: leaves the ball or [0, 1]; its {attack.norm} length is {length:g}")
        yield output


def checked(name: str, output: Tensor, batch: AttackBatch, epsilon: int) -> Tensor:
    """One output as uint8 inside the ball (see `perturb`)."""
    where = f"attack {name} at epsilon {epsilon}/255"
    if output.shape != batch.images.shape:
        raise ContractError(f"{where}: shape {tuple(output.shape)}, expected {tuple(batch.images.shape)}")
    if output.dtype == torch.uint8:
        moved = (output.short() - batch.images.short()).abs().max().item()
        _require_inside(where, moved - epsilon, 0.0)
        return output.clone()
    if not output.is_floating_point():
        raise ContractError(f"{where}: dtype {output.dtype}, expected uint8 (or float in [0, 1])")
    levels = output.detach().float() * 255.0
    if not bool(torch.isfinite(levels).all()):
        raise ContractError(f"{where}: values that are not finite")
    ball = Ball.around(batch.images, epsilon)
    _require_inside(where, torch.maximum(levels - ball.high, ball.low - levels).max().item(), 0.5)
    return ball.images(levels)


def _require_inside(where: str, excess: float, slack: float) -> None:
    """Refuse images that leave the ball by more grey levels than ``slack``."""
    if excess > slack + 1e-3:
        raise ContractError(
            f"{where}: leaves the ball or 0..255 by {excess:.3g} grey levels; at most {slack} is allowed"
        )
