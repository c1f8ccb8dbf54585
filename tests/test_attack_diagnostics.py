"""Detectors that only look robust must get a red badge for the right reason; an honest one must not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from attacks.cards import CARDS
from attacks.pgd import PGDScore
from attacks.square import SquareScore
from benchmark.execution.perturb import perturb
from benchmark.execution.target import BoundTarget
from benchmark.registry import ATTACKS
from benchmark.results.schema import RunFacts, Validity
from benchmark.scoring.validity import (
    GREY,
    Condition,
    Facts,
    conditions_of,
    dead_share,
    diagnose,
    paired_interval,
    repeat_error,
)
from benchmark.statistics.intervals import Interval
from benchmark.types.attack import Attack
from benchmark.types.detector import FittedDetector, Prediction
from tests.toy_detectors import Wrapped, nearest_neighbour, query, two_sided_auroc

BATCH = query(10, 10)


class Square400(SquareScore):
    queries = 400


class Pgd30(PGDScore):
    """Stands for 100 steps in a fast test."""

    card = CARDS["pgd_score_100"]
    steps = 30


def condition(attack: Attack, fitted: FittedDetector, epsilon: int, dead: dict[str, float]) -> Condition:
    target = BoundTarget(fitted, BATCH.sample_ids)
    with torch.no_grad():
        (images,) = perturb(attack, target, BATCH, [epsilon])
        clean, scores = (fitted(x.float() / 255).score.double() for x in (BATCH.images, images))
    if target.backwards and epsilon != GREY:
        dead[attack.name] = dead_share(target.dead, clean, BATCH.labels)
    return Condition(attack.name, epsilon, BATCH.labels.numpy(), scores.numpy(), BATCH.sample_ids, "toy/4/0")


def audit(fitted: FittedDetector, *, white: bool = True, deterministic: bool = True) -> Validity:
    dead: dict[str, float] = {}
    runs: list[tuple[Attack, int]] = [(ATTACKS.get("sign_noise")(), 8), (Square400(), 8)]
    if white:
        runs += [(ATTACKS.get("pgd_score_10")(), 8), (Pgd30(), 8), (ATTACKS.get("pgd_score_10")(), GREY)]
    conditions = [condition(attack, fitted, epsilon, dead) for attack, epsilon in runs]
    with torch.no_grad():
        calls = [fitted(BATCH.images.float() / 255).score.tolist() for _ in range(2)]
    error = repeat_error(*(dict(zip(BATCH.sample_ids, scores, strict=True)) for scores in calls))
    knowledge = {c.attack: CARDS[c.attack].knowledge for c in conditions}
    return diagnose(Facts(conditions, knowledge, white, deterministic, RunFacts(repeat_error=error, dead=dead)))


def failed(validity: Validity) -> set[str]:
    return {check.name for check in validity.checks if check.status == "red"}


def wrapped(change: Callable[[Tensor, Tensor], Tensor]) -> FittedDetector:
    """The toy detector with another score and no map."""
    return Wrapped(nearest_neighbour(), lambda images, p: Prediction(change(images, p.score)))


def test_an_honest_detector_passes_everything() -> None:
    validity = audit(nearest_neighbour())
    assert [(check.name, check.status) for check in validity.checks if check.status != "pass"] == []
    assert validity.badge == "green"


def test_masked_gradients_are_caught_by_the_black_box_and_by_noise() -> None:
    def masked(images: Tensor, score: Tensor) -> Tensor:
        junk = (images * torch.linspace(-1, 1, images[0].numel()).reshape(images.shape[1:])).mean(dim=(1, 2, 3))
        return score.detach() + (junk - junk.detach())

    validity = audit(wrapped(masked))
    assert validity.badge == "red"
    assert "white_box_strongest" in failed(validity)
    assert {c.name: c.status for c in validity.checks}["beats_noise"] == "amber"


def test_a_saturating_score_is_caught_by_its_dead_gradients() -> None:
    with torch.no_grad():
        middle = nearest_neighbour()(BATCH.images.float() / 255).score.median()
    validity = audit(wrapped(lambda images, score: torch.sigmoid(1e5 * (score.float() - middle.float()))))
    assert "gradients" in failed(validity)


def test_a_constant_except_for_one_image_is_caught() -> None:
    special = BATCH.images[-1].float() / 255

    def constant(images: Tensor, score: Tensor) -> Tensor:
        same = ((images - special).abs().amax(dim=(1, 2, 3)) < 1e-6).double()
        return score * 0 + same

    assert "gradients" in failed(audit(wrapped(constant)))


def test_randomness_is_red_unless_declared() -> None:
    def noisy(images: Tensor, score: Tensor) -> Tensor:
        return score + 0.05 * torch.rand_like(score)

    assert "repeatable" in failed(audit(wrapped(noisy)))
    declared = audit(wrapped(noisy), deterministic=False)
    assert "repeatable" not in failed(declared)
    assert declared.badge != "green"


def test_declaring_no_gradient_is_no_way_out() -> None:
    validity = audit(nearest_neighbour(), white=False)
    assert validity.badge == "red"
    assert failed(validity) == {"white_box_completed"}
    assert "black-box only" in validity.checks[0].detail


def test_a_white_box_that_fails_in_the_grey_ball_is_red() -> None:
    labels, scores = np.array([0, 1]), np.array([0.0, 1.0])
    for under, status in ((scores, "red"), (scores * 0, "pass")):
        grey = Condition("pgd_score_10", GREY, labels, under, ("a", "b"))
        checks = diagnose(Facts([grey], {"pgd_score_10": "white_box"})).checks
        assert {check.name: check.status for check in checks}["grey_ball"] == status


def test_only_images_at_their_harmful_bound_are_excused() -> None:
    clean, labels = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([1, 0, 1, 0])
    assert dead_share(torch.ones(4, dtype=torch.bool), clean, labels) == 0.5
    assert dead_share(torch.zeros(4, dtype=torch.bool), clean, labels) == 0


def test_the_paired_interval_brackets_the_difference() -> None:
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], 40)
    weak = random.normal(labels * 1.5, 1.0)
    assert paired_interval({"a": (labels, np.stack([weak, weak]))}) == Interval(0.0, 0.0)
    strong = weak - 3.0 * labels
    interval = paired_interval({"a": (labels, np.stack([strong, weak]))})
    y = torch.from_numpy(labels)
    exact = two_sided_auroc(torch.from_numpy(strong), y) - two_sided_auroc(torch.from_numpy(weak), y)
    assert interval.low < exact < interval.high < 0


def test_conditions_come_from_evidence_rows() -> None:
    rows = [
        {"category": "nut", "shots": 4, "seed": 0, "sample_id": s, "label": int(s == "b"), "attack": a, "goal": g}
        | {"budget": e, "score": v}
        for s, a, g, e, v in [
            ("a", None, None, None, 0.1),
            ("b", None, None, None, 0.9),
            ("b", "pgd_score", "two_sided", "2", 0.3),
            ("a", "pgd_score", "two_sided", "2", 0.2),
        ]
    ]
    (found,) = conditions_of(pd.DataFrame(rows))
    assert (found.attack, found.budget, found.episode) == ("pgd_score", 2, "nut/4/0")
    assert dict(zip(found.sample_ids, found.scores.tolist(), strict=True)) == {"a": 0.2, "b": 0.3}
    assert found.labels.tolist() == [0, 1]


def test_an_honest_condition_is_not_compared_with_other_images() -> None:
    labels, scores = np.array([0, 1]), np.array([0.0, 1.0])
    strong = Condition("pgd_score", 2, labels, scores, ("a", "b"), "one")
    weak = Condition("square_score", 2, labels, scores - labels * 9, ("a", "b"), "other")
    knowledge = {name: CARDS[name].knowledge for name in ("pgd_score", "square_score")}
    status = {check.name: check.status for check in diagnose(Facts([strong, weak], knowledge)).checks}
    assert status["white_box_strongest"] == "skipped"


@pytest.mark.parametrize("name", ["pgd_map", "mask_flip", "flag_adaptive"])
def test_attacks_with_another_aim_do_not_stand_in_for_the_white_box(name: str) -> None:
    labels, scores = np.array([0, 1]), np.array([0.0, 1.0])
    aimed = Condition(name, 2, labels, scores, ("a", "b"))
    weak = Condition("square_score", 2, labels, scores, ("a", "b"))
    knowledge = {n: CARDS[n].knowledge for n in (name, "square_score")}
    status = {check.name: check.status for check in diagnose(Facts([aimed, weak], knowledge)).checks}
    assert status["white_box_strongest"] == "skipped"
