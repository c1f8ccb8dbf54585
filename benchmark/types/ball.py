"""The L-infinity ball in whole grey levels.

Attacks may move a float accumulator in grey levels (0 to 255), but score and return only whole levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def to_unit(levels: Tensor) -> Tensor:
    """Grey levels (uint8, or float holding whole levels) to float32 in [0, 1], the detectors' input."""
    return levels.float() / 255.0


@dataclass(frozen=True, slots=True)
class Ball:
    """All 8-bit images within ``epsilon`` grey levels of the origin.

    Attributes:
        origin: float32 [B, 3, H, W] clean levels.
        epsilon: Radius in grey levels.
        low: float32 [B, 3, H, W] smallest allowed levels, at least 0.
        high: float32 [B, 3, H, W] largest allowed levels, at most 255.
    """

    origin: Tensor
    epsilon: int
    low: Tensor
    high: Tensor

    @classmethod
    def around(cls, images: Tensor, epsilon: int) -> Ball:
        """The ball around uint8 images [B, 3, H, W]."""
        levels = images.float()
        return cls(levels, epsilon, (levels - epsilon).clamp_(min=0), (levels + epsilon).clamp_(max=255))

    def clip(self, levels: Tensor) -> Tensor:
        """The nearest point of the ball, not rounded."""
        return torch.clamp(levels, self.low, self.high)

    def quantise(self, levels: Tensor) -> Tensor:
        """The nearest image of the ball: float32 whole levels (ties to even)."""
        return self.clip(levels.round())

    def images(self, levels: Tensor) -> Tensor:
        """The nearest image of the ball, uint8."""
        return self.quantise(levels).to(torch.uint8)

    def random_start(self, uniform: Tensor) -> Tensor:
        """Whole levels around the origin from noise [B, 3, H, W] in [0, 1)."""
        return self.quantise(self.origin + (2.0 * uniform - 1.0) * self.epsilon)

    def rows(self, index: Tensor) -> Ball:
        """The balls of some of the images."""
        return Ball(self.origin[index], self.epsilon, self.low[index], self.high[index])
