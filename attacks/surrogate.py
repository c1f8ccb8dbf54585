"""The surrogate head: a linear classifier on the frozen features, fitted only to craft attacks (PROTOCOL.md
section 3)."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import torch
from torch import Tensor, nn

from attacks.synthetic import synthetic_anomalies
from benchmark.errors import NotApplicableError
from benchmark.types.ball import to_unit
from benchmark.types.data import Support
from benchmark.types.detector import Extractor, Features

ANGLES = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
ANOMALIES = 64
_CHUNK = 16


class SurrogateHead(nn.Module):
    """``weight . (pooled - mean) / scale + bias`` in float64; positive = anomalous."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("scale", scale), ("weight", weight), ("bias", bias)):
            self.register_buffer(name, value.double())

    def logit(self, features: Features) -> Tensor:
        """float64 [B]; differentiable with respect to the features."""
        pooled = features.pooled().double()
        return (pooled - self.mean) / self.scale @ self.weight + self.bias

    forward = logit


Pooled = MutableMapping[tuple[str, str], tuple[Tensor, Tensor]]


def fit_surrogate(extractor: Extractor, support: Support, *, seed: int, pooled: Pooled | None = None) -> SurrogateHead:
    """The `synthetic` head: 8 rotations of each support image against 64 synthetic anomalies of it. No label
    is used.

    Args:
        extractor: The detector's frozen feature extractor.
        support: k >= 1 reference images.
        seed: Seed of the solver. The anomalies are keyed by the sample id, hence equal for every k and seed.
        pooled: Features of the normal and of the anomalous views of an image by (extractor id, sample id), float64
            [8, D] and [64, D]: read and filled, so that overlapping supports of one category extract them once.

    Raises:
        NotApplicableError: For k = 0: there is nothing to learn normality from.
    """
    if len(support) == 0:
        raise NotApplicableError("a surrogate head needs support images; this is a zero-shot episode")
    known: Pooled = {} if pooled is None else pooled
    for sample, views in zip(support.samples, support.views(ANGLES), strict=True):
        if (extractor.id, sample.id) not in known:
            anomalies = synthetic_anomalies(views[0], sample.id, ANOMALIES).to(views[0].device).unbind()
            known[extractor.id, sample.id] = _pooled(extractor, views), _pooled(extractor, anomalies)
    parts = [part for sample in support.samples for part in known[extractor.id, sample.id]]
    labels = ([0] * len(ANGLES) + [1] * ANOMALIES) * len(support)
    return _fit(torch.cat(parts), labels, seed=seed, balanced=False)


def fit_oracle_surrogate(
    extractor: Extractor, images: Sequence[Tensor], labels: Sequence[int], *, seed: int
) -> SurrogateHead:
    """The `oracle` head: fitted on the TRUE LABELS of the other half of the test split, class-balanced. Audit
    only.

    Args:
        extractor: The detector's frozen feature extractor.
        images: Canonical uint8 [3, H, W] images, none of which may be attacked with this head.
        labels: 0 or 1 for each image.
        seed: Seed of the solver.

    Raises:
        NotApplicableError: If only one class is present.
    """
    if set(labels) != {0, 1}:
        raise NotApplicableError("the oracle head needs normal and anomalous images in the other half")
    pooled = [_pooled(extractor, [image]) for image in images]
    return _fit(torch.cat(pooled), labels, seed=seed, balanced=True)


def _pooled(extractor: Extractor, images: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        chunks = [to_unit(torch.stack(list(images[i : i + _CHUNK]))) for i in range(0, len(images), _CHUNK)]
        return torch.cat([extractor(chunk).pooled() for chunk in chunks]).double()


def _fit(pooled: Tensor, labels: Sequence[int], *, seed: int, balanced: bool) -> SurrogateHead:
    from sklearn.linear_model import LogisticRegression

    mean, scale = pooled.mean(0), pooled.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    model = LogisticRegression(
        C=1.0,
        solver="lbfgs",
        max_iter=1000,
        random_state=seed % 2**32,
        class_weight="balanced" if balanced else None,
    )
    model.fit(((pooled - mean) / scale).cpu().numpy(), list(labels))
    weight = torch.from_numpy(model.coef_[0]).to(pooled.device)
    return SurrogateHead(mean, scale, weight, torch.tensor(model.intercept_[0], device=pooled.device))
