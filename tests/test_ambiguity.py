"""Uncertainty against experts, and the calibration error beside chance: brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from benchmark.errors import ContractError, NotApplicableError
from benchmark.metrics import METRICS
from benchmark.metrics.ambiguity import ambiguity_auroc, ece_expert, expert_bins
from benchmark.metrics.calibration_error import ece, ece_value
from benchmark.statistics.calibration_error import calibration_error


def test_ambiguity_is_judged_within_folds() -> None:
    rng = np.random.default_rng(0)
    certain, folds = np.round(rng.random(31), 1), rng.integers(0, 2, 31)
    ambiguous = np.round(rng.random((2, 12)) + 0.2, 1)
    expected = 0.0
    for fold in (0, 1):
        mine = certain[folds == fold]
        labels = np.repeat([0, 1], [mine.size, 12])
        expected += mine.size / 31 * roc_auc_score(labels, np.concatenate([mine, ambiguous[fold]]))
    found = METRICS.get("ambiguity_auroc").function(certain, folds, ambiguous)
    assert found.value == pytest.approx(expected)
    assert found.n == 12
    shifted = certain + 10 * folds, ambiguous + 10 * np.array([[0], [1]])  # another scale in one fold changes nothing
    assert ambiguity_auroc(shifted[0], folds, shifted[1]).value == pytest.approx(expected)


def test_ambiguity_says_what_is_missing() -> None:
    assert ambiguity_auroc([], [], np.zeros((2, 3))).reason == "no certain images"
    assert ambiguity_auroc([0.1], [0], np.zeros((2, 0))).reason == "no ambiguous images"
    assert ambiguity_auroc([np.nan], [0], np.zeros((2, 3))).reason == "1 non-finite values"
    with pytest.raises(ContractError, match=r"\[2, m\]"):
        ambiguity_auroc([0.1], [0], np.zeros(3))


def test_experts_who_agree_are_labels() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(300)
    labels = rng.random(300) < p**2
    assert ece_expert(labels.astype(float), p).value == ece(labels, p).value
    shares = rng.integers(0, 4, 300) / 3
    bins = expert_bins(shares, p)
    order = np.argsort(p)
    assert bins.observed == pytest.approx([shares[order[k * 20 : k * 20 + 20]].mean() for k in range(15)])
    assert ece_expert(p, p).value == pytest.approx(0)
    assert METRICS.get("ece_expert").function(shares, np.full(300, 0.2)).value == pytest.approx(shares.mean() - 0.2)
    with pytest.raises(ContractError, match="expert probabilities"):
        expert_bins([1.5], [0.5])
    assert ece_expert([], []).reason == "no samples"


def logistic(n: int, slope: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities whose logit is ``slope`` times the true one."""
    logits = rng.normal(0, 1.5, n)
    return rng.random(n) < expit(logits), expit(slope * logits)


@pytest.mark.parametrize(("slope", "beyond"), [(1.0, False), (2.5, True)])
def test_the_interval_of_the_calibration_error_holds_the_population(slope: float, beyond: bool) -> None:
    rng = np.random.default_rng(2)
    truth = 0.0 if slope == 1 else ece_value(*logistic(400_000, slope, rng))
    held = flagged = 0
    for repetition in range(60):
        found = calibration_error(*logistic(300, slope, rng), str(repetition))
        held += found.interval.low <= truth <= found.interval.high
        flagged += found.value > found.by_chance.high
    assert held >= 52
    assert flagged > 50 if beyond else flagged < 8


def test_the_floor_is_the_expectation_under_perfect_calibration() -> None:
    rng = np.random.default_rng(3)
    labels, p = logistic(200, 1.0, rng)
    found = calibration_error(labels, p, "k")
    redrawn = [ece_value(rng.random(200) < p, p) for _ in range(1000)]
    assert found.floor == pytest.approx(np.mean(redrawn), rel=0.03)
    assert found.by_chance.high == pytest.approx(np.quantile(redrawn, 0.975), rel=0.05)
    assert found.value == ece(labels, p).value
    assert (found.prevalence, found.n) == (labels.mean(), 200)
    with pytest.raises(NotApplicableError, match="no anomalous"):
        calibration_error([0, 0], [0.5, 0.5], "k")
