"""The model of AD-DINOv3: frozen DINOv3 layers, adapters, and the maps that come out.

Source: Yuan, Ye, Chen, Gao, 2025 (arXiv 2509.14084) and the public code. Notation: B images, L layers, D backbone
width, E text width, h x w patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, normalize

from benchmark.errors import NotApplicableError, UsageError
from benchmark.types import Features
from detectors.backbones import QUARTERS, Layers
from detectors.backbones.extractor import FrozenExtractor
from detectors.backbones.networks import ViTNetwork
from detectors.clip.scoring import mean_log_odds

Ablation = Literal["none", "no_aacm", "no_cmcl", "one_layer"]
"""What is left out: the calibration loss, the text-map loss (the map is then the calibration map), or three layers."""
TEXT_SCALE, CALIBRATION_SCALE = 100.0, 10.0
EPSILON = 1e-6


def chosen_layers(ablation: Ablation) -> Layers:
    """The ends of the four quarters of the depth (6, 12, 18, 24 of 24, as published), or the last one alone."""
    return None if ablation == "one_layer" else QUARTERS


@dataclass(frozen=True)
class LayerExtractor:
    """Tokens of several layers, with the CLS tokens of all of them side by side: ``cls`` is [B, L * D].

    Images are resized to a square, the smaller edge rounded down to whole patches, as the published code resizes to
    512 x 512; the maps cover the whole image.

    Attributes:
        base: The backbone with its layers.
        beside_weights: File -> SHA-256 of what else the detector uses (adapters, text tower), for the results.
        beside_random: Some of that is seeded, not trained.
    """

    base: FrozenExtractor
    beside_weights: Mapping[str, str] = field(default_factory=dict)
    beside_random: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.base.network, ViTNetwork):
            raise UsageError(f"AD-DINOv3 needs a vision transformer, got backbone {self.base.name!r}")

    @property
    def id(self) -> str:
        """The base's, and that all CLS tokens are kept."""
        return f"{self.base.id}|square|every-cls"

    @property
    def weights(self) -> Mapping[str, str]:
        """File or model name -> SHA-256."""
        return {**self.base.weights, **self.beside_weights}

    @property
    def random_weights(self) -> bool:
        """Some weights are seeded."""
        return self.base.random_weights or self.beside_random

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return len(self._network.layers)

    @property
    def width(self) -> int:
        """Channels D of a token."""
        return int(self._network.model.embed_dim)

    @property
    def _network(self) -> ViTNetwork:
        return cast(ViTNetwork, self.base.network)

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.base.device

    def to(self, device: str) -> LayerExtractor:
        """The same extractor on another device."""
        return replace(self, base=self.base.to(device))

    def beside(self, weights: Mapping[str, str], *, random_weights: bool) -> LayerExtractor:
        """The same extractor, naming the weights that a detector uses beside it."""
        return replace(self, beside_weights=dict(weights), beside_random=random_weights)

    def __call__(self, images: Tensor) -> Features:
        """Canonical images float [B, 3, H, W] in [0, 1] -> features.

        Raises:
            NotApplicableError: If the images are smaller than one patch or the backbone has no CLS token.
        """
        network = self._network
        height, width = images.shape[-2:]
        edge = min(height, width) // network.multiple * network.multiple
        if edge == 0:
            raise NotApplicableError(f"{self.base.name} needs at least {network.multiple} pixels, got {width}x{height}")
        pixels = images.to(self.base.device)
        if (height, width) != (edge, edge):
            pixels = interpolate(pixels, (edge, edge), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        maps, cls = network.levels(self.base.normalised(pixels))
        if not cls:
            raise NotApplicableError(f"{self.base.name} has no CLS token, which AD-DINOv3 compares with the patches")
        return Features(maps, torch.cat(cls, dim=1), (0, 0, height, width))


class Adapters(nn.Module):
    """Everything that is trained: one linear layer with LeakyReLU per layer for patches and CLS, one per text.

    The public code has a second linear layer in every adapter, whose output is never used; it is left out here.

    Attributes:
        patch, cls: [L, E, D], from the backbone to the text space.
        text: [2, E, E], for the normal and the abnormal text.
    """

    def __init__(self, layers: int, width: int, text_width: int, *, seed: int = 0) -> None:
        """Initialise like `torch.nn.Linear`: uniform within 1 / sqrt(inputs)."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) / shape[-1] ** 0.5)

        self.patch, self.cls = uniform(layers, text_width, width), uniform(layers, text_width, width)
        self.text = uniform(2, text_width, text_width)


def adapt_text(weight: Tensor, text: Tensor, *, interleaved: bool = False) -> Tensor:
    """Adapted text features, NOT normalised, as published.

    Args:
        weight: [2, E, E].
        text: Unit rows [..., 2, E], normal first.
        interleaved: Reproduce the public code, which joins the two vectors to 2 E numbers and reshapes them to
            [E, 2]: each column then holds every second number of both texts.

    Returns:
        [..., 2, E].
    """
    adapted = leaky_relu(torch.einsum("kij,...kj->...ki", weight, text))
    if not interleaved:
        return adapted
    return adapted.reshape(*text.shape[:-2], -1, 2).mT


@dataclass(frozen=True)
class Maps:
    """What the adapters say about a batch.

    Attributes:
        text_logits: [L, B, S, S], abnormal minus normal logit of the patches.
        cls_logits: [L, B, S, S], similarity of patch and CLS token.
        image_logit: [B], abnormal minus normal logit of the CLS tokens, mean over layers.
    """

    text_logits: Tensor
    cls_logits: Tensor
    image_logit: Tensor

    @property
    def cross_modal(self) -> Tensor:
        """CMCL map [B, S, S]: probability of the abnormal text, mean over layers."""
        return unsaturated_sigmoid(self.text_logits).mean(0)

    @property
    def calibration(self) -> Tensor:
        """AACM map [B, S, S]: sigmoid of the similarity of patch and CLS token, mean over layers."""
        return unsaturated_sigmoid(self.cls_logits).mean(0)

    def log_odds(self, *, calibrated: bool) -> Tensor:
        """Log odds of the calibration map or of the CMCL map, [B, S, S]: the same order, but nothing saturates."""
        return mean_log_odds(self.cls_logits if calibrated else self.text_logits)


def compute_maps(features: Features, patch: Tensor, cls: Tensor, text: Tensor, size: int) -> Maps:
    """The maps of a batch.

    A softmax over two texts is the sigmoid of the difference of their logits, and the difference may be resized
    instead of both, so one channel suffices.

    Args:
        features: Of a `LayerExtractor`.
        patch, cls: Adapters [L, E, D].
        text: Adapted text [2, E], or [B, 2, E] where images have different texts.
        size: Edge S of the maps in pixels.
    """
    contrast = text[..., 1, :] - text[..., 0, :]
    contrast = contrast.expand(len(features.maps[0]), -1)[..., None]  # [B, E, 1]
    assert features.cls is not None
    texts, own_tokens, image = [], [], []
    for level, tokens in enumerate(features.maps):
        patches = normalize(leaky_relu(standardise(tokens) @ patch[level].T), dim=-1)  # [B, N, E]
        own = features.cls.chunk(len(features.maps), dim=1)[level]
        glob = normalize(leaky_relu(own @ cls[level].T), dim=-1)  # [B, E]
        shape = tokens.shape[1:3]
        texts.append(_resized(TEXT_SCALE * patches @ contrast, shape, size))
        own_tokens.append(_resized(CALIBRATION_SCALE * patches @ glob[..., None], shape, size))
        image.append(TEXT_SCALE * (glob[:, None] @ contrast).flatten())
    return Maps(torch.stack(texts), torch.stack(own_tokens), torch.stack(image).mean(0))


def standardise(tokens: Tensor) -> Tensor:
    """Tokens [B, h, w, D] -> [B, h w, D] with zero mean and unit standard deviation per channel over the patches."""
    flat = tokens.flatten(1, 2)
    return (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + EPSILON)


def _resized(logits: Tensor, shape: torch.Size, size: int) -> Tensor:
    """Logits [B, h w, 1] -> [B, S, S], corners aligned; resized before any sigmoid."""
    grid = logits.float().reshape(-1, 1, *shape)
    return interpolate(grid, (size, size), mode="bilinear", align_corners=True)[:, 0]


def unsaturated_sigmoid(logits: Tensor) -> Tensor:
    """The sigmoid, with a gradient that does not round to zero at large positive logits.

    In single precision sigmoid(17) is 1, and its gradient as commonly computed 0: attacks would see a wall that the
    model does not have.
    """
    return torch.where(logits > 0, 1 - torch.sigmoid(-logits), torch.sigmoid(logits))
