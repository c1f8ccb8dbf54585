"""Intervals, replicates and rank intervals against brute force and simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn import metrics as sk

from benchmark.errors import ContractError, NotApplicableError
from benchmark.metrics import ranking, threshold
from benchmark.metrics.outcome import MetricOutcome
from benchmark.seeding import keyed_rows, keyed_uniforms
from benchmark.statistics import bootstrap
from benchmark.statistics.intervals import Interval, auroc_interval
from benchmark.statistics.ranking import RankInterval, rank_intervals
from benchmark.statistics.robust import robust_score, worst_case


def binormal(n: int, area: float, seed: int, conditions: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) < n // 2).astype(int)
    return labels, rng.normal(size=(conditions, n)) + labels * norm.ppf(area) * math.sqrt(2)


def test_keyed_numbers_are_frozen_uniform_and_depend_on_the_key() -> None:
    first = keyed_uniforms("a", (3,))
    assert first.tolist() == keyed_uniforms("a", (3,)).tolist()
    assert first.tolist() != keyed_uniforms("b", (3,)).tolist()
    assert first.tolist() == [0.32752991755078176, 0.4974959030820122, 0.09901308496502215]
    many = keyed_uniforms("c", (100, 100))
    assert 0 <= many.min() < many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(np.concatenate([*keyed_rows("c", 100, 100, block=7)]), many)


def delong_in_words(labels: np.ndarray, scores: np.ndarray) -> float:
    """DeLong's variance from the full kernel matrix."""
    kernel = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None]) / 2 + 0.5
    rows, columns = kernel.mean(axis=1), kernel.mean(axis=0)
    return float(np.var(rows, ddof=1) / len(rows) + np.var(columns, ddof=1) / len(columns))


@pytest.mark.parametrize("digits", [8, 0])
def test_auroc_interval_is_delong_on_the_logit_scale(digits: int) -> None:
    labels, scores = binormal(60, 0.85, 1)
    values = np.round(scores[0], digits)
    found = auroc_interval(labels, values)
    assert found is not None
    area = sk.roc_auc_score(labels, values)
    half = 1.959963984540054 * math.sqrt(delong_in_words(labels, values)) / (area * (1 - area))
    center = math.log(area / (1 - area))
    assert found.low == pytest.approx(1 / (1 + math.exp(half - center)))
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - center)))


def test_auroc_interval_is_exact_at_the_ends_and_absent_where_undefined() -> None:
    perfect = auroc_interval([0] * 30 + [1] * 20, np.arange(50))
    assert perfect is not None
    assert perfect.high == 1.0
    assert binom.pmf(20, 20, perfect.low) == pytest.approx(0.025)
    worst = auroc_interval([1] * 20 + [0] * 30, np.arange(50))
    assert worst == Interval(0.0, pytest.approx(1 - perfect.low))
    assert auroc_interval([0, 0], [1.0, 2.0]) is None
    assert auroc_interval([0, 0, 1], [1.0, 3.0, 2.0]) is None
    saturated = auroc_interval([0, 0, 1, 1], [1.0] * 4, ties="lost")
    assert saturated is not None
    assert saturated.low == 0.0


def test_auroc_interval_covers() -> None:
    truth, hits = 0.95, 0
    for seed in range(400):
        labels, scores = binormal(50, truth, seed)
        found = auroc_interval(labels, scores[0])
        assert found is not None
        hits += found.low <= truth <= found.high
    assert hits / 400 > 0.92  # the full simulation is tests/perf/coverage.py


def test_resamples_are_stratified_and_shared_by_key() -> None:
    labels = np.array([0, 1, 0, 1, 1])
    counts = bootstrap.resample_counts(labels, "embedded/digits/3", 500)
    assert (counts[labels == 1].sum(axis=0) == 2).all()
    assert (counts[labels == 0].sum(axis=0) == 1).all()
    assert counts[labels == 1].mean(axis=1) == pytest.approx(np.full(3, 2 / 3), abs=0.15)
    assert bootstrap.resample_counts([0, 1, 1], "k", 4)[0].tolist() == [1, 1, 1, 1]
    assert (counts == bootstrap.resample_counts(labels, "embedded/digits/3", 500)).all()
    assert (counts != bootstrap.resample_counts(labels, "embedded/digits/4", 500)).any()
    balanced = bootstrap.resample_counts([0, 0, 0, 1, 1, 1], "k", 50)
    assert (balanced[:3] != balanced[3:]).any()  # the labels are drawn independently


def metric_replicates(
    function: Callable[..., MetricOutcome], arrays: Sequence[np.ndarray], counts: bootstrap.Counts
) -> np.ndarray:
    """Any metric of arrays with n rows, recomputed on each resample's rows."""
    rows = [np.repeat(np.arange(len(counts)), column) for column in counts.T]
    return np.array([function(*(array[drawn] for array in arrays)).value for drawn in rows], float)


@pytest.mark.parametrize(("digits", "ties"), [(9, "half"), (0, "half"), (0, "lost")])
def test_auroc_replicates_are_the_aurocs_of_the_resamples(digits: int, ties: ranking.Ties) -> None:
    labels, scores = binormal(40, 0.8, 2, conditions=3)
    scores = np.round(scores, digits)
    counts = bootstrap.resample_counts(labels, "k", 20)
    found = bootstrap.auroc_replicates(labels, scores, counts, ties)
    metric = ranking.auroc if ties == "half" else ranking.auroc_robust
    for row in range(3):
        slow = metric_replicates(metric, (labels, scores[row]), counts)
        assert found[row] == pytest.approx(slow, abs=1e-12)
    precision = bootstrap.average_precision_replicates(labels, scores, counts)
    for row in range(3):
        slow = metric_replicates(ranking.average_precision, (labels, scores[row]), counts)
        assert precision[row] == pytest.approx(slow, abs=1e-12)


