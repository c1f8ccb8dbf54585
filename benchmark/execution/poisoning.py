"""The support set that a poisoned reference makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.data.canonical import rotate
from benchmark.types.data import Support

if TYPE_CHECKING:
    from torch import Tensor


class PoisonedSupport(Support):
    """A support set with another canonical image at one index; its rotated views are those of the poisoned image.

    Args:
        clean: The clean support.
        index: Which image is replaced.
        image: uint8 [3, H, W].
    """

    def __init__(self, clean: Support, index: int, image: Tensor) -> None:
        self.info, self.samples = clean.info, clean.samples
        self._clean, self._index, self._image = clean, index, image

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        """As `Support.views`."""
        views = self._clean.views(angles)
        views[self._index] = [self._rotated(angle) for angle in angles]
        return views

    def _rotated(self, angle: float) -> Tensor:
        import torch

        turned = rotate(self._image.permute(1, 2, 0).cpu().numpy(), angle)
        return torch.from_numpy(turned.transpose(2, 0, 1).copy()).to(self._image.device)
