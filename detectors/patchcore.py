"""PatchCore: nearest neighbours of locally pooled patch features in a coreset, with a re-weighted maximum.

Source: Roth et al., CVPR 2022 (arXiv 2106.08265). On the default Wide ResNet-50-2 images are resized to 256
pixels and centre-cropped
to 224, as published; other backbones see the canonical image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, avg_pool2d, interpolate

from benchmark.registry import BACKBONES
from benchmark.types import Detector, Extractor, Features, Prediction, Support
from detectors.backbones import build
from detectors.bank import support_features
from detectors.cards import CARDS
from detectors.head import Head
from detectors.neighbours import nearest
from detectors.options import at_least, share

DEFAULT_BACKBONE = "wide_resnet50_2"
PROJECTION = 128
CACHED = 2048
"""Points whose distances to the newest centre are taken at once: a block stays in the processor's cache."""
MAP_SIGMA = 4.0


def published_backbone(track_backbone: str) -> str:
    """Wide ResNet-50-2 on tracks of downloaded weights; the track's own backbone where that ships with the package."""
    local = track_backbone in BACKBONES or track_backbone.startswith("seeded:")
    return track_backbone if local else DEFAULT_BACKBONE


def published_preprocessing(backbone: str) -> tuple[int | None, int | None]:
    """(resize, crop) = (256, 224) for Wide ResNet-50-2, as PatchCore, PaDiM and SPADE were published."""
    return (256, 224) if "wide_resnet50_2" in backbone else (None, None)


def patch_features(features: Features, dimension: int) -> Tensor:
    """Locally aware patch features: 3x3 means of every level, resized to the first level's grid, joined,
    pooled.

    Args:
        features: One or several levels [B, h, w, D].
        dimension: Length that longer vectors are average-pooled to.

    Returns:
        [B, h, w, min(dimension, sum of D)].
    """
    levels = [avg_pool2d(level.permute(0, 3, 1, 2), 3, stride=1, padding=1) for level in features.maps]
    grid = levels[0].shape[-2:]
    resized = [levels[0], *(interpolate(level, grid, mode="bilinear") for level in levels[1:])]
    joined = torch.cat(resized, dim=1).permute(0, 2, 3, 1).contiguous()
    if joined.shape[-1] <= dimension:
        return joined
    pooled: Tensor = adaptive_avg_pool1d(joined.flatten(0, 2), dimension)
    return pooled.reshape(*joined.shape[:3], dimension)


def coreset(points: Tensor, ratio: float, seed: int) -> Tensor:
    """Rows of a greedy k-centre coreset: each next point is the farthest from those chosen (algorithm 1).

    The first is the farthest from the mean (the paper draws it at random): the order of the points is irrelevant.

    Args:
        points: [M, D]; distances are taken after a seeded Gaussian projection to 128 dimensions where D is
            larger.
        ratio: Share of M to keep; at least one point.
        seed: Seed of the projection.

    Returns:
        int64 [max(1, int(ratio * M))], in order of choice.
    """
    if points.shape[1] > PROJECTION:
        generator = torch.Generator().manual_seed(seed)
        basis = torch.randn(points.shape[1], PROJECTION, generator=generator) / PROJECTION**0.5
        points = points @ basis.to(points)
    chosen = [int((points - points.mean(0)).square().sum(1).argmax())]
    nearest_chosen = torch.full_like(points[:, 0], torch.inf)
    blocks = list(zip(torch.split(points, CACHED), torch.split(nearest_chosen, CACHED), strict=True))
    while True:
        for block, distance in blocks:
            torch.minimum(distance, (block - points[chosen[-1]]).square_().sum(1), out=distance)
        if len(chosen) >= int(ratio * len(points)):
            break
        chosen.append(int(nearest_chosen.argmax()))
    return torch.tensor(chosen, device=points.device)


@dataclass(frozen=True)
class FittedPatchCore(Head):
    """A coreset [M, D]."""

    extractor: Extractor
    bank: Tensor
    dimension: int
    reweight_neighbours: int

    def score(self, features: Features) -> Prediction:
        """Patch distances to the coreset; the largest, times its neighbourhood weight, is the image score."""
        patches = features.once(("patchcore", self.dimension), lambda: patch_features(features, self.dimension))
        found = nearest(patches.flatten(0, 2), self.bank, metric="l2")
        distances = found.distance.reshape(patches.shape[:3])
        score, worst = distances.flatten(1).max(dim=1)
        if self.reweight_neighbours:
            rows = torch.arange(len(worst), device=worst.device)
            winner = found.index.reshape(len(worst), -1)[rows, worst]
            score = score * self._weight(patches.flatten(1, 2)[rows, worst], winner)
        return Prediction(score, distances, features.region, MAP_SIGMA)

    def _weight(self, patch: Tensor, winner: Tensor) -> Tensor:
        """1 - softmax of the distance to the winner among its b nearest rows (equation 7); 1 if alone."""
        if len(self.bank) == 1:
            return torch.ones_like(patch[:, 0])
        count = min(self.reweight_neighbours, len(self.bank))
        with torch.no_grad():
            around = nearest(self.bank[winner], self.bank, k=count, metric="l2").index  # [B, b]
        to_others = torch.linalg.vector_norm(patch[:, None] - self.bank[around], dim=-1)
        to_winner = torch.linalg.vector_norm(patch - self.bank[winner], dim=-1)
        return 1 - torch.exp(to_winner - torch.logsumexp(to_others, dim=1))


class PatchCore(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``wide_resnet50_2`` (levels 2 and 3).
        coreset_ratio: Share of the reference patches that is kept.
        dimension: Length of a patch feature.
        reweight_neighbours: b of the paper's neighbourhood weight; 0 = plain maximum (official default).
        layers: Levels or blocks; default the backbone's own.

    Raises:
        UsageError: For a value that is not allowed.
    """

    card = CARDS["patchcore"]
    extractor: Extractor
    default_backbone = staticmethod(published_backbone)

    def __init__(
        self,
        backbone: str | None = None,
        *,
        coreset_ratio: float = 0.1,
        dimension: int = 1024,
        reweight_neighbours: int = 9,
        layers: tuple[int, ...] | None = None,
    ) -> None:
        share("coreset_ratio", coreset_ratio)
        at_least("dimension", dimension, 1)
        at_least("reweight_neighbours", reweight_neighbours, 0)
        self.coreset_ratio, self.dimension, self.reweight_neighbours = (
            coreset_ratio,
            dimension,
            reweight_neighbours,
        )
        backbone = backbone or DEFAULT_BACKBONE
        resize, crop = published_preprocessing(backbone)
        self.extractor = build(backbone, layers=layers, resize=resize, crop=crop)
        self.config = {
            "backbone": backbone,
            "coreset_ratio": coreset_ratio,
            "dimension": dimension,
            "reweight_neighbours": reweight_neighbours,
            "layers": None if layers is None else list(layers),
        }

    def fit(self, support: Support, *, seed: int) -> FittedPatchCore:
        """Collect all reference patches and keep a coreset."""
        features = support_features(self.extractor, support)
        patches = torch.cat([patch_features(view, self.dimension).flatten(0, 2) for view in features])
        bank = patches[coreset(patches, self.coreset_ratio, seed)]
        return FittedPatchCore(self.extractor, bank, self.dimension, self.reweight_neighbours)
