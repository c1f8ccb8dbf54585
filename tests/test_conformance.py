"""The conformance suite walks the registry, and catches detectors that are broken in every way it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from benchmark.conformance import check_detector
from benchmark.errors import NotApplicableError
from benchmark.registry import DETECTORS
from benchmark.types import Card, Detector, FittedDetector, Prediction, Support

BACKBONE = "seeded:embedded"
EDGE = 64
NEEDS_MORE = {"anomalib": "needs the anomalib package and a fitted model"}


@pytest.mark.parametrize("name", DETECTORS.names())
def test_every_registered_detector_conforms(name: str) -> None:
    if name in NEEDS_MORE:
        pytest.skip(NEEDS_MORE[name])
    results = check_detector(name, backbone=BACKBONE, edge=EDGE)
    assert len(results) == 15
    failures = [f"{r.name}: {r.detail}" for r in results if r.status == "fail"]
    assert not failures, "; ".join(failures)


Change = Callable[["Toy", Tensor, Prediction], Prediction]


class Toy(FittedDetector):
    """Squared distance of 8 x 8 patches to the mean reference patch, with one thing changed."""

    def __init__(self, bank: Tensor, change: Change) -> None:
        self.bank, self.change, self.memory = bank, change, torch.zeros(())

    def __call__(self, images: Tensor) -> Prediction:
        distance = (avg_pool2d(images, 8) - self.bank[:, None, None]).square().sum(1)
        region = (0, 0, 8 * distance.shape[1], 8 * distance.shape[2])
        return self.change(self, images, Prediction(distance.flatten(1).mean(1), distance, region))

    def state(self) -> dict[str, Tensor]:
        return {"bank": self.bank}

    def with_state(self, state: Mapping[str, Tensor]) -> Toy:
        return Toy(state["bank"], self.change)


class ToyDetector(Detector):
    card = Card("toy", 1, "Toy", "A toy.", "", "", "CC0-1.0", "none")

    def __init__(self, change: Change = lambda toy, images, p: p) -> None:
        self.change = change
        self.config: dict[str, Any] = {}

    def fit(self, support: Support, *, seed: int) -> FittedDetector:
        if len(support) == 0:
            raise NotApplicableError("needs a reference image")
        means = torch.stack([image.float().mean((1, 2)) / 255 for image in support.images()])
        return Toy(self.bank(means), self.change)

    def bank(self, means: Tensor) -> Tensor:
        return means.mean(0)


def failed(factory: Callable[[], Detector]) -> set[str]:
    return {result.name for result in check_detector(factory, edge=48) if result.status == "fail"}


def replaced(p: Prediction, score: Tensor) -> Prediction:
    return Prediction(score, p.anomaly_map, p.region)


def remembers(toy: Toy, images: Tensor, p: Prediction) -> Prediction:
    toy.memory = toy.memory + images.detach().mean()
    return replaced(p, p.score + toy.memory)


def overwrites(toy: Toy, images: Tensor, p: Prediction) -> Prediction:
    if not images.requires_grad:
        images.clamp_(0.2, 0.8)
    return p


BROKEN: dict[str, tuple[Change, str]] = {
    "lower is anomalous": (lambda t, x, p: replaced(p, -p.score), "higher_is_anomalous"),
    "cut gradient": (lambda t, x, p: Prediction(p.score.detach(), p.anomaly_map, p.region), "gradient"),
    "gradient of another score": (lambda t, x, p: replaced(p, 2 * p.score.detach() - p.score), "gradient"),
    "gradient from one corner": (
        lambda t, x, p: Prediction(x[..., :4, :4].mean((1, 2, 3)), x[..., :4, :4].mean(1), p.region),
        "gradient",
    ),
    "batch statistics": (lambda t, x, p: replaced(p, p.score - p.score.mean()), "batch_invariance"),
    "random": (lambda t, x, p: replaced(p, p.score + torch.rand(len(x))), "determinism"),
    "remembers": (remembers, "inputs_untouched"),
    "overwrites": (overwrites, "inputs_untouched"),
    "not finite": (lambda t, x, p: replaced(p, p.score / 0), "shapes_and_ranges"),
    "nan on constant images": (
        lambda t, x, p: replaced(p, p.score * x.std((1, 2, 3)) / x.std((1, 2, 3))),
        "constant_images",
    ),
    "one score": (lambda t, x, p: replaced(p, p.score.mean()), "shapes_and_ranges"),
    "no map": (lambda t, x, p: Prediction(p.score), "shapes_and_ranges"),
    "region outside": (lambda t, x, p: Prediction(p.score, p.anomaly_map, (0, 0, 999, 8)), "shapes_and_ranges"),
}


@pytest.mark.parametrize(("change", "check"), BROKEN.values(), ids=BROKEN)
def test_a_broken_detector_fails_the_check_that_names_it(change: Change, check: str) -> None:
    assert check in failed(lambda: ToyDetector(change))


def test_the_sound_toy_passes_everything() -> None:
    assert failed(ToyDetector) == set()


def test_order_of_references_config_and_errors_are_checked() -> None:
    class FirstOnly(ToyDetector):
        def bank(self, means: Tensor) -> Tensor:
            return means[0]

    class NoReason(ToyDetector):
        def fit(self, support: Support, *, seed: int) -> FittedDetector:
            return Toy(torch.stack([i.float().mean((1, 2)) for i in support.images()]).mean(0) / 255, self.change)

    class Unsaved(ToyDetector):
        def __init__(self) -> None:
            super().__init__()
            self.config = {"callback": print}

    assert "support_order" in failed(FirstOnly)
    assert "error_texts" in failed(NoReason)
    assert "card_and_config" in failed(Unsaved)
