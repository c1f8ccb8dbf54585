"""Worst case by goal, R, the pooled curve and B50 against hand-made tables, scikit-learn and a fine grid."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from benchmark.errors import ContractError
from benchmark.statistics.breakdown import (
    Breakdown,
    Spread,
    breakdown,
    breakdown_budgets,
    category_spread,
    censored_interval,
    number,
)
from benchmark.statistics.intervals import Interval
from benchmark.statistics.robust import antitonic, robust_score, selected_case, worst_case

LADDER = (*(Fraction(1, 4**k) for k in range(6, 0, -1)), Fraction(1), Fraction(4))


def test_each_goal_attacks_its_own_images() -> None:
    labels, clean = np.array([1, 1, 0, 0]), np.array([5.0, 4.0, 1.0, 2.0])
    attacked = np.array([[3.0, 6.0, 0.0, 3.0], [4.0, 3.5, 2.0, 9.0]])
    assert worst_case(labels, clean, attacked).tolist() == [3.0, 3.5, 2.0, 9.0]
    assert worst_case(labels, clean, attacked, "evasion").tolist() == [3.0, 3.5, 1.0, 2.0]
    assert worst_case(labels, clean, attacked, "false_alarm").tolist() == [5.0, 4.0, 2.0, 9.0]


def test_the_worst_case_refuses_an_attack_on_part_of_the_images() -> None:
    with pytest.raises(ContractError, match="all images"):
        worst_case([1, 0], [1.0, 0.0], [[0.5, np.nan]])
    with pytest.raises(ContractError, match="one table"):
        selected_case([1, 0], np.zeros((2, 2)), np.zeros((3, 2)))


def test_fresh_draws_undo_the_luck_of_selection() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 2000)
    selecting, fresh = rng.normal(size=(2, 20, labels.size))  # 20 candidates that do no harm at all, noisy scores
    lucky = worst_case(labels, selecting[0], selecting[1:])
    honest = selected_case(labels, selecting, fresh)
    assert lucky[labels == 1].mean() == pytest.approx(-1.867, abs=0.05)  # expectation of the least of 20 normals
    assert honest[labels == 1].mean() == pytest.approx(0, abs=0.08)
    assert honest[labels == 0].mean() == pytest.approx(0, abs=0.08)
    false_alarm = selected_case(labels, selecting, fresh, "false_alarm")
    assert np.array_equal(false_alarm[labels == 1], fresh[0, labels == 1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_pooled_curves_are_isotonic_regression(curve: list[float]) -> None:
    oracle = IsotonicRegression(increasing=False).fit_transform(np.arange(len(curve)), curve)
    assert antitonic(curve) == pytest.approx(oracle, abs=1e-9)


def test_every_replicate_is_pooled_on_its_own() -> None:
    curves = np.random.default_rng(1).random((9, 50))
    together = antitonic(curves)
    assert together == pytest.approx(np.stack([antitonic(column) for column in curves.T], axis=1))


def test_r_averages_then_clips() -> None:
    assert float(robust_score([1.0, 0.75, 0.5, 0.1])) == 0.375
    assert float(robust_score([0.951, 0.938, 0.889, 0.806, 0.326, 0.021, 0.0, 0.0, 0.0])) == pytest.approx(
        (0.902 + 0.876 + 0.778 + 0.612) / 9
    )


def crossing_on_a_fine_grid(areas: list[float]) -> float:
    """Smallest b of a dense log grid where the straight-line curve is at most 1/2."""
    logs = np.log([float(b) for b in LADDER])
    grid = np.linspace(logs[0], logs[-1], 200_001)
    below = np.interp(grid, logs, areas[1:]) <= 0.5
    return float(np.exp(grid[below.argmax()])) if below.any() else math.inf


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_b50_is_the_first_crossing_of_the_curve(falling: list[float]) -> None:
    areas = [1.0, *sorted(falling, reverse=True)]
    found = float(breakdown_budgets(LADDER, areas))
    if areas[1] < 0.5:
        assert found == -math.inf
    else:
        assert found == pytest.approx(crossing_on_a_fine_grid(areas), rel=1e-4)


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([0.95, 0.9, 0.5, 0.5, 0.5, 0.2, 0, 0, 0], Breakdown("found", 1 / 1024)),  # plateau: its smaller end
        ([0.95, 0.9, 0.8, 0.6, 0.4, 0.7, 0.7, 0.4, 0.1], Breakdown("found", 1 / 128)),  # first of two crossings
        ([0.95, 0.5, 0.4, 0.3, 0.2, 0.1, 0, 0, 0], Breakdown("found", 1 / 4096)),
        ([0.95, 0.49, 0.4, 0.3, 0.2, 0.1, 0, 0, 0], Breakdown("below")),
        ([0.95, *[0.9] * 7, 0.51], Breakdown("above")),
        ([0.95, *[0.9] * 7, 0.5], Breakdown("found", 4.0)),
        ([0.5, *[0.5] * 8], Breakdown("at_chance")),
    ],
)
def test_b50_by_hand(areas: list[float], expected: Breakdown) -> None:
    found = breakdown(LADDER, areas)
    assert found.outcome == expected.outcome
    assert found.budget == (None if expected.budget is None else pytest.approx(expected.budget))


def test_b50_of_replicates_is_infinite_beyond_the_ladder_and_below_it_at_chance() -> None:
    curves = np.array([[0.9] + [0.4] * 8, [0.9] * 9, [0.4] * 9]).T
    assert breakdown_budgets(LADDER, curves).tolist() == [-math.inf, math.inf, -math.inf]
    for ladder, areas in ((LADDER, np.ones(8)), ([Fraction(1), Fraction(1)], np.ones(3)), ([Fraction(0)], np.ones(2))):
        with pytest.raises(ContractError, match="rising"):
            breakdown_budgets(ladder, areas)


def test_censored_intervals_are_order_statistics() -> None:
    replicates = np.random.default_rng(2).permutation(np.arange(1.0, 1001))
    assert censored_interval(replicates) == Interval(25, 976)
    replicates[replicates > 970] = np.inf
    assert censored_interval(replicates) == Interval(25, math.inf)
    assert censored_interval(np.full(1000, np.inf)) == Interval(math.inf, math.inf)
    with pytest.raises(ContractError, match="too few"):
        censored_interval(np.arange(38.0))


def test_a_row_robust_at_every_budget_is_above_the_ladder_and_keeps_its_r() -> None:
    replicates = np.clip(np.random.default_rng(3).normal(0.97, 0.01, (9, 200)), 0, 1)
    assert censored_interval(breakdown_budgets(LADDER, replicates)).low == math.inf
    assert breakdown(LADDER, [0.97] * 9).text(LADDER) == "> 4"
    assert float(robust_score([0.97] * 9)) == pytest.approx(0.94)


def test_words_and_numbers() -> None:
    assert [number(b) for b in (1 / 4096, 0.0099, 0.25, 0.94, 3.96)] == ["1/4100", "1/100", "0.25", "0.94", "4"]
    assert Breakdown("below").words(LADDER).startswith("breaks before 0.024 % of the values move by one level")
    assert Breakdown("found", 2.5).words(LADDER).startswith("breaks when every value moves by up to 2.5 levels")
    assert Breakdown("at_chance").words(LADDER).startswith("no better than chance on clean images")
    assert Breakdown("at_chance").text(LADDER) == "none"


def test_the_spread_over_categories_averages_no_infinity() -> None:
    assert category_spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert category_spread([math.inf, math.inf, -math.inf, 1.0]) == Spread(1.0, -math.inf, math.inf)
