"""The backbone that ships with the package: a tiny vision transformer behind a convolutional stem.

2.7 M parameters, patches of 8 pixels, 112-pixel images (others work: positions are interpolated). It serves first runs,
continuous integration and spot re-runs without any download; docs/embedded-backbone.md has its figures.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers import HybridEmbed, LayerNorm2d
from timm.models import VisionTransformer, register_model
from timm.models.vision_transformer_hybrid import ConvStem

WEIGHTS = Path(__file__).with_name("embedded.safetensors")
WEIGHTS_SHA256 = ""
IMG_SIZE, PATCH = 112, 8
ARCHITECTURE: dict[str, Any] = {"embed_dim": 192, "depth": 6, "num_heads": 3, "num_classes": 0}


@register_model  # type: ignore[untyped-decorator]
def vit_tiny_convstem_patch8_112(pretrained: bool = False, **overrides: Any) -> torch.nn.Module:
    """Entry point for ``timm.create_model``: random weights (PyTorch's seed) or, if ``pretrained``, the shipped ones."""
    for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        overrides.pop(unused, None)
    stem = ConvStem(channels=(24, 48, 96), padding=1, norm_layer=LayerNorm2d, act_layer=torch.nn.GELU)
    settings = {"img_size": IMG_SIZE, "patch_size": 1, "dynamic_img_size": True, **ARCHITECTURE, **overrides}
    model = VisionTransformer(embed_layer=partial(HybridEmbed, backbone=stem), **settings)
    if pretrained:
        load_weights(WEIGHTS, model)
    return model


def load_weights(path: Path, model: torch.nn.Module | None = None) -> torch.nn.Module:
    """Fill a network (default: a new one) with half-precision weights from a safetensors file."""
    model = vit_tiny_convstem_patch8_112() if model is None else model
    model.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return model


def seeded_vit(seed: int) -> torch.nn.Module:
    """The architecture with its random initialisation under ``seed``; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return vit_tiny_convstem_patch8_112()


def embedded_vit() -> torch.nn.Module:
    """The shipped network, frozen and in evaluation mode.

    Its ``forward_features`` maps images [B, 3, H, W], normalised with ImageNet mean and deviation, H and W multiples of
    8, to normalised tokens of the last block [B, 1 + H/8 * W/8, 192], CLS first.
    """
    return vit_tiny_convstem_patch8_112(pretrained=True).eval().requires_grad_(False)
