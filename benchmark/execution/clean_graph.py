"""One forward pass of the clean images for all surrogate heads: its graph is kept, each head costs a backward only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.types import Extractor, Features


class CleanGraph:
    """The clean images of a batch, and the graphs of their features by extractor.

    An attack asks for the features of images of its own. Where those are the clean images, it gets the kept features
    and its gradient flows through the kept graph: the bits are those of a forward pass of its own.

    Args:
        images: uint8 [B, 3, H, W] clean images.
    """

    def __init__(self, images: Tensor) -> None:
        self._images = images.float() / 255.0
        self._kept: dict[str, tuple[Tensor, Features]] = {}

    def of(self, images: Tensor) -> CleanGraph:
        """This one for the same images; for a part (memory ran out) another one, and this one forgets."""
        if images.shape == self._images.shape:
            return self
        self._kept.clear()
        return CleanGraph(images)

    def features(self, extractor: Extractor, images: Tensor) -> Features:
        """``extractor(images)`` for images float [B, 3, H, W] in [0, 1]."""
        if not (images.requires_grad and torch.is_grad_enabled() and torch.equal(images, self._images)):
            return extractor(images)
        if extractor.id not in self._kept:
            leaf = self._images.clone().requires_grad_(True)
            self._kept[extractor.id] = leaf, extractor(leaf)
        leaf, kept = self._kept[extractor.id]
        *maps, cls = _Replay.apply(images, (leaf, *kept.maps, kept.cls))
        return Features(tuple(maps), cls, kept.region)


class _Replay(torch.autograd.Function):
    """The kept outputs as a function of other images of the same values."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, kept: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        ctx.kept = kept
        ctx.set_materialize_grads(False)
        return tuple(None if output is None else output.detach() for output in kept[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None]:
        leaf, *outputs = ctx.kept
        asked = [(output, g) for output, g in zip(outputs, gradients, strict=True) if g is not None]
        values, incoming = zip(*asked, strict=True)
        (gradient,) = torch.autograd.grad(values, leaf, incoming, retain_graph=True)
        return gradient, None
