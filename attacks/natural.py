"""Natural corruptions at five named severities: a column beside the adversarial ones, bound by no epsilon.

As attacks they are families (``jpeg:severe``), run at 255/255: that ball holds every image. Severities follow the
spirit of Hendrycks and Dietterich 2019 (ImageNet-C); the values are ours, chosen for 8-bit images whose smaller edge is
112 pixels or more.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from attacks.cards import CARDS
from benchmark.errors import UnknownNameError
from benchmark.types.attack import Attack, AttackBatch, Target
from benchmark.types.ball import Ball

SEVERITIES = ("slight", "mild", "moderate", "strong", "severe")


def jpeg(images: Tensor, quality: float) -> Tensor:
    """JPEG compression and decompression at a Pillow quality (4:2:0)."""
    return torch.stack([_recompressed(image, int(quality)) for image in images.cpu()]).to(images.device)


def _recompressed(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality, subsampling=2)
    return torch.from_numpy(np.array(Image.open(buffer).convert("RGB"))).permute(2, 0, 1)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; sigma in canonical pixels."""
    size = 2 * int(np.ceil(3 * sigma)) + 1
    return _levels(gaussian_blur(images.float(), [size, size], [sigma, sigma]))


def brightness(images: Tensor, offset: float) -> Tensor:
    """Every value moves up by ``offset`` grey levels."""
    return _levels(images.float() + offset)


def contrast(images: Tensor, factor: float) -> Tensor:
    """Distances from each image's mean value shrink by ``factor``."""
    mean = images.float().mean(dim=(1, 2, 3), keepdim=True)
    return _levels(mean + factor * (images.float() - mean))


def _levels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


class Corruption(Attack):
    """One corruption at one severity; projected into the ball where the budget is smaller than the whole range.

    Args:
        severity: One of `SEVERITIES`.

    Raises:
        UnknownNameError: For another severity.
    """

    change: ClassVar[Callable[[Tensor, float], Tensor]]
    strengths: ClassVar[tuple[float, ...]]
    """What each of `SEVERITIES` means to ``change``."""

    def __init__(self, severity: str) -> None:
        if severity not in SEVERITIES:
            raise UnknownNameError("severity", severity, SEVERITIES)
        self.severity = severity
        self.config = {"strength": self.strengths[SEVERITIES.index(severity)]}

    @property
    def name(self) -> str:
        return f"{self.card.name}:{self.severity}"

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        corrupted = type(self).change(batch.images, self.config["strength"])
        for epsilon in epsilons:
            yield Ball.around(batch.images, epsilon).images(corrupted.float())


class Jpeg(Corruption):
    """Pillow qualities."""

    card = CARDS["jpeg"]
    change = jpeg
    strengths = (80, 50, 30, 18, 10)


class Blur(Corruption):
    """Standard deviations in canonical pixels."""

    card = CARDS["blur"]
    change = blur
    strengths = (0.5, 0.75, 1.0, 1.5, 2.0)


class Brightness(Corruption):
    """Grey levels."""

    card = CARDS["brightness"]
    change = brightness
    strengths = (10, 20, 35, 50, 70)


class Contrast(Corruption):
    """Factors."""

    card = CARDS["contrast"]
    change = contrast
    strengths = (0.85, 0.7, 0.55, 0.4, 0.25)
