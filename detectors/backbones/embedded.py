"""The backbone that ships with the package: a tiny vision transformer on a stem of fixed filters.

2.7 M parameters, patches of 8 pixels, made for 112-pixel images; it has no position embedding, so any multiple of 8
works. It serves first runs, continuous integration and spot re-runs without any download; docs/embedded-backbone.md
has its figures.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors.torch import load_file
from timm.layers import HybridEmbed
from timm.models import VisionTransformer, register_model
from torch import Tensor

from detectors.backbones.gabor import GaborStem

WEIGHTS = Path(__file__).with_name("embedded.safetensors")
MODEL = "vit_tiny_patch8_gabor_112"
IMG_SIZE, PATCH = 112, 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Images come normalised with these (ImageNet's, as for most timm models); the stem undoes it."""


class Stem(GaborStem):
    """The filter bank behind timm's usual normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> features [B, 54, H/8, W/8]."""
        return super().forward(images * self.get_buffer("std") + self.get_buffer("mean"))


@register_model  # type: ignore[untyped-decorator]
def vit_tiny_patch8_gabor_112(pretrained: bool = False, **overrides: Any) -> torch.nn.Module:
    """What ``timm.create_model`` calls: random weights from PyTorch's seed or, if ``pretrained``, the shipped ones."""
    for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        overrides.pop(unused, None)
    settings = {"embed_dim": 192, "depth": 6, "num_heads": 3, "num_classes": 0, "pos_embed": "none", **overrides}
    embed = partial(HybridEmbed, backbone=Stem())
    model = VisionTransformer(embed_layer=embed, img_size=IMG_SIZE, patch_size=1, dynamic_img_size=True, **settings)
    if pretrained:
        load_weights(model, WEIGHTS)
    return cast(torch.nn.Module, model)


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Fill the network with half-precision weights from a safetensors file."""
    model.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})


def seeded_vit(seed: int) -> torch.nn.Module:
    """The architecture with its random initialisation under ``seed``; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cast(torch.nn.Module, timm.create_model(MODEL))


def embedded_vit() -> torch.nn.Module:
    """The shipped network, frozen and in evaluation mode.

    Its ``forward_features`` maps images [B, 3, H, W], normalised with ``MEAN`` and ``STD``, H and W multiples of 8, to
    normalised tokens of the last block [B, 1 + H/8 * W/8, 192], CLS first.
    """
    return cast(torch.nn.Module, timm.create_model(MODEL, pretrained=True)).eval().requires_grad_(False)
