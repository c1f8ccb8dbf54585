"""The two texts of a class, by the frozen CLIP text tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detectors.clip.model import release
from detectors.clip.text import photo_text

REFERENCE_NAMES = {"visa": "Data", "isic": "01", "colondb": "01", "clinicdb": "01", "tn3k": "TN3K"}
"""What the public code takes for the class name outside the MVTec AD layout: the fourth-last part of the path."""


def class_text(clip: str, names: Sequence[str]) -> Tensor:
    """Unit text features [n, 2, E], normal first: 7 and 5 states in 35 photo templates. Frees the CLIP model."""
    features = torch.stack([photo_text(clip, name) for name in names])
    release()
    return features


def prompt_name(dataset: str, category: str, class_name: str, *, reference_quirks: bool) -> str:
    """The name that goes into the prompts: the natural class name, or what the public code would take."""
    return REFERENCE_NAMES.get(dataset, category) if reference_quirks else class_name.replace("_", " ")
