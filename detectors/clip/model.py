"""CLIP models of open_clip with local weights, or with seeded random ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
from torch import nn

from benchmark.errors import UnknownNameError, UsageError
from benchmark.registry import BACKBONES
from detectors.backbones import WEIGHTS_DIR
from detectors.backbones.checkpoints import digest_state, load_into, read_state
from detectors.backbones.weights import WEIGHTS, check_digest, locate

ARCHITECTURES = {"clip_vitb16_plus_240": "ViT-B-16-plus-240", "clip_vitl14_336": "ViT-L-14-336-quickgelu"}
TINY: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 112, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
}
"""``clip_tiny``: an architecture for tests and the embedded track; no weights exist, so only seeded ones."""
TINY_NAME = "clip_tiny"
SEEDED_TINY = f"seeded:{TINY_NAME}"


@dataclass(frozen=True)
class ClipModel:
    """A frozen CLIP model (open_clip's modules) on the CPU.

    Attributes:
        module: With ``visual``, ``transformer``, ``token_embedding`` ...
        weights: File or model name -> SHA-256.
        random_weights: The weights are seeded.
    """

    module: Any
    weights: Mapping[str, str]
    random_weights: bool


def load_clip(name: str) -> ClipModel:
    """The CLIP model of a name: one of `ARCHITECTURES`, or ``seeded:NAME[:SEED]``, also of ``clip_tiny``.

    Raises:
        UnknownNameError: If the name is unknown.
        WeightsError: If its weights are missing, damaged or of another layout.
    """
    return _load(name, os.environ.get(WEIGHTS_DIR, ""))


def load_text_tower(name: str) -> Any:
    """The module of `load_clip` without its visual tower, not kept: a third of the memory where texts alone are needed.

    Raises:
        UnknownNameError, WeightsError: As `load_clip`.
    """
    if is_seeded(name):
        module = _seeded(name)
        del module.visual
        return _frozen(module)
    path, _ = _published(name, os.environ.get(WEIGHTS_DIR, ""))
    module = _create(name)
    del module.visual
    load_into(module, {k: v for k, v in read_state(path).items() if not k.startswith("visual.")}, path, trunk_only=True)
    return _frozen(module)


def is_seeded(name: str) -> bool:
    """Whether a CLIP name stands for random weights."""
    return name.startswith("seeded:")


def track_clip(track_backbone: str, published: str) -> str:
    """A detector's CLIP model on a track: the published one, or the seeded tiny one where nothing is fetched."""
    local = track_backbone in BACKBONES or is_seeded(track_backbone)
    return SEEDED_TINY if local else published


@lru_cache(maxsize=4)
def _load(name: str, folder: str) -> ClipModel:
    if is_seeded(name):
        module = _seeded(name)
        return ClipModel(_frozen(module), {name: digest_state(module)}, True)
    path, digest = _published(name, folder)
    module = _create(name)
    load_into(module, read_state(path), path, trunk_only=False)
    return ClipModel(_frozen(module), {ARCHITECTURES[name]: digest}, False)


def _seeded(name: str) -> nn.Module:
    _, base, *rest = name.split(":")
    if len(rest) > 1 or (rest and not rest[0].isdecimal()):
        raise UsageError(f"{name!r} is not of the form seeded:NAME[:SEED] with a whole number as seed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rest[0]) if rest else 0)
        return _create(base)


def _published(name: str, folder: str) -> tuple[Path, str]:
    """File and SHA-256 of a published model's weights."""
    if name not in ARCHITECTURES:
        raise UnknownNameError("CLIP model", name, ARCHITECTURES, f"{TINY_NAME} exists as {SEEDED_TINY} only.")
    path = locate(WEIGHTS[name], folder)
    return path, check_digest(WEIGHTS[name], path)


def _create(name: str) -> nn.Module:
    if name == TINY_NAME:
        return cast(nn.Module, open_clip.CLIP(**TINY))
    if name not in ARCHITECTURES:
        raise UnknownNameError("CLIP model", name, [*ARCHITECTURES, TINY_NAME])
    return cast(nn.Module, open_clip.create_model(ARCHITECTURES[name], pretrained=None))


def _frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)
