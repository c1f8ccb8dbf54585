"""Plug-ins that break their contract in one way each; otherwise they score as `honest_detector` does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.types import (
    Attack,
    AttackBatch,
    AttackCard,
    Extractor,
    Features,
    FeatureScorer,
    FittedDetector,
    Prediction,
    Support,
    Target,
)
from detectors.backbones import build
from honest_detector import Colours

Change = Callable[[Prediction, Tensor], Any]


@dataclass(frozen=True)
class Changed(FittedDetector):
    inner: FittedDetector
    change: Change

    def __call__(self, images: Tensor) -> Prediction:
        found: Prediction = self.change(self.inner(images), images)
        return found


def into_images(found: Prediction, images: Tensor) -> Prediction:
    images.zero_()
    return found


def first_is(value: float) -> Change:
    def change(found: Prediction, images: Tensor) -> Prediction:
        score = found.score.double().clone()
        score[0] = value
        return replace(found, score=score)

    return change


def stop(found: Prediction, images: Tensor) -> Prediction:
    raise SystemExit(0)


def interrupt(found: Prediction, images: Tensor) -> Prediction:
    raise KeyboardInterrupt


SCORING: dict[str, Change] = {
    "nan": first_is(float("nan")),
    "huge": first_is(1e39),
    "too_few": lambda found, images: replace(found, score=found.score[:1]),
    "columns": lambda found, images: replace(found, score=found.score[:, None]),
    "whole_numbers": lambda found, images: replace(found, score=found.score.long()),
    "not_a_prediction": lambda found, images: found.score,
    "nan_map": lambda found, images: replace(found, anomaly_map=found.anomaly_map * float("nan")),
    "flat_map": lambda found, images: replace(found, anomaly_map=found.anomaly_map.flatten(1)),
    "region": lambda found, images: replace(found, region=(0, 0, 10_000, 10_000)),
    "negative_region": lambda found, images: replace(found, region=(-8, 0, 56, 64)),
    "empty_region": lambda found, images: replace(found, region=(8, 8, 8, 8)),
    "blur": lambda found, images: replace(found, map_sigma=1e9),
    "exit_in_score": stop,
    "interrupt": interrupt,
    "into_images": into_images,
}


class Lying(Colours):
    """`Colours` with another prediction, or another fit."""

    def __init__(self, name: str) -> None:
        self.lie = name

    def fit(self, support: Support, *, seed: int) -> FittedDetector:  # type: ignore[override]
        if self.lie == "exit_in_fit":
            sys.exit(0)
        if self.lie == "into_support":
            fitted = super().fit(support, seed=seed)
            for image in support.images():
                image.zero_()
            return fitted
        if self.lie == "prints":
            print("a word on stdout")
            return super().fit(support, seed=seed)
        if self.lie == "long_reason":
            raise ValueError("word " * 400)
        return Changed(super().fit(support, seed=seed), SCORING[self.lie])


@dataclass(frozen=True)
class IntoFeatures(FeatureScorer):
    """Writes into features that other heads score, too."""

    extractor: Extractor

    def score(self, features: Features) -> Prediction:
        features.maps[-1].zero_()
        distance = features.maps[-1].mean(-1)
        return Prediction(distance.flatten(1).amax(1), distance)


class WritesFeatures(Colours):
    config: ClassVar[dict[str, Any]] = {"backbone": "gabor"}

    def __init__(self) -> None:
        self.extractor = build("gabor")

    def fit(self, support: Support, *, seed: int) -> FittedDetector:  # type: ignore[override]
        return IntoFeatures(self.extractor)


class SaysOfItself(Colours):
    """A card or a config that no result can hold."""

    def __init__(self, card: Any = Colours.card, config: Any = None) -> None:
        self.card = card  # type: ignore[misc]
        self.config = {} if config is None else config  # type: ignore[misc]


SAYINGS: dict[str, Callable[[], Any]] = {
    "numpy_number": lambda: SaysOfItself(config={"alpha": np.float32(0.5)}),
    "path": lambda: SaysOfItself(config={"weights": Path("x")}),
    "number_key": lambda: SaysOfItself(config={3: "x"}),
    "nested": lambda: SaysOfItself(config={"a": {"b": 1}}),
    "nan_option": lambda: SaysOfItself(config={"alpha": float("nan")}),
    "infinite_option": lambda: SaysOfItself(config={"alpha": float("inf")}),
    "no_mapping": lambda: SaysOfItself(config=7),
    "no_card": lambda: SaysOfItself(card=None),
    "text_version": lambda: SaysOfItself(card=replace(Colours.card, version="1.0")),  # type: ignore[arg-type]
    "bad_url": lambda: SaysOfItself(card=replace(Colours.card, url="ftp://x")),
    "exit_in_init": lambda: sys.exit(0),
    "bug_in_init": lambda: [][0],
}


def _detector(make: Callable[[], Any]) -> Callable[..., Any]:
    def build_it(backbone: str | None = None) -> Any:
        return make()

    build_it.default_backbone = lambda track: None  # type: ignore[attr-defined]
    return build_it


LIES = (*SCORING, "exit_in_fit", "into_support", "prints", "long_reason")
DETECTORS: Mapping[str, Callable[..., Any]] = {
    **{name: _detector(lambda name=name: Lying(name)) for name in LIES},  # type: ignore[misc]
    **{name: _detector(make) for name, make in SAYINGS.items()},
    "into_features": _detector(WritesFeatures),
    "honest": _detector(Colours),
    "my_det": _detector(Colours),
    "my-det": _detector(Colours),
    "My_Det": _detector(Colours),
}
globals().update(DETECTORS)


class InPlace(Attack):
    """Writes into the images that it is given and gives them back."""

    card = AttackCard("in_place", 1, "none", "Adds 40 grey levels in place.", uses_labels=False)

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Any) -> Any:
        for _ in epsilons:
            batch.images.copy_((batch.images.int() + 40).clamp(max=255).to(torch.uint8))
            yield batch.images


class WantsMasks(Attack):
    """Looks at masks without saying so on its card."""

    card = AttackCard("wants_masks", 1, "none", "Looks at masks.", uses_labels=False)

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Any) -> Any:
        assert batch.masks is None, "an undeclared attack sees masks"
        for _ in epsilons:
            yield batch.images.clone()
