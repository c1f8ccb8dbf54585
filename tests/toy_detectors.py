"""Small seeded detectors that the attack tests run against: real nearest-neighbour scoring on a tiny random
conv net."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from copy import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmark.types.attack import AttackBatch
from benchmark.types.data import CategoryInfo, Sample, Support
from benchmark.types.detector import Features, FeatureScorer, FittedDetector, Prediction


class ConvExtractor:
    """Two strided convolutions with GELU, seeded; everything in float64 so that batching cannot change a
    result."""

    def __init__(self, seed: int = 0, width: int = 16, stride: int = 4) -> None:
        self.weights: dict[str, str] = {}
        self.id = f"toy-{seed}-{width}-{stride}"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Conv2d(3, width, stride, stride), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)
            ).double()
        self.net.requires_grad_(False)

    def __call__(self, images: Tensor) -> Features:
        maps = self.net(images.double() * 4 - 2).permute(0, 2, 3, 1)
        height, width = images.shape[-2:]
        return Features((maps,), maps.amax(dim=(1, 2)), (0, 0, height, width))

    def to(self, device: str) -> ConvExtractor:
        return self


class NearestNeighbour(FeatureScorer):
    """Cosine distance of every patch to its nearest bank patch; the score is the mean of the top 2 %."""

    def __init__(self, extractor: ConvExtractor, support: Tensor) -> None:
        self.extractor = extractor
        with torch.no_grad():
            bank = extractor(support.float() / 255).maps[0].flatten(0, 2)
        self.centre = bank.mean(0)
        self.bank = nn.functional.normalize(bank - self.centre, dim=1)

    def score(self, features: Features) -> Prediction:
        tokens = nn.functional.normalize(features.maps[0] - self.centre, dim=-1)
        distance = 1 - (tokens @ self.bank.T).amax(dim=-1)
        flat = distance.flatten(1)
        return Prediction(flat.topk(max(1, flat.shape[1] // 50), dim=1).values.mean(1), distance)


class Masked(NearestNeighbour):
    """Patches whose first feature is below ``level`` count 0; ``held`` features, where given, decide instead."""

    masked = True
    level = -0.0125
    held: Features | None = None

    def foreground_margin(self, features: Features) -> Tensor:
        return 40 * ((features.maps[0] - self.centre)[..., 0] - self.level)

    def foreground(self, features: Features) -> Tensor:
        return self.foreground_margin(self.held or features).detach() > 0

    def with_foreground(self, features: Features) -> Masked:
        found = copy(self)
        found.held = features
        return found

    def score(self, features: Features) -> Prediction:
        prediction = super().score(features)
        assert prediction.anomaly_map is not None
        kept = prediction.anomaly_map * self.foreground(features)
        flat = kept.flatten(1)
        return Prediction(flat.topk(max(1, flat.shape[1] // 50), dim=1).values.mean(1), kept)


class Wrapped(FittedDetector):
    """A detector with another score function; how the bad fixtures are made."""

    def __init__(self, inner: FittedDetector, change: Callable[[Tensor, Prediction], Prediction]) -> None:
        self.inner, self.change = inner, change

    def __call__(self, images: Tensor) -> Prediction:
        return self.change(images, self.inner(images))


class ListSupport(Support):
    """Support images held in memory; rotation by multiples of 90 degrees only."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.info = CategoryInfo("toy", "toy", "toy")
        self._images = list(images)
        self.samples = tuple(
            Sample(f"train/good/{i:03}.png", "toy", "train", 0, "good", "", (), "0" * 64, 32, 32)
            for i in range(len(images))
        )

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        return [[torch.rot90(im, round(angle / 90), (1, 2)) for angle in angles] for im in self._images]


def textures(count: int, *, seed: int, size: int = 32) -> Tensor:
    """uint8 [count, 3, size, size] images of one random smooth texture with noise and shifts."""
    random = torch.Generator().manual_seed(999)
    coarse = torch.rand((1, 3, 6, 6), generator=random)
    base = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0]
    own = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        shift = torch.randint(0, 3, (2,), generator=own).tolist()
        noise = torch.randn((3, size, size), generator=own) * 0.02
        made.append((base.roll(shift, (1, 2)) + noise).clamp(0.05, 0.95))
    return (torch.stack(made) * 255).round().to(torch.uint8)


def query(normals: int, anomalies: int, *, seed: int = 1, size: int = 32) -> AttackBatch:
    """Normals, then anomalies with a weak square defect, with masks."""
    images = textures(normals + anomalies, seed=seed, size=size)
    masks = torch.zeros((len(images), size, size), dtype=torch.bool)
    random = torch.Generator().manual_seed(seed + 1)
    for row in range(normals, normals + anomalies):
        top, left = torch.randint(0, size - 8, (2,), generator=random).tolist()
        window = (slice(None), slice(top, top + 8), slice(left, left + 8))
        images[row][window] = 255 - images[row][window]
        masks[row][window[1:]] = True
    labels = torch.tensor([0] * normals + [1] * anomalies)
    ids = tuple(f"test/{label}/{i:03}.png" for i, label in enumerate(labels.tolist()))
    return AttackBatch(images, labels, ids, masks)


N = TypeVar("N", bound=NearestNeighbour)


def nearest_neighbour(seed: int = 0, size: int = 32, kind: type[N] = NearestNeighbour) -> N:  # type: ignore[assignment]
    """A toy detector fitted to four normal images."""
    return kind(ConvExtractor(seed), textures(4, seed=7, size=size))


def two_sided_auroc(scores: Tensor, labels: Tensor) -> float:
    """Share of (anomaly, normal) pairs in the right order; ties count 0: the attacker wins them."""
    pairs = itertools.product(scores[labels == 1].tolist(), scores[labels == 0].tolist())
    wins = [high > low for high, low in pairs]
    return sum(wins) / len(wins)
