"""Nearest neighbours of the global feature: the trivial floor that every patch method should beat.

Source: Bergman, Cohen, Hoshen, "Deep Nearest Neighbor Anomaly Detection", 2020 (arXiv 2002.10445), with the
cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.types import Detector, Extractor, Features, Prediction, Support
from detectors.backbones import build
from detectors.bank import support_features
from detectors.cards import CARDS
from detectors.head import Head
from detectors.neighbours import nearest
from detectors.options import at_least

DEFAULT_BACKBONE = "dinov2_vits14"


def global_feature(features: Features) -> Tensor:
    """CLS token, or the mean patch where there is none; unit length, [B, D]."""
    return normalize(features.maps[-1].mean(dim=(1, 2)) if features.cls is None else features.cls, dim=1)


@dataclass(frozen=True)
class FittedKNN(Head):
    """Global features [k, D] of the references, unit rows."""

    extractor: Extractor
    bank: Tensor
    neighbours: int

    def score(self, features: Features) -> Prediction:
        """Mean cosine distance to the nearest references; no map."""
        found = nearest(global_feature(features), self.bank, k=min(self.neighbours, len(self.bank)))
        return Prediction(found.distance.mean(dim=1), region=features.region)


class GlobalKNN(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``dinov2_vits14``.
        neighbours: k; fewer references than k are all used.

    Raises:
        UsageError: For a value that is not allowed.
    """

    card = CARDS["knn"]
    extractor: Extractor

    def __init__(self, backbone: str | None = None, *, neighbours: int = 1) -> None:
        at_least("neighbours", neighbours, 1)
        self.neighbours = neighbours
        self.extractor = build(backbone or DEFAULT_BACKBONE)
        self.config = {"backbone": backbone or DEFAULT_BACKBONE, "neighbours": neighbours}

    def fit(self, support: Support, *, seed: int) -> FittedKNN:
        """Keep the references' global features."""
        features = support_features(self.extractor, support)
        return FittedKNN(self.extractor, torch.cat([global_feature(view) for view in features]), self.neighbours)