def test_other_replicates_are_the_metrics_of_the_resamples() -> None:
    labels, scores = binormal(40, 0.8, 3, conditions=2)
    counts = bootstrap.resample_counts(labels, "k", 15)
    flagged = scores > 0.3
    confusion = bootstrap.confusion_replicates(labels, flagged, counts)
    for row in range(2):
        for metric, fast in ((threshold.f1, confusion.f1()), (threshold.g_mean, confusion.g_mean())):
            slow = metric_replicates(metric, (labels, flagged[row]), counts)
            assert fast[row] == pytest.approx(slow)
    means = bootstrap.mean_replicates(labels, scores, counts)
    assert means[1, 4] == pytest.approx(np.repeat(scores[1], counts[:, 4]).mean())


def test_the_spread_of_replicates_is_the_unbiased_standard_error_even_in_a_tiny_category() -> None:
    labels, values = np.array([0] * 5 + [1] * 20), np.random.default_rng(5).normal(size=(1, 25))
    replicates = bootstrap.mean_replicates(labels, values, bootstrap.resample_counts(labels, "k", 20000))
    normal, anomalous = values[0, :5], values[0, 5:]
    expected = 0.2**2 * normal.var(ddof=1) / 5 + 0.8**2 * anomalous.var(ddof=1) / 20
    assert replicates.var() == pytest.approx(expected, rel=0.04)
    assert replicates.mean() == pytest.approx(values.mean(), abs=0.01)


def test_macro_mean_leaves_out_categories_without_a_value() -> None:
    parts = [np.array([1.0, 2.0]), np.array([np.nan, 3.0]), np.array([3.0, 6.0])]
    assert bootstrap.macro_mean(parts).tolist() == [2.0, 4.0]
    with pytest.raises(NotApplicableError, match="no category"):
        bootstrap.macro_mean(parts[1:2])
    assert bootstrap.percentile_interval(np.arange(1001.0)) == Interval(pytest.approx(25), pytest.approx(975))


def test_macro_replicates_of_two_detectors_are_paired() -> None:
    first, second = ({name: binormal(30, 0.8, seed) for name, seed in (("a", s), ("b", s + 1))} for s in (4, 6))
    joint = {name: (first[name][0], np.vstack([first[name][1], second[name][1]])) for name in first}
    together = bootstrap.macro_auroc_replicates(joint, "digits", 50)
    assert together.shape == (2, 50)
    assert together[1] == pytest.approx(bootstrap.macro_auroc_replicates(second, "digits", 50)[0])
    assert (together != bootstrap.macro_auroc_replicates(joint, "procedural", 50)).any()


def test_worst_case_takes_the_most_harmful_score_of_each_image() -> None:
    labels = np.array([1, 1, 0, 0])
    clean = np.array([5.0, 4.0, 1.0, 2.0])
    attacked = np.array([[3.0, 6.0, 0.0, 3.0], [4.0, 5.0, 2.0, 1.0]])
    assert worst_case(labels, clean, attacked).tolist() == [3.0, 4.0, 2.0, 3.0]
    assert worst_case(labels, clean, np.empty((0, 4))).tolist() == clean.tolist()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_robust_score_is_bounded_and_clips_after_averaging(aurocs: list[float]) -> None:
    value = float(robust_score(aurocs))
    assert 0 <= value <= 1
    assert value == pytest.approx(sum(max(0, 2 * a - 1) for a in aurocs) / len(aurocs))
    assert robust_score(np.array([aurocs, aurocs]).T).tolist() == pytest.approx([value, value])


def test_rank_intervals_separate_what_differs_and_join_what_does_not() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.05, 200)
    noise = rng.normal(0, 0.003, (3, 200))
    values = [0.80, 0.801, 0.60]
    found = rank_intervals(values, [v + shared + n for v, n in zip(values, noise, strict=True)])
    assert found == [RankInterval(1, 2), RankInterval(1, 2), RankInterval(3, 3)]
    unpaired = rank_intervals(values, [v + rng.normal(0, 0.2, 200) for v in values])
    assert unpaired == [RankInterval(1, 3)] * 3
    identical = rank_intervals([0.5, 0.5], [shared, shared])
    assert identical == [RankInterval(1, 2)] * 2


@pytest.mark.parametrize(("deviations", "separated"), [(1.9, False), (2.02, True)])
def test_two_rows_are_compared_two_sided_at_five_percent(deviations: float, separated: bool) -> None:
    spread = np.tile([-1.0, 1.0], 100)
    difference = deviations * float(np.std(spread, ddof=1))
    better, worse = rank_intervals([difference, 0.0], [spread, np.zeros(200)])
    assert (better, worse) == (
        (RankInterval(1, 1), RankInterval(2, 2)) if separated else (RankInterval(1, 2), RankInterval(1, 2))
    )


def test_a_row_without_replicates_has_no_rank_interval_and_leaves_the_others_open() -> None:
    rng = np.random.default_rng(1)
    rows = [0.9 + rng.normal(0, 0.01, 200), None, 0.5 + rng.normal(0, 0.01, 200)]
    assert rank_intervals([0.9, 0.7, 0.5], rows) == [RankInterval(1, 2), None, RankInterval(2, 3)]
    with pytest.raises(ContractError, match="same resamples"):
        rank_intervals([0.9, 0.5], [np.zeros(200), np.zeros(100)])
    assert rank_intervals([], []) == []
