"""AnomalyDINO's batched zero-shot mode: every test image is scored against the patches of all other test images.

Source: Damm et al., WACV 2025, section on batched zero-shot detection, and the official script: a patch scores the mean
    of its cosine distances that lie strictly below the int(0.001 M)-th smallest of M. Where that set is empty (small M,
    ties) the nearest distance is taken; the official code divides by zero there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.errors import ContractError
from benchmark.types import Detector, Extractor, Features, FeatureScorer, FittedDetector, Prediction, Support
from detectors.anomalydino import MAP_SIGMA, MODES, masks, mean_top_share
from detectors.backbones import build
from detectors.cards import CARDS
from detectors.foreground import MaskForm, foreground, margin
from detectors.neighbours import nearest
from detectors.options import one_of
from detectors.transductive import query_features, refuse_support_only

DEFAULT_BACKBONE = "dinov2_vits14"
QUANTILE = 0.001
CHUNK = 256


def low_quantile_distance(queries: Tensor, bank: Tensor) -> Tensor:
    """Mean cosine distance to the bank rows strictly below the int(0.001 M)-th smallest distance: [N].

    The mean of 1 - <q, b> over a set is 1 - <q, mean b>, so the backward pass costs one row per query.
    """
    count = max(1, int(QUANTILE * len(bank)))
    means = []
    with torch.no_grad():
        for block in torch.split(queries, CHUNK):
            found = nearest(block, bank, k=count)
            below = found.distance < found.distance[:, -1:]
            below[:, 0] |= ~below.any(dim=1)
            weights = below / below.sum(dim=1, keepdim=True)
            means.append(torch.einsum("nk,nkd->nd", weights, bank[found.index]))
    return 1 - (queries * torch.cat(means)).sum(-1)


@dataclass(frozen=True)
class _Round(FeatureScorer):
    """The detector for one batch: image b is ``sample_ids[b]``; ``held`` masks replace the images' own."""

    parent: FittedBatchedAnomalyDINO
    sample_ids: tuple[str, ...]
    held: Tensor | None = None

    @property
    def extractor(self) -> Extractor:  # type: ignore[override]
        """The parent's."""
        return self.parent.extractor

    @property
    def masked(self) -> bool:
        """Whether the category is masked."""
        return self.parent.masked

    def score(self, features: Features) -> Prediction:
        """Row b against all query images but ``sample_ids[b]``."""
        tokens = features.maps[-1]
        if len(tokens) != len(self.sample_ids):
            raise ContractError(f"excluding() named {len(self.sample_ids)} images, got a batch of {len(tokens)}")
        rows = []
        for image, sample_id in zip(tokens, self.sample_ids, strict=True):
            others = [bank for name, bank in self.parent.banks.items() if name != sample_id]
            unit = normalize(image.flatten(0, 1), dim=1)
            rows.append(low_quantile_distance(unit, torch.cat(others)).reshape(image.shape[:2]))
        distances = torch.stack(rows)
        if self.masked:
            distances = distances * self._foreground(features)
        return Prediction(mean_top_share(distances.flatten(1)), distances, features.region, MAP_SIGMA)

    def _foreground(self, features: Features) -> Tensor:
        return foreground(features.maps[-1], self.parent.mask_form) if self.held is None else self.held

    def with_foreground(self, features: Features) -> _Round:
        """As in `FittedAnomalyDINO`."""
        return replace(self, held=self._foreground(features))

    def foreground_margin(self, features: Features) -> Tensor:
        """As in `FittedAnomalyDINO`."""
        return margin(features.maps[-1])


@dataclass(frozen=True)
class FittedBatchedAnomalyDINO(FittedDetector):
    """Unit tokens [N, D] of every query image by sample id."""

    extractor: Extractor
    banks: Mapping[str, Tensor]
    masked: bool
    mask_form: MaskForm

    def excluding(self, sample_ids: Sequence[str]) -> FeatureScorer:
        """See `TransductiveScorer`."""
        return _Round(self, tuple(sample_ids))

    def __call__(self, images: Tensor) -> Prediction:
        """Score images that are not part of the query set: against all of it."""
        return self.excluding([""] * len(images))(images)

    def state(self) -> dict[str, Tensor]:
        """Sample id -> unit tokens."""
        return dict(self.banks)

    def with_state(self, state: Mapping[str, Tensor]) -> FittedBatchedAnomalyDINO:
        """The same detector with other banks."""
        return replace(self, banks=dict(state))


class BatchedAnomalyDINO(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``dinov2_vits14``.
        preprocess: Mask rule, a key of `detectors.anomalydino.MODES`; nothing is ever rotated.
        mask_form: See `detectors.foreground.foreground`.
    """

    card = CARDS["anomalydino_batched"]
    extractor: Extractor

    def __init__(
        self, backbone: str | None = None, *, preprocess: str = "masking_only", mask_form: MaskForm = "raster"
    ) -> None:
        one_of("preprocess", preprocess, MODES)
        one_of("mask_form", mask_form, get_args(MaskForm))
        self.preprocess, self.mask_form = preprocess, mask_form
        self.extractor = build(backbone or DEFAULT_BACKBONE)
        self.config = {
            "backbone": backbone or DEFAULT_BACKBONE,
            "preprocess": preprocess,
            "mask_form": mask_form,
        }

    def fit(self, support: Support, *, seed: int) -> FittedDetector:
        """Always refuses; see `fit_transductive`."""
        raise refuse_support_only(self.card.name)

    def fit_transductive(
        self, support: Support, query: Sequence[tuple[str, Tensor]], *, seed: int
    ) -> FittedBatchedAnomalyDINO:
        """Keep the unit tokens of every query image."""
        features = query_features(self.extractor, query, support)
        banks = {name: normalize(view.maps[-1].flatten(0, 2), dim=1) for name, view in features.items()}
        masked = masks(self.preprocess, support.info)
        return FittedBatchedAnomalyDINO(self.extractor, banks, masked, self.mask_form)
