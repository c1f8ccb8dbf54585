"""A support set of tensors for detector tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.types import CategoryInfo, Sample, Support


class TensorSupport(Support):
    """Support images given as uint8 tensors; angles are quarter turns, odd eighths flipped."""

    def __init__(self, images: Sequence[Tensor], dataset: str = "toy", category: str = "thing") -> None:
        self.info = CategoryInfo(dataset, category, category)
        self.samples = tuple(_sample(index, image) for index, image in enumerate(images))
        self._images = list(images)

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        return [[_turn(image, angle) for angle in angles] for image in self._images]


def _turn(image: Tensor, angle: float) -> Tensor:
    quarters, rest = divmod(angle, 90.0)
    turned = torch.rot90(image, int(quarters), (1, 2)).contiguous()
    return turned if rest == 0 else turned.flip(2)


def _sample(index: int, image: Tensor) -> Sample:
    height, width = image.shape[1:]
    return Sample(f"s{index}", "thing", "train", 0, "good", "", (), "", width, height)


def images(count: int, edge: int | tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Seeded smooth colour images, uint8 [3, H, W]."""
    height, width = (edge, edge) if isinstance(edge, int) else edge
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = (smooth + 0.1 * torch.rand(count, 3, height, width, generator=generator)).clamp(0, 1)
    return list((noisy * 255).round().to(torch.uint8))
