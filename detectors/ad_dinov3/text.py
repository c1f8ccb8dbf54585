"""The two texts of a class, by the frozen CLIP text tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detectors.clip.model import load_text_tower
from detectors.clip.text import photo_features

_KNOWN: dict[tuple[str, str], Tensor] = {}
"""(CLIP model, class name) -> text features, a few kilobytes each."""
REFERENCE_NAMES = {"visa": "Data", "isic": "01", "colondb": "01", "clinicdb": "01", "tn3k": "TN3K"}
"""What the public code takes for the class name outside the MVTec AD layout: the fourth-last part of the path."""


def class_text(clip: str, names: Sequence[str]) -> Tensor:
    """Unit text features [n, 2, E], normal first: 7 and 5 states in 35 photo templates.

    The text tower is loaded for the names not seen yet, without the visual one, and let go of before it returns.
    """
    if missing := [name for name in dict.fromkeys(names) if (clip, name) not in _KNOWN]:
        module = load_text_tower(clip)
        _KNOWN.update({(clip, name): photo_features(module, name) for name in missing})
    return torch.stack([_KNOWN[clip, name] for name in names])


def prompt_name(dataset: str, category: str, class_name: str, *, reference_quirks: bool) -> str:
    """The name that goes into the prompts: the natural class name, or what the public code would take."""
    return REFERENCE_NAMES.get(dataset, category) if reference_quirks else class_name.replace("_", " ")
