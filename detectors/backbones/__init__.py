"""Frozen backbones, shared by all detectors of a process.

Names: a registered one (`embedded`, `gabor`, third parties), a short name of `weights.WEIGHTS`
(`dinov2_vits14` ...), any timm
model name, `torchvision/NAME`, or `seeded:NAME[:SEED]`, the real architecture with seeded random weights for
tests.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from detectors.backbones.extractor import FrozenExtractor

WEIGHTS_DIR = "TRUSTAD_WEIGHTS_DIR"
QUARTERS: Literal["quarters"] = "quarters"
Layers = tuple[int, ...] | Literal["quarters"] | None
"""0-based blocks or levels; ``"quarters"`` = the last block of each quarter of the depth; None = the default."""


def build(
    name: str,
    *,
    layers: Layers = None,
    resize: int | tuple[int, int] | None = None,
    crop: int | None = None,
    device: str = "cpu",
) -> FrozenExtractor:
    """The extractor of a name; the same object for the same arguments.

    Args:
        name: See the package docstring.
        layers: ViT: 0-based blocks, each through the final norm (default: the last); negative numbers count
            from the end, ``"quarters"`` takes the ends of the four quarters. CNN: timm feature levels.
        resize: Smaller edge, or (height, width), in pixels that images are resized to first; None = no, except
            that the shipped backbones see images at 112 pixels at most, the edge they were made for.
        crop: Edge in pixels of a centre crop after that; None = no crop.
        device: Torch device.

    Raises:
        UnknownNameError: If nobody knows the name.
        WeightsError: If its weights are missing, damaged or of another layout.
        UsageError: If a layer does not exist.
    """
    from detectors.backbones.extractor import cached

    folder = os.environ.get(WEIGHTS_DIR, "")
    return cached(name, tuple(layers) if isinstance(layers, (list, tuple)) else layers, resize, crop, device, folder)
