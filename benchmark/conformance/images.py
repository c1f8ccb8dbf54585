"""Seeded pictures for the checks: a stripe texture, the same with a blot, and a support made of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.types import CategoryInfo, Sample, Support


def texture(height: int, width: int, seed: int) -> Tensor:
    """Diagonal stripes with seeded brightness and noise: a normal picture, uint8 [3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    stripes = (((x + y) // 8) % 2 * 90 + 70).float()
    noise = torch.randint(-6, 7, (3, height, width), generator=generator)
    brightness = torch.randint(-12, 13, (3, 1, 1), generator=generator)
    return (stripes + brightness + noise).clamp(0, 255).to(torch.uint8)


def blotted(height: int, width: int, seed: int) -> Tensor:
    """A normal picture with a bright noisy square over a ninth of it, uint8 [3, H, W]."""
    image = texture(height, width, seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    rows, columns = height // 3, width // 3
    patch = torch.randint(0, 256, (3, rows, columns), generator=generator, dtype=torch.uint8)
    patch[0] = 255
    image[:, rows : 2 * rows, columns : 2 * columns] = patch
    return image


class MemorySupport(Support):
    """Support images given as uint8 [3, H, W] tensors. Rotated views are quarter turns, the odd eighths mirrored."""

    def __init__(self, images: Sequence[Tensor], info: CategoryInfo | None = None) -> None:
        self.info = info or CategoryInfo("conformance", "stripes", "fabric")
        self.samples = tuple(_sample(i, *image.shape[1:]) for i, image in enumerate(images))
        self._images = tuple(images)

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        """See `Support.views`; not square images keep their canvas by mirroring instead of turning."""
        return [[_turn(image, angle) for angle in angles] for image in self._images]


def _turn(image: Tensor, angle: float) -> Tensor:
    quarters, rest = divmod(angle, 90.0)
    square = image.shape[1] == image.shape[2]
    turned = torch.rot90(image, int(quarters), (1, 2)) if square else image.flip(1) if quarters % 2 else image
    return (turned if rest == 0 else turned.flip(2)).contiguous()


def _sample(index: int, height: int, width: int) -> Sample:
    return Sample(f"support/{index}", "stripes", "train", 0, "good", "", (), "", width, height)
