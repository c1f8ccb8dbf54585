"""Corruptions: known answers and more damage with every severity."""

from __future__ import annotations

import pytest
import torch

from attacks.natural import SEVERITIES
from benchmark.errors import UnknownNameError, UsageError
from benchmark.execution.perturb import perturb
from benchmark.execution.target import BoundTarget
from benchmark.planning.workbench import build_attack
from benchmark.types import AttackBatch, FittedDetector, Prediction
from tests.toy_detectors import textures


class Unseen(FittedDetector):
    """A detector that nobody may ask."""

    def __call__(self, images: torch.Tensor) -> Prediction:
        raise AssertionError("a corruption asked the detector")


def corrupt(name: str, severity: str, images: torch.Tensor, budget: int = 255) -> torch.Tensor:
    """As the harness runs it: the ball is the whole range."""
    ids = tuple(map(str, range(len(images))))
    batch = AttackBatch(images, torch.zeros(len(images), dtype=torch.int64), ids)
    return next(perturb(build_attack(f"{name}:{severity}"), BoundTarget(Unseen(), ids), batch, [budget]))


@pytest.mark.parametrize("name", ["jpeg", "blur", "brightness", "contrast"])
def test_damage_grows_with_severity(name: str) -> None:
    images = textures(3, seed=1)
    damage = [(corrupt(name, s, images).float() - images.float()).abs().mean().item() for s in SEVERITIES]
    assert damage == sorted(damage)
    assert damage[0] > 0
    assert corrupt(name, "mild", images).dtype == torch.uint8
    assert torch.equal(corrupt(name, "mild", images)[1:], corrupt(name, "mild", images[1:])), "depends on the batch"


def test_known_answers() -> None:
    grey = torch.full((1, 3, 9, 9), 250, dtype=torch.uint8)
    assert corrupt("brightness", "slight", grey).unique().tolist() == [255]
    for name, slack in (("blur", 0), ("contrast", 0), ("jpeg", 2)):
        assert (corrupt(name, "severe", grey).int() - 250).abs().max() <= slack
    ramp = torch.arange(0, 200, 2, dtype=torch.uint8).reshape(1, 1, 10, 10).expand(1, 3, 10, 10)
    strong = corrupt("contrast", "strong", ramp).float().std().item()
    assert strong == pytest.approx(0.4 * ramp.float().std().item(), rel=0.02)


def test_a_smaller_budget_bounds_a_corruption() -> None:
    images = textures(2, seed=1)
    change = (corrupt("brightness", "severe", images, 4).int() - images.int()).abs()
    assert change.max() == 4


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="slight"):
        build_attack("jpeg:extreme")
    with pytest.raises(UsageError, match="member"):
        build_attack("jpeg")
    with pytest.raises(UsageError, match="member"):
        build_attack("sign_noise:severe")
