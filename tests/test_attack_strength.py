"""A weak attack flatters every detector: orderings on a real nearest-neighbour detector, and what each aim achieves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attacks.apgd import APGDScore, checkpoints
from attacks.objectives import FlagAdaptive, MaskFlip, PGDMap, PGDScoreFrozenMask, binary_entropy, grid_mask
from attacks.pgd import PGDScore, softened
from attacks.square import SquareScore, square_side
from benchmark.errors import NotApplicableError
from benchmark.execution.perturb import perturb
from benchmark.execution.target import BoundTarget, FlagModel
from benchmark.registry import ATTACKS
from benchmark.types.attack import Attack, AttackBatch
from benchmark.types.detector import Prediction
from tests.test_attacks import target_for
from tests.toy_detectors import (
    Masked,
    Wrapped,
    nearest_neighbour,
    query,
    two_sided_auroc,
)


class Pgd5(PGDScore):
    steps = 5


class Square300(SquareScore):
    queries = 300


def attacked(attack: Attack, batch: AttackBatch, epsilon: int, target: BoundTarget | None = None) -> Tensor:
    """True scores of the perturbed images."""
    target = target or target_for(batch)
    with torch.no_grad():
        (images,) = perturb(attack, target, batch, [epsilon])
        return target.predict(images.float() / 255).score


def auroc(attack: Attack, batch: AttackBatch, epsilon: int) -> float:
    return two_sided_auroc(attacked(attack, batch, epsilon), batch.labels)


@pytest.fixture(scope="module")
def batch() -> AttackBatch:
    return query(12, 12)


def test_white_box_beats_black_box_beats_noise(batch: AttackBatch) -> None:
    noise = auroc(ATTACKS.get("sign_noise")(), batch, 4)
    square = auroc(Square300(), batch, 4)
    white = auroc(PGDScore(), batch, 4)
    assert noise > 0.95
    assert square < noise - 0.1
    assert white < square - 0.1


def test_more_steps_and_restarts_do_not_weaken(batch: AttackBatch) -> None:
    harms = [
        (attacked(attack, batch, 2) * batch.direction).mean().item()
        for attack in (Pgd5(), ATTACKS.get("pgd_score_10")(), PGDScore(), ATTACKS.get("pgd_score_restarts")())
    ]
    assert harms[0] < harms[1] < harms[2] < harms[3]


def test_auto_pgd_is_at_least_as_strong_at_equal_steps(batch: AttackBatch) -> None:
    for epsilon in (2, 4):
        assert auroc(APGDScore(), batch, epsilon) <= auroc(PGDScore(), batch, epsilon) + 0.02


def test_no_sample_is_worse_than_clean(batch: AttackBatch) -> None:
    with torch.no_grad():
        clean = target_for(batch).predict(batch.images.float() / 255).score
    for attack in (Pgd5(), ATTACKS.get("apgd_score_10")(), Square300()):
        gain = (attacked(attack, batch, 1) - clean) * batch.direction
        assert gain.min() >= 0
        assert gain.mean() > 0


def test_the_widened_top_beats_the_bare_score(batch: AttackBatch) -> None:
    class Bare(PGDScore):
        def look(self, target, batch, images):  # type: ignore[no-untyped-def]
            score = target.predict(images).score
            return score * batch.direction, score * batch.direction

    bare, wide = (attacked(attack, batch, 2) * batch.direction for attack in (Bare(), PGDScore()))
    assert wide.mean() > bare.mean()


def test_softened_survives_a_map_that_says_nothing_about_the_score() -> None:
    """A score beside a huge unrelated map must still be attacked."""
    batch = query(8, 8)
    inner = nearest_neighbour()

    def decoy(images: Tensor, p: Prediction) -> Prediction:
        assert p.anomaly_map is not None
        return Prediction(p.score, 1e6 * images[:, 0] ** 2)

    target = BoundTarget(Wrapped(inner, decoy), batch.sample_ids)
    decoyed = two_sided_auroc(attacked(PGDScore(), batch, 4, target), batch.labels)
    assert decoyed < 0.7
    assert torch.equal(softened(Prediction(torch.ones(2))), torch.ones(2))


def test_checkpoints_and_squares_follow_the_papers() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert square_side(1, 10_000, 100, 100) == round(0.8**0.5 * 100)
    assert square_side(9_000, 10_000, 100, 100) == round((0.8 / 2**9) ** 0.5 * 100)
    sides = [square_side(q, 1000, 32, 32) for q in range(1000)]
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] >= 1


def test_square_stays_within_its_queries_and_its_curve_is_kept(batch: AttackBatch) -> None:
    target = BoundTarget(nearest_neighbour(), batch.sample_ids, record=True)
    with torch.no_grad():
        list(perturb(Square300(), target, batch, [4]))
    assert target.forwards_per_image == 1 + 300
    assert target.backwards == 0
    harm = torch.stack([scores for _, scores in target.history]) * batch.direction
    curve = harm.cummax(dim=0).values.mean(dim=1)
    assert curve[-1] > curve[10] > curve[0]


def test_pgd_map_swaps_defect_and_background(batch: AttackBatch) -> None:
    target = target_for(batch)

    def contrast(images: Tensor) -> Tensor:
        anomaly_map = target.predict(images.float() / 255).anomaly_map
        assert anomaly_map is not None
        defect = grid_mask(batch, None, anomaly_map.shape[1:])[12:]
        found = anomaly_map[12:]
        return found[defect].mean() - found[~defect].mean()

    with torch.no_grad():
        (images,) = perturb(PGDMap(), target, batch, [4])
        assert contrast(images) < contrast(batch.images) / 3
    with pytest.raises(NotApplicableError, match="no masks"), torch.no_grad():
        list(perturb(PGDMap(), target, replace(batch, masks=None), [4]))


def test_mask_flip_hides_defects_behind_the_mask(batch: AttackBatch) -> None:
    target = BoundTarget(nearest_neighbour(kind=Masked), batch.sample_ids)
    noise = two_sided_auroc(attacked(ATTACKS.get("sign_noise")(), batch, 8, target), batch.labels)
    flipped = two_sided_auroc(attacked(MaskFlip(), batch, 8, target), batch.labels)
    assert flipped < noise - 0.1
    with pytest.raises(NotApplicableError, match="does not mask"):
        attacked(MaskFlip(), batch, 8, target_for(batch))


def test_a_frozen_mask_is_the_only_difference_from_pgd_score(batch: AttackBatch) -> None:
    """Same images where the mask keeps everything, others where it flips on the way; merit is the true score."""

    class Keeping(Masked):
        level = -torch.inf

    frozen, plain = PGDScoreFrozenMask(), PGDScore()
    with torch.no_grad():
        keeping = BoundTarget(nearest_neighbour(kind=Keeping), batch.sample_ids)
        assert torch.equal(*(next(perturb(attack, keeping, batch, [8])) for attack in (frozen, plain)))
        masked = nearest_neighbour(kind=Masked)
        target = BoundTarget(masked, batch.sample_ids)
        held, moving = (next(perturb(attack, target, batch, [8])) for attack in (frozen, plain))
        assert not torch.equal(held, moving)
        masks = [masked.foreground(masked.extractor(images.float() / 255)) for images in (batch.images, moving)]
        assert (masks[0] != masks[1]).any(), "no mask flips: the test says nothing"
        before, after = (target.predict(images.float() / 255).score for images in (batch.images, held))
        assert ((after - before) * batch.direction).min() >= 0, "merit is not the score under the mask as it moves"
    with pytest.raises(NotApplicableError, match="does not mask"):
        attacked(frozen, batch, 8, target_for(batch))


def test_flag_adaptive_crosses_the_threshold_unflagged(batch: AttackBatch) -> None:
    with torch.no_grad():
        clean = nearest_neighbour()(batch.images.float() / 255).score
    threshold = ((clean[12:].min() + clean[:12].max()) / 2).item()
    slope = 20.0 / (clean.max() - clean.min()).item()
    rule = FlagModel(slope, -slope * threshold, 0.5, threshold)
    target = BoundTarget(nearest_neighbour(), batch.sample_ids, flag=rule)
    scores = attacked(FlagAdaptive(), batch, 8, target)
    plain = attacked(PGDScore(), batch, 8, target)
    crossed = (scores - threshold) * batch.direction > 0
    entropy = binary_entropy(target.flag_probability(scores))
    assert crossed.float().mean() > 0.9
    assert (entropy[crossed] <= 0.5).float().mean() > 0.9
    assert ((plain - scores) * batch.direction).mean() > 0, "it should stop early, PGD goes on"


def test_binary_entropy() -> None:
    values = binary_entropy(torch.tensor([0.0, 0.5, 1.0]))
    assert values[1].item() == pytest.approx(0.693147, abs=1e-5)
    assert values[[0, 2]].max() < 1e-4
