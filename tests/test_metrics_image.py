"""Image metrics against scikit-learn, SciPy and brute force; invariances; named degenerate results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from benchmark.errors import ContractError, NotApplicableError
from benchmark.metrics import METRICS, calibration_error, proper, ranking, threshold, uncertainty
from benchmark.metrics.outcome import Metric, MetricOutcome

TWO_CLASS: list[Callable[..., MetricOutcome]] = [
    ranking.auroc,
    ranking.auroc_robust,
    ranking.average_precision,
    ranking.f1_max,
    threshold.f1,
    threshold.flag_everything_f1,
    threshold.g_mean,
    threshold.balanced_accuracy,
    threshold.mcc,
    proper.brier,
    proper.nll,
    proper.brier_reliability,
    proper.brier_resolution,
    calibration_error.ece,
    calibration_error.ece_expected,
    calibration_error.mce,
    calibration_error.adaptive_calibration_error,
]


@st.composite
def samples(draw: st.DrawFn, levels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both classes and heavily tied values in [0, 1]."""
    n = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    return labels, rng.integers(0, levels + 1, n) / levels


def number(outcome: MetricOutcome) -> float:
    assert outcome.value is not None, outcome.reason
    return outcome.value


@given(samples())
def test_ranking_agrees_with_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    assert number(ranking.auroc(labels, scores)) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    expected = sk.average_precision_score(labels, scores)
    assert number(ranking.average_precision(labels, scores)) == pytest.approx(expected, abs=1e-12)
    best = max(sk.f1_score(labels, scores >= cut) for cut in scores)
    assert number(ranking.f1_max(labels, scores)) == pytest.approx(best, abs=1e-12)


