"""MuSc: mutual scoring of the unlabelled query images.

Source: Li et al., ICLR 2024 (arXiv 2401.16753), and its official code. Per level and per aggregation degree r, an
image's patches are compared with every other image: distance to the nearest patch there, averaged over the 30 % of
images where it is lowest. The image score is the largest patch score, smoothed over the images with the most similar
global feature (RsCIN). The official min-max scaling before that step cancels out and is left out; the maximum is
taken on the patch grid rather than after resizing. The other images' clean scores that enter the smoothing were made
once, with the scored image's clean version among their references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, layer_norm, normalize

from benchmark.errors import ContractError, NotApplicableError
from benchmark.registry import BACKBONES
from benchmark.types import Detector, Extractor, Features, FeatureScorer, FittedDetector, Prediction, Support
from detectors.backbones import QUARTERS, build
from detectors.cards import CARDS
from detectors.neighbours import nearest_per_group
from detectors.transductive import query_features, refuse_support_only

DEFAULT_BACKBONE = "dinov2_vitl14"
DEGREES = (1, 3, 5)
LOWEST_SHARE = 0.3
NEIGHBOURHOODS = {"visa": (1, 8, 9)}
DEFAULT_NEIGHBOURHOODS = (1, 2, 3)


def aggregate(level: Tensor, degree: int) -> Tensor:
    """Patches [B, N, D] of a level [B, h, w, D]: layer norm over the whole map, r x r mean, unit length."""
    channels_first: Tensor = layer_norm(level.permute(0, 3, 1, 2), [level.shape[3], *level.shape[1:3]])
    pooled = avg_pool2d(channels_first, degree, stride=1, padding=degree // 2)
    patches: Tensor = normalize(pooled.flatten(2).mT, dim=-1)
    return patches


def descriptors(features: Features) -> Tensor:
    """All levels and degrees of one image: [levels * degrees, N, D]."""
    return torch.cat([aggregate(level, degree) for degree in DEGREES for level in features.maps])


def mutual_distance(patches: Tensor, references: Tensor, others: Tensor) -> Tensor:
    """Patch scores [N]: Euclidean distance to the nearest patch of each other image, mean of the lowest 30 %.

    Args:
        patches: [N, D], unit rows; differentiable.
        references: [n, N', D], unit rows of all images.
        others: Bool [n]: the images to compare with.
    """
    found = nearest_per_group(patches.detach(), references)  # similarity and row, [N, n]
    count = max(1, int(LOWEST_SHARE * int(others.sum())))
    images = found.similarity.masked_fill(~others, -torch.inf).topk(count, dim=1).indices
    winners = references[images, found.index.gather(1, images)]  # [N, count, D]
    distance: Tensor = torch.linalg.vector_norm(patches[:, None] - winners, dim=-1)
    return distance.mean(dim=1)


def smooth(own: Tensor, similarity: Tensor, scores: Tensor, neighbourhoods: Sequence[int]) -> Tensor:
    """RsCIN for one image: mean over k of the similarity-weighted score of the k most similar images, itself included.

    Args:
        own: The image's own score, scalar.
        similarity: Cosine of global features to the other images, [n].
        scores: Their clean scores, [n].
        neighbourhoods: The k's.
    """
    everyone = torch.cat([own[None], scores])
    weights = torch.cat([similarity.new_ones(1), similarity.clamp_min(1e-6)])
    values = []
    for k in neighbourhoods:
        top = weights.topk(min(k, len(weights)))
        values.append((top.values * everyone[top.indices]).sum() / top.values.sum())
    return torch.stack(values).mean()


@dataclass(frozen=True)
class _Round(FeatureScorer):
    """The detector for one batch."""

    parent: FittedMuSc
    sample_ids: tuple[str, ...]

    @property
    def extractor(self) -> Extractor:  # type: ignore[override]
        """The parent's."""
        return self.parent.extractor

    def score(self, features: Features) -> Prediction:
        """Row b against all query images but ``sample_ids[b]``."""
        batch, height, width = features.maps[0].shape[:3]
        if batch != len(self.sample_ids):
            raise ContractError(f"excluding() named {len(self.sample_ids)} images, got a batch of {batch}")
        images = [_row(features, b) for b in range(batch)]
        pairs = [self.parent.compare(i, name) for i, name in zip(images, self.sample_ids, strict=True)]
        maps = torch.stack([patch_scores.reshape(height, width) for _, patch_scores in pairs])
        return Prediction(torch.stack([score for score, _ in pairs]), maps, features.region)


@dataclass(frozen=True)
class FittedMuSc(FittedDetector):
    """Descriptors [n, levels * degrees, N, D], unit global features [n, D] and clean raw scores [n] of the query
    set."""

    extractor: Extractor
    names: tuple[str, ...]
    patches: Tensor
    vectors: Tensor
    scores: Tensor
    neighbourhoods: tuple[int, ...]

    def raw(self, image: Features, name: str) -> Tensor:
        """Patch scores [N] of one image against all others."""
        others = torch.tensor([other != name for other in self.names], device=self.patches.device)
        own = descriptors(image)
        if own.shape[1:] != self.patches.shape[2:]:
            raise NotApplicableError("MuSc needs query images of one size")
        parts = zip(own, self.patches.unbind(1), strict=True)
        return torch.stack([mutual_distance(patches, bank, others) for patches, bank in parts]).mean(0)

    def compare(self, image: Features, name: str) -> tuple[Tensor, Tensor]:
        """Smoothed image score (scalar) and patch scores [N]."""
        patch_scores = self.raw(image, name)
        keep = torch.tensor([other != name for other in self.names], device=self.patches.device)
        similarity = self.vectors[keep] @ _vector(image)[0]
        score = smooth(patch_scores.max(), similarity, self.scores[keep], self.neighbourhoods)
        return score, patch_scores

    def excluding(self, sample_ids: Sequence[str]) -> FeatureScorer:
        """See `TransductiveScorer`."""
        return _Round(self, tuple(sample_ids))

    def __call__(self, images: Tensor) -> Prediction:
        """Score images that are not part of the query set: against all of it."""
        return self.excluding([""] * len(images))(images)

    def state(self) -> dict[str, Tensor]:
        """``patches``, ``vectors`` and ``scores``."""
        return {"patches": self.patches, "vectors": self.vectors, "scores": self.scores}

    def with_state(self, state: Mapping[str, Tensor]) -> FittedMuSc:
        """The same detector with the tensors of a saved twin."""
        return replace(self, patches=state["patches"], vectors=state["vectors"], scores=state["scores"])


def _row(features: Features, b: int) -> Features:
    cls = None if features.cls is None else features.cls[b : b + 1]
    return Features(tuple(level[b : b + 1] for level in features.maps), cls, features.region)


def _vector(features: Features) -> Tensor:
    """Unit global feature [1, D]."""
    return normalize(features.maps[-1].mean(dim=(1, 2)) if features.cls is None else features.cls, dim=1)


class MuSc(Detector):
    """See the module docstring.

    Args:
        backbone: Backbone name; default ``dinov2_vitl14``.
        layers: Blocks; default the ends of the four quarters (5, 11, 17, 23 of 24, as published), and the last one of
            the shipped backbones: four would cost the embedded track four times the search.
    """

    card = CARDS["musc"]
    extractor: Extractor

    def __init__(self, backbone: str | None = None, *, layers: tuple[int, ...] | None = None) -> None:
        chosen = layers or (None if backbone in BACKBONES else QUARTERS)
        self.extractor = build(backbone or DEFAULT_BACKBONE, layers=chosen)
        self.config = {
            "backbone": backbone or DEFAULT_BACKBONE,
            "layers": list(chosen) if isinstance(chosen, tuple) else chosen,
        }

    def fit(self, support: Support, *, seed: int) -> FittedDetector:
        """Always refuses; see `fit_transductive`."""
        raise refuse_support_only(self.card.name)

    def fit_transductive(self, support: Support, query: Sequence[tuple[str, Tensor]], *, seed: int) -> FittedMuSc:
        """Score every query image against all others, once, for the smoothing step.

        Raises:
            NotApplicableError: If the images have different sizes.
        """
        features = query_features(self.extractor, query, support)
        if len({view.maps[0].shape for view in features.values()}) > 1:
            raise NotApplicableError("MuSc needs query images of one size")
        views = list(features.values())
        with torch.no_grad():
            patches = torch.stack([descriptors(view) for view in views])
            vectors = torch.cat([_vector(view) for view in views])
            neighbourhoods = NEIGHBOURHOODS.get(support.info.dataset, DEFAULT_NEIGHBOURHOODS)
            blank = patches.new_zeros(len(views))
            fitted = FittedMuSc(self.extractor, tuple(features), patches, vectors, blank, neighbourhoods)
            scores = torch.stack([fitted.raw(view, name).max() for name, view in features.items()])
        return replace(fitted, scores=scores)
