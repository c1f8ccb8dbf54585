"""Rows in pairs, rank correlation and the unseen category: against scipy, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.errors import ContractError, NotApplicableError
from benchmark.statistics.association import spearman
from benchmark.statistics.prediction import MODEL, unseen_category
from benchmark.statistics.ranking import RankInterval, compare_rows, holm_adjusted, rank_intervals, smallest_difference


def holm_by_definition(p_values: list[float], alpha: float) -> list[bool]:
    """Sort; reject while p <= alpha / (hypotheses left)."""
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected.add(index)
    return [i in rejected for i in range(len(p_values))]


@given(st.lists(st.floats(0, 0.2), max_size=8))
def test_adjusted_p_values_reject_what_holm_rejects(p_values: list[float]) -> None:
    adjusted = holm_adjusted(p_values)
    for alpha in (0.01, 0.05, 0.1):
        margin = [abs(p - alpha) > 1e-9 for p in adjusted]
        expected = holm_by_definition(p_values, alpha)
        assert [p <= alpha for p, clear in zip(adjusted, margin, strict=True) if clear] == [
            e for e, clear in zip(expected, margin, strict=True) if clear
        ]
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))


def test_a_pair_has_the_z_test_of_its_paired_replicates() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.05, 500)
    rows = [0.80 + shared + rng.normal(0, 0.01, 500), 0.77 + shared + rng.normal(0, 0.01, 500)]
    (pair,) = compare_rows([0.80, 0.77], rows)
    error = np.sqrt(np.cov(*rows)[0, 0] + np.cov(*rows)[1, 1] - 2 * np.cov(*rows)[0, 1])
    assert pair.error == pytest.approx(error)
    assert pair.difference == pytest.approx(0.03)
    assert (pair.interval.low, pair.interval.high) == pytest.approx(stats.norm.interval(0.95, 0.03, error))
    assert pair.p == pytest.approx(2 * stats.norm.sf(0.03 / error))
    assert pair.p_holm == pair.p


def test_pairs_without_spread_are_not_compared() -> None:
    constant, moving = np.full(200, 0.5), 0.9 + np.random.default_rng(1).normal(0, 0.01, 200)
    rows = [constant, np.full(200, 0.1), moving, moving, None]
    pairs = compare_rows([0.5, 0.1, 0.9, 0.9, 0.7], rows)
    assert [(p.first, p.second) for p in pairs] == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert rank_intervals([0.5, 0.1, 0.9, 0.9, 0.7], rows) == [
        RankInterval(3, 5),
        RankInterval(3, 5),
        RankInterval(1, 3),
        RankInterval(1, 3),
        None,
    ]
    with pytest.raises(ContractError, match="same resamples"):
        compare_rows([0.5, 0.4], [np.zeros(3), np.zeros(4)])
    assert smallest_difference([]) is None


def test_the_smallest_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(2)
    error, rows = 0.02, 4

    def board(difference: float) -> tuple[list[float], list[np.ndarray]]:
        truth = np.array([0.6 + difference, 0.6, 0.6, 0.6])
        values = truth + rng.normal(0, error / math.sqrt(2), rows)
        return values.tolist(), list(values[:, None] + rng.normal(0, error / math.sqrt(2), (rows, 200)))

    visible = smallest_difference(compare_rows(*board(0.0)))
    assert visible is not None
    assert visible == pytest.approx((stats.norm.ppf(1 - 0.05 / 12) + stats.norm.ppf(0.8)) * error, rel=0.1)
    found = 0
    for _ in range(400):
        pairs = compare_rows(*board(visible))
        found += pairs[0].p_holm <= 0.05 and pairs[0].difference > 0
    assert 0.72 < found / 400 < 0.9


def test_spearman_is_scipys_with_the_interval_of_bonett_and_wright() -> None:
    rng = np.random.default_rng(3)
    first = np.round(rng.normal(size=20), 1)  # with ties
    second = first + rng.normal(size=20)
    found = spearman(first.tolist(), second.tolist())
    assert found.value == pytest.approx(stats.spearmanr(first, second).statistic)
    half = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 17)
    assert math.atanh(found.interval.low) == pytest.approx(math.atanh(found.value) - half, rel=1e-4)
    assert math.atanh(found.interval.high) == pytest.approx(math.atanh(found.value) + half, rel=1e-4)
    assert found.rows == 20


def test_the_interval_of_spearman_covers() -> None:
    rng = np.random.default_rng(4)
    normal_rho = 0.7
    truth = 6 / math.pi * math.asin(normal_rho / 2)  # Spearman's of a binormal pair
    held = 0
    for _ in range(600):
        first = rng.normal(size=15)
        second = normal_rho * first + math.sqrt(1 - normal_rho**2) * rng.normal(size=15)
        found = spearman(first.tolist(), second.tolist()).interval
        held += found.low <= truth <= found.high
    assert 0.92 < held / 600 < 0.985


def test_spearman_says_when_there_is_nothing_to_correlate() -> None:
    with pytest.raises(NotApplicableError, match="4 rows"):
        spearman([1, 2, 3, 4], [1, 2, 3, 4])
    with pytest.raises(NotApplicableError, match="equal"):
        spearman([1, 2, 3, 4, 5], [0.5] * 5)
    assert spearman([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]).interval.high == 1.0


def test_the_interval_for_an_unseen_category_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(800):
        areas = 1 / (1 + np.exp(-rng.normal(2.0, 0.8, 9)))
        found = unseen_category(areas[:8].tolist(), [10_000] * 8).interval
        held += found.low <= areas[8] <= found.high
    assert 0.93 < held / 800 < 0.97


def test_the_interval_for_an_unseen_category_names_its_model_and_needs_eight() -> None:
    with pytest.raises(NotApplicableError, match="7 categories"):
        unseen_category([0.9] * 7, [100] * 7)
    found = unseen_category([0.9, 0.8, 1.0, 0.95, 0.85, 0.9, 0.7, 0.99], [100] * 8)
    assert found.categories == 8
    assert found.model == MODEL
    assert 0 < found.interval.low < 0.7
    assert 0.98 < found.interval.high < 1
