"""PaDiM with a shrunk covariance: one Gaussian per patch position, Mahalanobis distance, maximum over the map.

Source: Defard et al., ICPR-W 2020 (arXiv 2011.08785): levels 1 to 3 of a CNN joined on the first grid (nearest), a
    random subset of channels, covariance + 0.01 I. With k references the sample covariance has rank k - 1, so here it
    is shrunk first towards a multiple of the identity with the Ledoit-Wolf intensity of its position (Ledoit, Wolf
    2004); that is a choice of this project for few shots, not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmark.errors import NotApplicableError
from benchmark.types import Detector, Extractor, Features, Prediction, Support
from detectors.backbones import build
from detectors.bank import support_features
from detectors.cards import CARDS
from detectors.head import Head
from detectors.options import at_least
from detectors.patchcore import published_backbone, published_preprocessing

DEFAULT_BACKBONE = "wide_resnet50_2"
DEFAULT_LEVELS = (1, 2, 3)
RIDGE = 0.01
MAP_SIGMA = 4.0


def position_features(features: Features, channels: Tensor | None = None) -> Tensor:
    """Levels on the first level's grid (nearest), joined, and a subset of channels: [B, h * w, D]."""
    grid = features.maps[0].shape[1:3]
    levels = [interpolate(level.permute(0, 3, 1, 2), grid, mode="nearest") for level in features.maps]
    joined = torch.cat(levels, dim=1).flatten(2).mT
    return joined if channels is None else joined[..., channels]


def shrinkage(centred: Tensor) -> Tensor:
    """Ledoit-Wolf intensity in [0, 1] per position, from centred samples [P, k, D] -> [P].

    Computed from the Gram matrices, so that no D x D covariance is formed.
    """
    count, dim = centred.shape[1:]
    gram = centred @ centred.mT  # [P, k, k]
    squared = gram.diagonal(dim1=1, dim2=2)
    frobenius = gram.square().sum((1, 2)) / count**2  # |S|^2
    distance = frobenius - (squared.sum(1) / count) ** 2 / dim  # |S - mu I|^2
    error = (squared.square().sum(1) / count - frobenius) / count
    return torch.where(distance > 0, torch.minimum(error, distance) / distance.clamp_min(1e-30), 1.0).clamp(0, 1)


@dataclass(frozen=True)
class FittedPaDiM(Head):
    """Gaussians of the P = h w positions of a grid (h, w) as mean [P, D], whitened factor [P, k, D] and ridge [P]:
    covariance = ridge I + low rank.
    """

    extractor: Extractor
    grid: tuple[int, int]
    channels: Tensor
    mean: Tensor
    factor: Tensor
    ridge: Tensor
    tensors = ("channels", "mean", "factor", "ridge")

    def score(self, features: Features) -> Prediction:
        """Mahalanobis distance per position; its maximum.

        Raises:
            NotApplicableError: If the image has another grid than the references.
        """
        batch, height, width = features.maps[0].shape[:3]
        if (height, width) != self.grid:
            there = "x".join(map(str, self.grid))
            raise NotApplicableError(f"PaDiM needs images of the references' size: grid {there}, here {height}x{width}")
        offset = position_features(features, self.channels) - self.mean  # [B, P, D]
        inside = torch.einsum("pkd,bpd->bpk", self.factor, offset)
        squared = (offset.square().sum(-1) - inside.square().sum(-1)) / self.ridge
        distance = squared.clamp_min(1e-12).sqrt().reshape(batch, height, width)
        return Prediction(distance.flatten(1).amax(1), distance, features.region, MAP_SIGMA)


class PaDiM(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``wide_resnet50_2`` (levels 1 to 3, resize 256, crop 224).
        channels: Size of the random channel subset (550 in the paper); fewer channels than that are all used.
        layers: Levels or blocks; default the published levels for Wide ResNet-50-2, else the backbone's own.
    """

    card = CARDS["padim"]
    extractor: Extractor
    default_backbone = staticmethod(published_backbone)

    def __init__(
        self, backbone: str | None = None, *, channels: int = 550, layers: tuple[int, ...] | None = None
    ) -> None:
        at_least("channels", channels, 1)
        backbone = backbone or DEFAULT_BACKBONE
        self.channels = channels
        resize, crop = published_preprocessing(backbone)
        chosen = DEFAULT_LEVELS if layers is None and resize else layers
        self.extractor = build(backbone, layers=chosen, resize=resize, crop=crop)
        self.config = {"backbone": backbone, "channels": channels, "layers": list(chosen) if chosen else None}

    def fit(self, support: Support, *, seed: int) -> FittedPaDiM:
        """Mean and shrunk covariance per position.

        Raises:
            NotApplicableError: If the references have different sizes.
        """
        features = support_features(self.extractor, support)
        if len({view.maps[0].shape for view in features}) > 1:
            raise NotApplicableError("PaDiM needs references of one size")
        joined = torch.cat([position_features(view) for view in features])  # [k, P, D]
        channels = torch.randperm(joined.shape[2], generator=torch.Generator().manual_seed(seed))[: self.channels]
        channels = channels.sort().values.to(joined.device)
        samples = joined[..., channels].double()
        mean = samples.mean(0)
        centred = (samples - mean).transpose(0, 1)  # [P, k, D]
        intensity = shrinkage(centred)
        count, dim = centred.shape[1:]
        ridge = intensity * centred.square().sum((1, 2)) / (count * dim) + RIDGE
        low_rank = centred * ((1 - intensity) / count).sqrt()[:, None, None]
        inner = ridge[:, None, None] * torch.eye(count).to(ridge) + low_rank @ low_rank.mT
        factor = torch.linalg.solve_triangular(torch.linalg.cholesky(inner), low_rank, upper=False)
        _, height, width, _ = features[0].maps[0].shape
        tensors = (channels, mean.float(), factor.float().contiguous(), ridge.float())
        return FittedPaDiM(self.extractor, (height, width), *tensors)
