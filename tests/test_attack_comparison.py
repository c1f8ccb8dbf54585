"""The strength of attacks and the shortcut rule: hand-made tables, brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import ContractError
from benchmark.statistics.attack_strength import progress, strengths
from benchmark.statistics.shortcuts import shortcut


def robust_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(np.mean([p > n for p in scores[labels] for n in scores[~labels]]))


def episode(seed: int, attacks: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 1
    clean = rng.normal(size=n) + 2.0 * labels
    harm = rng.exponential(1.0, size=(attacks, n))
    return labels, np.vstack([clean, clean + np.where(labels, -harm, harm)])


def test_strengths_against_brute_force() -> None:
    episodes = {f"e{seed}": episode(seed, 3) for seed in range(4)}
    found = strengths(["a", "b", "c"], episodes, "d")
    for row, each in enumerate(found, start=1):
        gaps, alone = [], []
        for labels, scores in episodes.values():
            harmful = np.where(labels, scores.min(axis=0), scores.max(axis=0))
            gaps.append(robust_auroc(labels, scores[row]) - robust_auroc(labels, harmful))
            alone += [s[row] == h and (s == h).sum() == 1 for s, h in zip(scores.T, harmful, strict=True)]
        assert each.gap == pytest.approx(np.mean(gaps))
        assert each.alone == pytest.approx(np.mean(alone))
        assert each.images == 240
        assert each.interval is not None
        assert each.interval.low <= each.gap <= each.interval.high


def test_an_attack_on_part_of_the_images_is_compared_on_those() -> None:
    labels, scores = episode(7, 2)
    seen = np.arange(60) < 20
    part = scores.copy()
    part[1, ~seen] = np.nan
    found = {s.attack: s for s in strengths(["part", "whole"], {"e": (labels, part)}, "d")}
    alike = strengths(["part", "whole"], {"e": (labels[seen], scores[:, seen])}, "d")[0]
    assert found["part"] == alike
    assert found["part"].images == 20
    assert found["whole"].images == 60
    part[1] = np.nan
    assert [s.attack for s in strengths(["part", "whole"], {"e": (labels, part)}, "d")] == ["whole"]
    with pytest.raises(ContractError, match="2 attacks"):
        strengths(["a", "b"], {"e": (labels, scores[:2])}, "d")


def test_the_only_attack_that_does_anything_decides_everything() -> None:
    labels, scores = episode(8, 1)
    idle = np.vstack([scores, scores[:1]])
    strong, weak = strengths(["strong", "idle"], {"e": (labels, idle)}, "d")
    assert (strong.gap, strong.alone, strong.interval) == (0.0, 1.0, None)
    assert weak.alone == 0.0
    assert weak.gap > 0.1


def test_progress_is_falling_only_where_the_last_doubling_says_so() -> None:
    labels, scores = episode(9, 1, n=200)
    clean, harm = scores[0], scores[1] - scores[0]
    climbing = np.stack([clean + share * harm for share in (0.1, 0.4, 0.9)])
    found = progress([10, 20, 40], {"e": (labels, climbing)}, "d")
    assert found.still_falling
    assert found.aurocs == pytest.approx([robust_auroc(labels, row) for row in climbing])
    settled = np.stack([clean, clean + harm, clean + harm * 1.0001])
    assert not progress([10, 20, 40], {"e": (labels, settled)}, "d").still_falling
    skipping = progress([10, 30, 40], {"e": (labels, climbing)}, "d")  # the last doubling starts at 10, not at 30
    assert skipping.last_drop is not None
    assert skipping.last_drop.low > found.last_drop.low  # type: ignore[union-attr]
    assert progress([10], {"e": (labels, climbing[:1])}, "d").last_drop is None
    with pytest.raises(ContractError, match="rise"):
        progress([20, 10], {"e": (labels, climbing[:2])}, "d")


def test_a_statistic_far_below_the_best_detector_is_no_shortcut() -> None:
    rng = np.random.default_rng(10)
    labels = np.arange(200) % 2
    best = rng.normal(size=200) + 3 * labels
    trivial = {"mean_grey": rng.normal(size=200) - 1.0 * labels, "grey_std": rng.normal(size=200)}
    found = shortcut(labels, best, trivial, "k")
    assert (found.statistic, found.rising, found.marked) == ("mean_grey", False, False)
    assert found.auroc == pytest.approx(robust_auroc(labels == 1, -trivial["mean_grey"]))
    assert found.lead.low <= found.best - found.auroc <= found.lead.high
    assert shortcut(labels, best, {**trivial, "grey_std": best + rng.normal(0, 0.1, 200)}, "k").marked
    with pytest.raises(ContractError, match="no trivial"):
        shortcut(labels, best, {}, "k")


def test_few_images_leave_a_shortcut_open() -> None:
    labels = np.repeat([0, 1], 6)
    best = np.arange(12.0)
    trivial = {"mean_grey": best[[0, 1, 2, 3, 6, 5, 4, 7, 8, 9, 10, 11]]}
    assert shortcut(labels, best, trivial, "k").marked  # 35 of 36 pairs against 36 of 36


def test_equal_detectors_are_told_apart_in_one_of_forty_boards() -> None:
    rng = np.random.default_rng(11)
    labels = np.arange(100) % 2
    clear = 0
    for board in range(300):
        shared = rng.normal(size=100) + labels
        best, trivial = shared + rng.normal(size=(2, 100))
        clear += not shortcut(labels, best, {"mean_grey": trivial}, str(board)).marked
    assert clear / 300 < 0.06
