"""The extractor: resize, crop and normalise, run a frozen network, say which pixels it saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmark.errors import NotApplicableError
from benchmark.types import Features
from detectors.backbones import Layers
from detectors.backbones.weights import training_data

PREPROCESSING = 1
"""Bumped whenever the same name would yield other features."""


class Network(Protocol):
    """A network that an extractor wraps: normalised images to feature maps.

    Attributes:
        multiple: Height and width must be multiples of this many pixels.
        mean, std: Constants of the weights, per RGB channel.
        weights: File or model name -> SHA-256.
        random_weights: The weights are seeded, not trained.
        interpolation: ``"bilinear"`` or ``"bicubic"``, where the extractor resizes.
        largest_edge: Images with a larger smaller edge are reduced to it unless ``resize`` says otherwise; or None.
    """

    multiple: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: Mapping[str, str]
    random_weights: bool
    interpolation: str
    largest_edge: int | None

    def __call__(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Normalised images [B, 3, H, W] -> (maps [B, h, w, D] per level, global feature [B, D] or None)."""
        ...


@dataclass(frozen=True)
class FrozenExtractor:
    """A frozen network with its preprocessing; see `detectors.backbones.build`.

    Gradients flow to the pixels, never to the weights.
    """

    name: str
    layers: Layers
    resize: int | tuple[int, int] | None
    crop: int | None
    device: str
    network: Network

    @property
    def id(self) -> str:
        """Name, layers, preprocessing and weights digest."""
        layers = ",".join(map(str, self.layers)) if isinstance(self.layers, tuple) else self.layers
        digests = "+".join(value[:16] for value in self.weights.values()) or "none"
        return f"{self.name}|layers={layers}|resize={self.resize}|crop={self.crop}|v{PREPROCESSING}|{digests}"

    @property
    def weights(self) -> Mapping[str, str]:
        """File or model name -> SHA-256."""
        return self.network.weights

    @property
    def random_weights(self) -> bool:
        """True where the weights are seeded: results are listed, never ranked."""
        return self.network.random_weights

    @property
    def training_data(self) -> str:
        """What the weights saw, or "" where that is not known here."""
        return training_data(self.name)

    def to(self, device: str) -> FrozenExtractor:
        """The same extractor on another device (the process keeps one copy of the weights per device)."""
        from detectors.backbones import build

        return build(self.name, layers=self.layers, resize=self.resize, crop=self.crop, device=device)

    def __call__(self, images: Tensor) -> Features:
        """Canonical images float [B, 3, H, W] in [0, 1] -> features.

        Raises:
            NotApplicableError: If the images are smaller than one patch.
        """
        pixels, region = self._prepare(images.to(self.device))
        maps, cls = self.network(self.normalised(pixels))
        return Features(maps, cls, region)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] in [0, 1] -> the network's input, with the constants of its weights."""
        mean = pixels.new_tensor(self.network.mean)[:, None, None]
        std = pixels.new_tensor(self.network.std)[:, None, None]
        return (pixels - mean) / std

    def _prepare(self, images: Tensor) -> tuple[Tensor, tuple[int, int, int, int]]:
        """Resize, centre-crop, cut at the bottom and right to the multiple; and the region that is left."""
        height, width = images.shape[-2:]
        largest = self.network.largest_edge
        resize = largest if self.resize is None and largest and min(height, width) > largest else self.resize
        if resize is not None:
            images = self._resized(images, resize)
        scale_y, scale_x = images.shape[-2] / height, images.shape[-1] / width
        top = left = 0
        if self.crop is not None:
            top, left = (round((edge - self.crop) / 2) for edge in images.shape[-2:])
            images = images[..., top : top + self.crop, left : left + self.crop]
        multiple = self.network.multiple
        rows, columns = (edge // multiple * multiple for edge in images.shape[-2:])
        if not rows or not columns:
            raise NotApplicableError(
                f"{self.name} needs images of at least {multiple}x{multiple} pixels, got {width}x{height}"
            )
        corners = (top / scale_y, left / scale_x, (top + rows) / scale_y, (left + columns) / scale_x)
        limits = (height, width, height, width)
        region = tuple(min(round(corner), limit) for corner, limit in zip(corners, limits, strict=True))
        return images[..., :rows, :columns], cast("tuple[int, int, int, int]", region)

    def _resized(self, images: Tensor, resize: int | tuple[int, int]) -> Tensor:
        """Antialiased; the bicubic overshoot is clipped, as 8-bit images would be."""
        height, width = images.shape[-2:]
        if isinstance(resize, int):
            scale = resize / min(height, width)
            resize = (max(resize, int(height * scale)), max(resize, int(width * scale)))
        mode = self.network.interpolation
        return interpolate(images, resize, mode=mode, antialias=True, align_corners=False).clamp(0, 1)


@lru_cache(maxsize=16)
def cached(
    name: str,
    layers: Layers,
    resize: int | tuple[int, int] | None,
    crop: int | None,
    device: str,
    folder: str,
) -> FrozenExtractor:
    """`build` behind a per-process cache; ``folder`` is the weights folder."""
    from detectors.backbones.networks import make

    network = make(name, layers, folder)
    if isinstance(network, nn.Module):
        network.eval().requires_grad_(False).to(torch.device(device))
    return FrozenExtractor(name, layers, resize, crop, device, network)
