"""SubspaceAD: residual of patch tokens with respect to the principal subspace of normal tokens.

Source: Lendering, Akdag, Bondarev, "SubspaceAD", 2026 (arXiv 2602.23013). The published configuration is DINOv2-g at
    672 pixels with tokens averaged over layers 22 to 28 (``backbone="dinov2_vitg14", layers=(21, ..., 27)``), and 30
    augmented copies of every reference; here the references are the eight rotations that all few-shot detectors share,
    by default on the last layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.types import Detector, Extractor, Features, Prediction, Support
from detectors.anomalydino import ANGLES, mean_top_share
from detectors.backbones import build
from detectors.bank import support_features
from detectors.cards import CARDS
from detectors.head import Head
from detectors.options import share

DEFAULT_BACKBONE = "dinov2_vits14"
MAP_SIGMA = 4.0


def mean_tokens(features: Features) -> Tensor:
    """Tokens averaged over layers, [B, h, w, D]."""
    return torch.stack(features.maps).mean(0)


def principal_subspace(tokens: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    """Mean [D] and orthonormal basis [r, D] of the fewest components that explain a share of the variance.

    Args:
        tokens: [M, D].
        variance: Share in (0, 1].
    """
    values = tokens.double()
    mean = values.mean(0)
    centred = values - mean
    eigenvalues, vectors = torch.linalg.eigh(centred.mT @ centred)
    explained = eigenvalues.flip(0).clamp_min(0).cumsum(0)
    rank = int((explained < variance * explained[-1] * (1 - 1e-12)).sum()) + 1
    return mean.to(tokens.dtype), vectors.flip(1)[:, :rank].mT.to(tokens.dtype).contiguous()


@dataclass(frozen=True)
class FittedSubspaceAD(Head):
    """Mean [D] and basis [r, D] of the normal subspace."""

    extractor: Extractor
    mean: Tensor
    basis: Tensor
    tensors = ("mean", "basis")

    def score(self, features: Features) -> Prediction:
        """Squared residual norm per patch; mean of the top 1 %."""
        offset = mean_tokens(features) - self.mean
        residual = offset - (offset @ self.basis.T) @ self.basis
        distance = residual.square().sum(-1)
        return Prediction(mean_top_share(distance.flatten(1)), distance, features.region, MAP_SIGMA)


class SubspaceAD(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``dinov2_vits14``.
        variance: Share of the variance that the subspace explains.
        layers: Blocks whose tokens are averaged; default the last.
    """

    card = CARDS["subspacead"]
    extractor: Extractor

    def __init__(
        self, backbone: str | None = None, *, variance: float = 0.99, layers: tuple[int, ...] | None = None
    ) -> None:
        share("variance", variance)
        self.variance = variance
        self.extractor = build(backbone or DEFAULT_BACKBONE, layers=layers)
        self.config = {
            "backbone": backbone or DEFAULT_BACKBONE,
            "variance": variance,
            "layers": list(layers) if layers else None,
        }

    def fit(self, support: Support, *, seed: int) -> FittedSubspaceAD:
        """Principal components of the tokens of all rotated references."""
        features = support_features(self.extractor, support, ANGLES)
        tokens = torch.cat([mean_tokens(view).flatten(0, 2) for view in features])
        mean, basis = principal_subspace(tokens, self.variance)
        return FittedSubspaceAD(self.extractor, mean, basis)
