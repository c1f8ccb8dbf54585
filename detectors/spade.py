"""SPADE: global nearest neighbours for the image score, multi-level nearest neighbours of patches for the map.

Source: Cohen, Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020 (arXiv 2005.02357): K = 50
    images. All references take part in the map; for up to 50 of them that is the published rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmark.types import Detector, Extractor, Features, Prediction, Support
from detectors.backbones import build
from detectors.bank import support_features
from detectors.cards import CARDS
from detectors.head import Head
from detectors.neighbours import nearest
from detectors.options import at_least
from detectors.patchcore import published_backbone, published_preprocessing

DEFAULT_BACKBONE = "wide_resnet50_2"
DEFAULT_LEVELS = (1, 2, 3, 4)
MAP_SIGMA = 4.0


def pyramid(features: Features) -> tuple[Tensor, ...]:
    """The levels that the map compares: all but the deepest, which gives the global feature; a lone level is used."""
    return features.maps[:-1] or features.maps


def global_feature(features: Features) -> Tensor:
    """CLS token or mean of the deepest level, not normalised, [B, D]."""
    return features.maps[-1].mean(dim=(1, 2)) if features.cls is None else features.cls


@dataclass(frozen=True)
class FittedSPADE(Head):
    """Global features [k, D] and one patch gallery [M, D] per level."""

    extractor: Extractor
    bank: Tensor
    galleries: tuple[Tensor, ...]
    neighbours: int

    def score(self, features: Features) -> Prediction:
        """Mean Euclidean distance to the K nearest images; map = mean over levels of patch distances."""
        vector = global_feature(features)
        image = nearest(vector, self.bank, k=min(self.neighbours, len(self.bank)), metric="l2").distance.mean(1)
        levels = pyramid(features)
        grid = levels[0].shape[1:3]
        maps = []
        for level, gallery in zip(levels, self.galleries, strict=True):
            distance = nearest(level.flatten(0, 2), gallery, metric="l2").distance.reshape(level.shape[:3])
            maps.append(interpolate(distance[:, None], grid, mode="bilinear")[:, 0])
        return Prediction(image, torch.stack(maps).mean(0), features.region, MAP_SIGMA)

    def state(self) -> dict[str, Tensor]:
        """``bank`` and ``gallery0``, ``gallery1`` ..."""
        return {"bank": self.bank} | {f"gallery{i}": gallery for i, gallery in enumerate(self.galleries)}

    def with_state(self, state: Mapping[str, Tensor]) -> FittedSPADE:
        """The same head with the tensors of a saved twin."""
        galleries = tuple(state[f"gallery{i}"] for i in range(len(self.galleries)))
        return replace(self, bank=state["bank"], galleries=galleries)


class SPADE(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``wide_resnet50_2`` (levels 1 to 3 for the map, 4 for the image).
        neighbours: K; fewer references are all used.
        layers: Levels or blocks, the deepest for the image score.
    """

    card = CARDS["spade"]
    extractor: Extractor
    default_backbone = staticmethod(published_backbone)

    def __init__(
        self, backbone: str | None = None, *, neighbours: int = 50, layers: tuple[int, ...] | None = None
    ) -> None:
        at_least("neighbours", neighbours, 1)
        backbone = backbone or DEFAULT_BACKBONE
        self.neighbours = neighbours
        resize, crop = published_preprocessing(backbone)
        chosen = DEFAULT_LEVELS if layers is None and resize else layers
        self.extractor = build(backbone, layers=chosen, resize=resize, crop=crop)
        self.config = {"backbone": backbone, "neighbours": neighbours, "layers": list(chosen) if chosen else None}

    def fit(self, support: Support, *, seed: int) -> FittedSPADE:
        """Keep all global features and all patches."""
        features = support_features(self.extractor, support)
        vectors = torch.cat([global_feature(view) for view in features])
        levels = zip(*(pyramid(view) for view in features), strict=True)
        galleries = tuple(torch.cat([level.flatten(0, 2) for level in group]) for group in levels)
        return FittedSPADE(self.extractor, vectors, galleries, self.neighbours)
