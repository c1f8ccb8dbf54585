"""How attacks look at a target: scores of whole-level images and gradients with respect to them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.errors import NotApplicableError
from benchmark.types.attack import Target
from benchmark.types.ball import to_unit

Rows = Tensor | None


def score(target: Target, levels: Tensor, rows: Rows = None) -> Tensor:
    """Scores [b] of images given in grey levels, without a gradient."""
    with torch.no_grad():
        return target.predict(to_unit(levels), rows).score


def ascent(objective: Callable[[Tensor], tuple[Tensor, Tensor]], levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate an objective and its gradient at images given in grey levels.

    Args:
        objective: From images [b, 3, H, W] in [0, 1] to (value to climb [b], score to report [b]).
        levels: Grey levels [b, 3, H, W].

    Returns:
        The values [b], the reported scores [b] and the gradient [b, 3, H, W] of each image's own value, all detached.

    Raises:
        NotApplicableError: If the value has no gradient.
    """
    with torch.enable_grad():
        images = to_unit(levels).requires_grad_(True)
        value, reported = objective(images)
        if not value.requires_grad:
            raise NotApplicableError(
                "the detector's score has no gradient; a SubstituteGradient makes white-box attacks possible"
            )
        (gradient,) = torch.autograd.grad(value.sum(), images)
    return value.detach(), reported.detach(), gradient


def faded(running: Tensor, gradient: Tensor, momentum: float) -> Tensor:
    """The running gradient after one more: the old one times ``momentum`` plus the new one at mean absolute value 1."""
    size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
    return momentum * running + gradient / torch.where(size > 0, size, 1.0)