@given(samples())
def test_auroc_robust_counts_only_pairs_that_are_strictly_right(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    pairs = [a > b for a in scores[labels == 1] for b in scores[labels == 0]]
    assert number(ranking.auroc_robust(labels, scores)) == pytest.approx(np.mean(pairs))
    assert number(ranking.auroc_robust(labels, scores)) <= number(ranking.auroc(labels, scores))


def test_a_saturated_detector_has_half_an_auroc_clean_and_none_under_attack() -> None:
    labels = np.array([0, 1, 0, 1])
    assert ranking.auroc(labels, np.ones(4)).value == 0.5
    assert ranking.auroc_robust(labels, np.ones(4)).value == 0.0


@given(samples(), st.sampled_from([np.exp, lambda s: 3 * s - 7, np.cbrt]))
def test_ranking_metrics_ignore_monotone_maps_of_the_score(data: tuple[np.ndarray, np.ndarray], curve: Any) -> None:
    labels, scores = data
    for metric in (ranking.auroc, ranking.auroc_robust, ranking.average_precision, ranking.f1_max):
        assert metric(labels, curve(scores)) == metric(labels, scores)
    assert number(ranking.auroc(labels, -scores)) == pytest.approx(1 - number(ranking.auroc(labels, scores)))


@given(samples(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_of_the_samples_does_not_matter(data: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    labels, values = data
    order = np.array(random.sample(range(len(labels)), len(labels)))
    for metric in TWO_CLASS:
        assert number(metric(labels[order], values[order])) == pytest.approx(number(metric(labels, values)), abs=1e-12)
    for selective in (uncertainty.aurc, uncertainty.augrc):
        assert number(selective(labels[order], values[order])) == pytest.approx(number(selective(labels, values)))


@given(samples())
@settings(max_examples=40)
def test_registered_image_metrics_stay_within_their_bounds(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, values = data
    sets = np.stack([values < 0.7, values > 0.3], axis=1)
    arguments = {
        "scores": (labels, values),
        "decisions": (labels, values > 0.5),
        "probabilities": (labels, values),
        "priors": (np.tile(labels, 200), np.tile(values, 200), 0.4),
        "selective": (labels, values),
        "entropies": (values, values[::-1], labels),
        "ambiguity": (values, labels, np.stack([values, values[::-1]])),
        "expert": (values[::-1], values),
        "sets": (labels, sets),
        "p_values": (labels, values, 0.2),
    }
    for name in METRICS.names():
        metric = METRICS.get(name)
        if metric.level == "image":
            outcome = metric.function(*arguments[metric.needs])
            low, high = metric.bounds
            assert outcome.value is not None, name
            assert low is not None
            assert high is not None
            assert low - 1e-12 <= outcome.value <= high + 1e-12, name


def test_every_registered_metric_is_a_documented_record_of_its_own_name() -> None:
    for name in METRICS.names():
        metric = METRICS.get(name)
        assert isinstance(metric, Metric)
        assert metric.name == name
        assert metric.version >= 1
        assert metric.formula
        function = getattr(metric.function, "func", metric.function)
        assert function.__doc__


@pytest.mark.parametrize("metric", TWO_CLASS)
def test_degenerate_input_gives_a_reason_and_never_a_number(metric: Callable[..., MetricOutcome]) -> None:
    for labels, values, reason in (
        ([], [], "no samples"),
        ([1, 1], [0.1, 0.2], "no normal samples"),
        ([0, 0], [0.1, 0.2], "no anomalous samples"),
        ([0, 1, 1], [0.1, math.nan, math.inf], "2 non-finite values"),
    ):
        assert metric(labels, values) == MetricOutcome(None, len(labels), reason)


def test_misuse_is_an_error_not_a_number() -> None:
    with pytest.raises(ContractError, match="one value per label"):
        ranking.auroc([0, 1], [0.1])
    with pytest.raises(ContractError, match="labels are"):
        ranking.auroc([0, 2], [0.1, 0.2])
    with pytest.raises(ContractError, match="probabilities lie in"):
        calibration_error.ece([0, 1], [0.1, 1.2])
    with pytest.raises(ContractError, match="finite"):
        MetricOutcome(math.nan, 3)
    with pytest.raises(ContractError, match="either"):
        MetricOutcome(None, 3)


@given(samples())
def test_decision_metrics_agree_with_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, values = data
    flagged = values > 0.4
    tpr, tnr = flagged[labels == 1].mean(), 1 - flagged[labels == 0].mean()
    assert number(threshold.f1(labels, flagged)) == pytest.approx(sk.f1_score(labels, flagged))
    assert number(threshold.g_mean(labels, flagged)) == pytest.approx(math.sqrt(tpr * tnr))
    expected = sk.balanced_accuracy_score(labels, flagged)
    assert number(threshold.balanced_accuracy(labels, flagged)) == pytest.approx(expected)
    assert number(threshold.mcc(labels, flagged)) == pytest.approx(sk.matthews_corrcoef(labels, flagged), abs=1e-12)
    everything = sk.f1_score(labels, np.ones_like(labels))
    assert number(threshold.flag_everything_f1(labels, flagged)) == pytest.approx(everything)


@given(samples())
def test_the_best_f1_threshold_is_the_middle_of_the_highest_optimal_interval(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = data
    found = threshold.best_f1_threshold(labels, scores)
    distinct = np.unique(scores)
    middles = [distinct[0] - 1, *((distinct[1:] + distinct[:-1]) / 2)]
    values = [sk.f1_score(labels, scores > cut) for cut in middles]
    best = max(index for index, value in enumerate(values) if value >= max(values) - 1e-12)
    if best:
        assert found == pytest.approx(middles[best])
    else:
        assert found == np.nextafter(distinct[0], -np.inf)
    assert sk.f1_score(labels, scores > found) == pytest.approx(max(values))


def test_no_threshold_without_both_labels() -> None:
    with pytest.raises(NotApplicableError, match="no anomalous samples"):
        threshold.best_f1_threshold([0, 0], [1.0, 2.0])


def calibrated(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 0.7, n)
    return (rng.random(n) < p).astype(int), p


def test_proper_scores_agree_with_scikit_learn() -> None:
    labels, p = calibrated(300)
    assert number(proper.brier(labels, p)) == pytest.approx(sk.brier_score_loss(labels, p))
    assert number(proper.nll(labels, p)) == pytest.approx(sk.log_loss(labels, p))
    assert number(proper.nll([0, 1], [1.0, 0.0])) == pytest.approx(-math.log(1e-9))


@given(samples(levels=9))
def test_the_brier_split_adds_up_and_is_murphys_where_each_bin_holds_one_probability(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, p = data
    split = proper.brier_split(labels.astype(bool), p)
    total = split.reliability - split.resolution + split.uncertainty + split.within_bin
    assert total == pytest.approx(number(proper.brier(labels, p)))
    groups = [labels[p == value] for value in np.unique(p)]
    if len(np.unique(calibration_error.bin_index(p, np.ones(len(p)), "mass"))) == len(groups):
        resolution = sum(len(g) * (g.mean() - labels.mean()) ** 2 for g in groups) / len(p)
        assert split.resolution == pytest.approx(resolution)
        assert split.within_bin == pytest.approx(0, abs=1e-12)


def ece_in_words(labels: np.ndarray, p: np.ndarray, bins: list[np.ndarray]) -> tuple[float, float, float]:
    gaps = [(len(b) / len(p), abs(p[b].mean() - labels[b].mean())) for b in bins if len(b)]
    return sum(w * g for w, g in gaps), max(g for _, g in gaps), float(np.mean([g for _, g in gaps]))


def test_calibration_errors_agree_with_a_plain_restatement() -> None:
    labels, p = calibrated(450)
    mass = ece_in_words(labels, p, np.array_split(np.argsort(p), 15))
    assert number(calibration_error.ece(labels, p)) == pytest.approx(mass[0], abs=1e-8)
    assert number(calibration_error.mce(labels, p)) == pytest.approx(mass[1], abs=1e-8)
    assert number(calibration_error.adaptive_calibration_error(labels, p)) == pytest.approx(mass[2], abs=1e-8)
    p[:5], p[5:9] = 1.0, 0.0
    edges = np.linspace(0, 1, 16)
    width = [np.flatnonzero((p >= lo) & ((p < hi) | (hi == 1))) for lo, hi in itertools.pairwise(edges)]
    assert sum(map(len, width)) == 450
    expected = ece_in_words(labels, p, width)[0]
    assert number(calibration_error.ece(labels, p, "width")) == pytest.approx(expected, abs=1e-8)


def test_confidence_one_sits_in_the_last_bin_and_equal_probabilities_share_one() -> None:
    index = calibration_error.bin_index(np.array([0.0, 14 / 15 + 1e-6, 1.0]), np.ones(3), "width")
    assert index.tolist() == [0, 14, 14]
    p = np.repeat([0.2, 0.2 + 1e-12, 0.9], [40, 40, 20])
    assert len(np.unique(calibration_error.bin_index(p, np.ones(100), "mass"))) == 2
    certain = np.repeat([0, 1], 50)
    assert calibration_error.ece(certain, certain.astype(float)).value == 0


def test_expected_ece_is_what_calibrated_samples_show_on_average() -> None:
    p = calibrated(200)[1]
    rng = np.random.default_rng(1)
    observed = [number(calibration_error.ece((rng.random(200) < p).astype(int), p)) for _ in range(400)]
    expected = number(calibration_error.ece_expected(*calibrated(200)))
    assert expected == pytest.approx(np.mean(observed), abs=4 * np.std(observed) / 20 + 0.003)
    assert expected > 0.03  # not zero: this is why it is shown beside ece


def test_prevalence_ece_is_the_ece_of_a_sample_of_that_prevalence() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], [1900, 1900])
    p = np.clip(rng.beta(2, 4, 3800) + 0.3 * labels, 0, 1)
    thinned = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:100]])
    p[labels == 1] = np.tile(p[thinned][-100:], 19)  # so that 100 of them stand for all 1,900
    for correct in (False, True):
        outcome = calibration_error.ece_at_prevalence(labels, p, 0.5, prevalence=0.05, correct=correct)
        moved = calibration_error.shift_prior(p, 0.5, 0.05) if correct else p
        assert number(outcome) == pytest.approx(
            number(calibration_error.ece(labels[thinned], moved[thinned])), abs=2e-3
        )


def test_prior_correction_calibrates_under_a_shifted_prior() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(40000) < 0.5).astype(int)
    p = stats.norm.pdf(x := rng.normal(labels * 1.5), 1.5) / (stats.norm.pdf(x, 1.5) + stats.norm.pdf(x))
    arguments = {"prevalence": 0.05}
    raw = number(calibration_error.ece_at_prevalence(labels, p, 0.5, correct=False, **arguments))
    corrected = number(calibration_error.ece_at_prevalence(labels, p, 0.5, correct=True, **arguments))
    assert corrected < 0.01 < 0.1 < raw


def test_prevalence_ece_refuses_small_samples_by_name() -> None:
    outcome = calibration_error.ece_at_prevalence(
        [0] * 60 + [1] * 60, np.full(120, 0.5), 0.5, prevalence=0.01, correct=False
    )
    assert outcome.value is None
    assert outcome.reason == "effective n 61 at 1% anomalies is below 100"


def test_entropy_is_scipys() -> None:
    p = np.array([0.0, 0.2, 0.5, 1.0])
    assert uncertainty.entropy(p) == pytest.approx(stats.entropy(np.stack([p, 1 - p])))
    assert np.isnan(uncertainty.entropy([np.nan])).all()


def test_the_entropy_flag_is_judged_within_folds() -> None:
    clean, folds = np.array([0.1, 0.2, 0.3, 0.9, 0.9]), np.array([0, 0, 0, 1, 1])
    attacked = np.array([0.2, 0.3, 0.4, 0.5, 0.5])
    expected = (3 * sk.roc_auc_score([1] * 3 + [0] * 3, [*attacked[:3], *clean[:3]]) + 2 * 0.0) / 5
    assert uncertainty.entropy_auroc(clean, attacked, folds).value == pytest.approx(expected)
    assert uncertainty.entropy_fpr95(clean, attacked, folds).value == pytest.approx((2 + 2) / 5)
    assert uncertainty.entropy_auroc([0.1], [np.nan], [0]).reason == "1 non-finite values"
    assert uncertainty.entropy_fpr95([], [], []).reason == "no samples"


def test_fpr95_agrees_with_the_roc_curve() -> None:
    rng = np.random.default_rng(4)
    clean, attacked = rng.normal(size=200), rng.normal(1, size=200)
    fpr, tpr, _ = sk.roc_curve([0] * 200 + [1] * 200, [*clean, *attacked], drop_intermediate=False)
    expected = fpr[tpr >= 0.95 - 1e-12].min()
    assert uncertainty.entropy_fpr95(clean, attacked, np.zeros(200)).value == pytest.approx(expected)


@given(samples(levels=3))
@settings(max_examples=25)
def test_selective_risk_is_the_mean_over_random_orders_of_ties(data: tuple[np.ndarray, np.ndarray]) -> None:
    errors, confidence = data
    rng = np.random.default_rng(0)
    n, joint, conditional = len(errors), [], []
    for _ in range(300):
        order = np.lexsort([rng.random(n), -confidence])
        accepted = np.cumsum(errors[order])
        conditional.append(np.mean(accepted / np.arange(1, n + 1)))
        joint.append(np.mean(accepted / n))
    tolerance = 5 / math.sqrt(300)
    assert number(uncertainty.aurc(errors, confidence)) == pytest.approx(
        np.mean(conditional), abs=tolerance * np.std(conditional) + 1e-9
    )
    assert number(uncertainty.augrc(errors, confidence)) == pytest.approx(
        np.mean(joint), abs=tolerance * np.std(joint) + 1e-9
    )


def test_coverage_and_set_size_count() -> None:
    sets = np.array([[True, False], [True, False], [True, True], [False, False]])
    labels = [0, 1, 1, 0]
    assert uncertainty.coverage(labels, sets).value == 0.5
    assert uncertainty.set_size(labels, sets).value == 1.0
    assert uncertainty.coverage([0] * 4, sets).reason == "no anomalous samples"
