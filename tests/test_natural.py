"""Corruptions: known answers and more damage with every severity."""

from __future__ import annotations

import pytest
import torch

from attacks.natural import CORRUPTIONS, SEVERITIES, corrupt
from benchmark.errors import UnknownNameError, UsageError
from tests.toy_detectors import textures


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
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


def test_unknown_names_are_refused() -> None:
    images = textures(1, seed=1)
    with pytest.raises(UnknownNameError, match="jpeg"):
        corrupt("jpg", "mild", images)
    with pytest.raises(UsageError, match="slight"):
        corrupt("jpeg", "extreme", images)
