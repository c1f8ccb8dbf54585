"""What every attack must hold on any detector: the integer ball, repeatability, independence of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attacks.cards import CARDS
from attacks.surrogate import fit_oracle_surrogate, fit_surrogate
from attacks.synthetic import synthetic_anomalies
from benchmark.errors import ContractError, NotApplicableError, UsageError
from benchmark.execution.perturb import perturb
from benchmark.execution.target import BoundTarget, FlagModel
from benchmark.planning.workbench import build_attack
from benchmark.registry import ATTACKS
from benchmark.types.attack import Attack, AttackBatch, AttackCard, Target
from tests.toy_detectors import (
    ConvExtractor,
    ListSupport,
    Masked,
    NearestNeighbour,
    nearest_neighbour,
    query,
    textures,
    two_sided_auroc,
)

CORRUPTIONS = {"jpeg", "blur", "brightness", "contrast"}
APART = {"torchattacks"}  # tested apart
NAMES = tuple(f"{name}:severe" if name in CORRUPTIONS else name for name in CARDS if name not in APART)
MASKED = {"mask_flip", "pgd_score_frozen_mask"}
SLOW = {"pgd_score_100", "pgd_score_restarts", "square_score", "nes_score"}


def target_for(batch: AttackBatch, seed: int = 0, size: int = 32, *, masked: bool = False) -> BoundTarget:
    fitted = nearest_neighbour(seed, size, Masked if masked else NearestNeighbour)
    head = fit_surrogate(fitted.extractor, ListSupport(list(textures(2, seed=7, size=size))), seed=0)
    return BoundTarget(fitted, batch.sample_ids, surrogate=head.logit, flag=FlagModel(20.0, -8.0, 0.4, 0.4))


def run(name: str, batch: AttackBatch, epsilons: Sequence[int], seed: int = 0) -> list[Tensor]:
    with torch.no_grad():
        target = target_for(batch, seed, batch.images.shape[-1], masked=name in MASKED)
        return list(perturb(build_attack(name), target, batch, epsilons))


def pick(batch: AttackBatch, rows: list[int]) -> AttackBatch:
    masks = None if batch.masks is None else batch.masks[rows]
    ids = tuple(batch.sample_ids[row] for row in rows)
    return AttackBatch(batch.images[rows], batch.labels[rows], ids, masks)


def test_every_card_is_registered_under_its_name() -> None:
    assert set(CARDS) <= set(ATTACKS.names())
    for name in NAMES:
        attack = build_attack(name)
        assert (attack.name, attack.card) == (name, CARDS[name.partition(":")[0]])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_integer_ball_repeatability_and_batch_independence(name: str, data: st.DataObject) -> None:
    if name in SLOW and data.draw(st.booleans()):
        return
    size = data.draw(st.sampled_from([16, 20]))
    epsilon = data.draw(st.sampled_from([1, 2, 8, 128]))
    seed = data.draw(st.integers(0, 50))
    batch = query(2, 2, seed=seed, size=size)
    (first,) = run(name, batch, [epsilon], seed)
    assert first.dtype == torch.uint8
    assert (first.int() - batch.images.int()).abs().max() <= epsilon
    assert torch.equal(first, run(name, batch, [epsilon], seed)[0]), "not repeatable"
    order = data.draw(st.permutations(range(4)))
    assert torch.equal(run(name, pick(batch, order), [epsilon], seed)[0], first[order]), "depends on the order"
    alone = torch.cat([run(name, pick(batch, [row]), [epsilon], seed)[0] for row in range(4)])
    assert torch.equal(alone, first), "differs from one by one"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_epsilon_zero_is_the_identity_and_epsilons_are_independent(name: str) -> None:
    batch = query(2, 2, size=16)
    zero, two, eight = run(name, batch, [0, 2, 8])
    assert torch.equal(zero, batch.images)
    assert torch.equal(run(name, batch, [8])[0], eight)
    assert (two != batch.images).any()


class Fixed(Attack):
    """Yields given tensors."""

    card = AttackCard("fixed", 1, "none", "test")

    def __init__(self, *outputs: Tensor) -> None:
        self.outputs = outputs

    def perturb(self, target: Target, batch: AttackBatch, epsilons: Sequence[int]) -> Iterator[Tensor]:
        yield from self.outputs


def nan_in(images: Tensor) -> Tensor:
    bad = images.float() / 255
    bad[0, 0, 0, 0] = float("nan")
    return bad


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda x: x.int().add(3).clamp(0, 255).to(torch.uint8), r"attack fixed at epsilon 2/255.*by 1 grey"),
        (lambda x: x[..., 1:], r"shape"),
        (lambda x: x.int(), r"dtype"),
        (nan_in, r"not finite"),
        (lambda x: x.float() / 255 + 2.6 / 255, r"leaves the ball"),
        (lambda x: x.float(), r"leaves the ball"),
    ],
)
def test_a_lying_attack_is_named(break_it: object, message: str) -> None:
    batch = query(1, 1, size=16)
    attack = Fixed(break_it(batch.images))  # type: ignore[operator]
    with pytest.raises(ContractError, match=message):
        list(perturb(attack, target_for(batch, size=16), batch, [2]))


def test_less_than_half_a_level_outside_is_projected() -> None:
    batch = query(1, 1, size=16)
    attack = Fixed(batch.images.float() / 255 + 2.45 / 255)
    (out,) = perturb(attack, target_for(batch, size=16), batch, [2])
    assert torch.equal(out.int(), batch.images.int() + 2)


def test_too_few_and_too_many_outputs_are_errors() -> None:
    batch = query(1, 1, size=16)
    target = target_for(batch, size=16)
    with pytest.raises(ContractError, match="fewer"):
        list(perturb(Fixed(), target, batch, [2]))
    with pytest.raises(ContractError, match="more"):
        list(perturb(Fixed(batch.images, batch.images), target, batch, [2]))


@pytest.mark.parametrize("epsilon", [-1, 256, 0.5])
def test_epsilon_must_be_whole_levels(epsilon: int) -> None:
    batch = query(1, 1, size=16)
    with pytest.raises(UsageError, match="whole number"):
        list(perturb(Fixed(), target_for(batch, size=16), batch, [epsilon]))


def test_passes_are_counted_per_image() -> None:
    batch = query(3, 2, size=16)
    target = target_for(batch, size=16)
    with torch.no_grad():
        list(perturb(ATTACKS.get("pgd_score_10")(), target, batch, [2, 8]))
    assert target.forwards_per_image == 1 + 2 * 11
    assert target.backwards_per_image == 2 * 10


def test_one_backward_pass_serves_all_epsilons_of_fgsm() -> None:
    batch = query(3, 2, size=16)
    target = target_for(batch, size=16)
    with torch.no_grad():
        list(perturb(ATTACKS.get("fgsm_head")(), target, batch, [1, 2, 4, 8, 16]))
    assert (target.forwards_per_image, target.backwards_per_image) == (1, 1)


def test_the_head_tells_synthetic_anomalies_apart_and_does_not_depend_on_k() -> None:
    extractor, images = ConvExtractor(), list(textures(4, seed=7))
    head = fit_surrogate(extractor, ListSupport(images), seed=0)
    normal = torch.stack([view for views in ListSupport(images).views((0, 90, 180, 270)) for view in views])
    broken = synthetic_anomalies(images[0], "train/good/000.png", 64)
    logits = head.logit(extractor(torch.cat([normal, broken]).float() / 255))
    assert two_sided_auroc(logits, torch.tensor([0] * 16 + [1] * 64)) > 0.7
    assert torch.equal(broken[:8], synthetic_anomalies(images[0], "train/good/000.png", 8))
    changed = (broken != images[0]).any(dim=1).float().mean(dim=(1, 2))
    assert changed.min() > 0
    assert changed.max() < 0.3
    with pytest.raises(NotApplicableError, match="zero-shot"):
        fit_surrogate(extractor, ListSupport([]), seed=0)


def test_the_oracle_head_needs_both_classes() -> None:
    batch = query(4, 4)
    head = fit_oracle_surrogate(ConvExtractor(), list(batch.images), batch.labels.tolist(), seed=0)
    logits = head.logit(ConvExtractor()(batch.images.float() / 255))
    assert logits[4:].min() > logits[:4].max()
    with pytest.raises(NotApplicableError, match="normal and anomalous"):
        fit_oracle_surrogate(ConvExtractor(), list(batch.images[:2]), [0, 0], seed=0)
