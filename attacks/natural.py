"""Natural corruptions at five named severities: a column beside the adversarial ones, bound by no epsilon.

Severities follow the spirit of Hendrycks and Dietterich 2019 (ImageNet-C); the values are ours, chosen for 8-bit images
whose smaller edge is 112 pixels or more.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from benchmark.errors import UnknownNameError, UsageError

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


CORRUPTIONS: Mapping[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "jpeg": (jpeg, (80, 50, 30, 18, 10)),
    "blur": (blur, (0.5, 0.75, 1.0, 1.5, 2.0)),
    "brightness": (brightness, (10, 20, 35, 50, 70)),
    "contrast": (contrast, (0.85, 0.7, 0.55, 0.4, 0.25)),
}


def corrupt(name: str, severity: str, images: Tensor) -> Tensor:
    """Corrupted uint8 images [B, 3, H, W].

    Args:
        name: A key of `CORRUPTIONS`.
        severity: One of `SEVERITIES`.
        images: Canonical uint8 images [B, 3, H, W].

    Raises:
        UnknownNameError: For another corruption.
        UsageError: For another severity.
    """
    if name not in CORRUPTIONS:
        raise UnknownNameError("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity!r} is unknown; allowed are {', '.join(SEVERITIES)}")
    change, values = CORRUPTIONS[name]
    return change(images, values[SEVERITIES.index(severity)])
