"""torchattacks through the harness: every offered member runs in the ball; FGSM and PGD equal ours with the same
seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attacks.head import FGSMHead, MIFGSMHead, PGDHead
from attacks.zoo import OPTIONS, Zoo
from benchmark.errors import UnknownNameError
from benchmark.execution.perturb import perturb
from benchmark.registry import ATTACKS
from benchmark.types.attack import Attack, AttackBatch
from tests.test_attacks import target_for
from tests.toy_detectors import query

pytest.importorskip("torchattacks", reason="the plug-in zoo is optional: pip install --no-deps torchattacks==3.5.1")


SKIPS_MISCLASSIFIED = {"APGD", "Square"}


def images(attack: Attack, batch: AttackBatch, epsilons: Sequence[int]) -> list[Tensor]:
    with torch.no_grad():
        return list(perturb(attack, target_for(batch, size=batch.images.shape[-1]), batch, epsilons))


def test_at_least_twelve_attacks_are_offered() -> None:
    assert len(OPTIONS) >= 12
    assert ATTACKS.get("torchattacks")("PGD").name == "torchattacks:PGD"
    with pytest.raises(UnknownNameError, match="MIFGSM"):
        Zoo("MIFSGM")


@pytest.mark.parametrize("member", sorted(OPTIONS))
def test_every_member_stays_in_the_ball_and_is_repeatable(member: str) -> None:
    batch = query(1, 2, size=32)
    state = torch.random.get_rng_state()
    (first,) = images(Zoo(member), batch, [4])
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator moved"
    moved = (first.int() - batch.images.int()).abs().amax(dim=(1, 2, 3))
    assert moved.max() <= 4
    assert moved.max() > 0 or member in SKIPS_MISCLASSIFIED
    alone = AttackBatch(batch.images[1:2], batch.labels[1:2], batch.sample_ids[1:2])
    assert torch.equal(images(Zoo(member), alone, [4])[0], first[1:2])


class SameSeed(PGDHead):
    """pgd_head drawing the numbers of ``torchattacks:PGD``."""

    card = replace(PGDHead.card, name="torchattacks:PGD")


@pytest.mark.parametrize(
    ("ours", "member"), [(FGSMHead, "FGSM"), (SameSeed, "PGD"), (MIFGSMHead, "MIFGSM")], ids=["FGSM", "PGD", "MIFGSM"]
)
def test_equal_to_ours_with_the_same_seed(ours: type[Attack], member: str) -> None:
    batch = query(3, 3, size=32)
    theirs = Zoo(member)
    if member == "MIFGSM":
        theirs.options = lambda epsilon: {"eps": epsilon / 255, "alpha": epsilon / 2550, "steps": 10}  # type: ignore[method-assign]
    # At 2/255 PGD's step is half a level, so that clipped pixels end on rounding ties; at 4 and 8 none do.
    budgets = (4, 8)
    for epsilon, mine, other in zip(
        budgets, images(ours(), batch, budgets), images(theirs, batch, budgets), strict=True
    ):
        assert (mine != other).float().mean() < 1e-4, f"at {epsilon}/255"
