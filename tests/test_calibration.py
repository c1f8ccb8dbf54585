"""Calibrators against scikit-learn and direct optimisation; no evaluated sample reaches its own calibrator."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from benchmark.calibration.calibrators import CALIBRATORS, Beta, MinMax, Platt, Temperature
from benchmark.calibration.crossfit import crossfit_probabilities, crossfit_sets, crossfit_thresholds, fold_of
from benchmark.calibration.support_only import support_p_values, support_threshold
from benchmark.errors import ContractError, NotApplicableError
from benchmark.metrics.proper import nll
from benchmark.metrics.threshold import best_f1_threshold


def episode(seed: int = 0, normal: int = 40, anomalous: int = 60) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normal, anomalous])
    return rng.gamma(4 + 3 * labels, 0.3), labels, [f"bottle/test/{i:03d}.png" for i in range(len(labels))]


def smoothed_loss(z: np.ndarray, labels: np.ndarray) -> float:
    anomalous, normal = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (anomalous + 1) / (anomalous + 2), 1 / (normal + 2))
    return float(np.sum(np.logaddexp(0, z) - target * z))


def test_platt_minimises_platts_smoothed_loss() -> None:
    scores, labels, _ = episode()
    found = minimize(lambda w: smoothed_loss(w[0] * scores + w[1], labels), [1.0, 0.0], method="BFGS", tol=1e-9)
    fitted = Platt.fit(scores, labels)
    assert fitted.slope == pytest.approx(found.x[0], rel=1e-4)
    assert fitted.probability(scores) == pytest.approx(expit(found.x[0] * scores + found.x[1]), abs=1e-5)
    shifted = Platt.fit(1000 * scores + 1e6, labels)
    assert shifted.probability(1000 * scores + 1e6) == pytest.approx(fitted.probability(scores), abs=1e-6)


def test_platt_stays_finite_on_separated_scores() -> None:
    p = Platt.fit([0.0, 1.0, 10.0, 11.0], [0, 0, 1, 1]).probability([0.0, 11.0])
    assert p == pytest.approx([0.25, 0.75], abs=0.06)


def test_beta_and_temperature_minimise_the_same_loss() -> None:
    scores, labels, _ = episode(3)
    raw = np.clip((scores - scores.min()) / np.ptp(scores), 1e-6, 1 - 1e-6)
    one, two = np.log(raw), -np.log1p(-raw)
    beta = Beta.fit(scores, labels)
    best = minimize(
        lambda w: smoothed_loss(np.exp(w[0]) * one + np.exp(w[1]) * two + w[2], labels),
        [0.0, 0.0, 0.0],
        method="Nelder-Mead",
        options={"maxiter": 4000, "fatol": 1e-10, "xatol": 1e-8},
    )
    assert smoothed_loss(beta.a * one + beta.b * two + beta.c, labels) == pytest.approx(best.fun, rel=1e-6)
    assert beta.a >= 0
    assert beta.b >= 0
    temperature = Temperature.fit(scores, labels).temperature
    losses = [smoothed_loss((one + two) / t, labels) for t in (temperature, temperature * 1.01, temperature * 0.99)]
    assert losses[0] == min(losses)


def test_beta_never_decreases_even_for_a_detector_that_is_upside_down() -> None:
    scores, labels, _ = episode(4)
    p = Beta.fit(-scores, labels).probability(np.sort(-scores))
    assert np.all(np.diff(p) >= -1e-12)


def test_isotonic_is_scikit_learns_and_minmax_is_the_range() -> None:
    scores, labels, _ = episode(5)
    grid = np.linspace(-1, 6, 50)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, labels).predict(grid)
    assert CALIBRATORS["isotonic"].fit(scores, labels).probability(grid) == pytest.approx(reference)
    assert MinMax.fit([1.0, 3.0], [0, 1]).probability([0.0, 1.5, 9.0]).tolist() == [0.0, 0.25, 1.0]
    assert MinMax.fit([2.0, 2.0], [0, 1]).probability([1.0, 2.0, 3.0]).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", CALIBRATORS)
def test_calibrators_map_any_shape_into_the_unit_interval_and_keep_nan(name: str) -> None:
    scores, labels, _ = episode(6)
    fitted = CALIBRATORS[name].fit(scores, labels)
    p = fitted.probability(np.linspace(-100, 100, 24).reshape(2, 3, 4))
    assert p.shape == (2, 3, 4)
    assert ((p >= 0) & (p <= 1)).all()
    assert np.isnan(fitted.probability([np.nan, 1.0])).tolist() == [True, False]
    with pytest.raises(NotApplicableError, match="no anomalous samples"):
        CALIBRATORS[name].fit([1.0, 2.0], [0, 0])
    with pytest.raises(NotApplicableError, match="1 non-finite"):
        CALIBRATORS[name].fit([1.0, np.inf], [0, 1])


@pytest.mark.parametrize("name", ["platt", "temperature", "beta", "isotonic"])
def test_calibration_improves_likelihood_on_the_other_fold(name: str) -> None:
    scores, labels, ids = episode(7, 200, 300)
    folds = fold_of(ids, labels)
    raw = nll(labels, crossfit_probabilities(MinMax, scores, labels, folds)).value
    fitted = nll(labels, crossfit_probabilities(CALIBRATORS[name], scores, labels, folds)).value
    assert raw is not None
    assert fitted is not None
    assert fitted < raw


def test_folds_are_dealt_by_digest_within_the_label() -> None:
    _, labels, ids = episode(0, 5, 6)
    folds = fold_of(ids, labels)
    for label, start in ((0, 0), (1, 1)):
        mine = sorted(
            (hashlib.sha256(i.encode()).hexdigest(), f)
            for i, f, y in zip(ids, folds, labels, strict=True)
            if y == label
        )
        assert [fold for _, fold in mine] == [(start + k) % 2 for k in range(len(mine))]
    order = np.random.default_rng(0).permutation(11)
    assert (fold_of([ids[i] for i in order], labels[order]) == folds[order]).all()
    with pytest.raises(ContractError, match="unique"):
        fold_of(["a", "a"], [0, 1])


@pytest.mark.parametrize("name", CALIBRATORS)
@given(sample=st.integers(0, 99), shift=st.floats(-5, 5), flip=st.booleans())
@settings(max_examples=10)
def test_no_sample_reaches_its_own_calibrator_or_threshold(name: str, sample: int, shift: float, flip: bool) -> None:
    """Changing a sample's clean score or label leaves every mapping applied to its fold as it was."""
    scores, labels, ids = episode(8)
    folds = fold_of(ids, labels)
    attacked = scores - 0.4
    changed, relabelled = scores.copy(), labels.copy()
    changed[sample] += shift
    relabelled[sample] ^= flip
    mine = folds == folds[sample]
    calibrator = CALIBRATORS[name]
    before = crossfit_probabilities(calibrator, scores, labels, folds, attacked)
    after = crossfit_probabilities(calibrator, changed, relabelled, folds, attacked)
    assert (before[mine] == after[mine]).all()
    thresholds = crossfit_thresholds(scores, labels, folds), crossfit_thresholds(changed, relabelled, folds)
    assert (thresholds[0][mine] == thresholds[1][mine]).all()
    sets = [crossfit_sets(s, y, folds, attacked) for s, y in ((scores, labels), (changed, relabelled))]
    assert (sets[0][mine] == sets[1][mine]).all()


def test_the_leak_test_would_see_a_leak() -> None:
    """The other fold's mapping does move, so the test above is not blind."""
    scores, labels, ids = episode(8)
    folds = fold_of(ids, labels)
    changed = scores.copy()
    changed[3] += 2.0
    before, after = (crossfit_probabilities(Platt, s, labels, folds, scores) for s in (scores, changed))
    assert (before[folds == folds[3]] == after[folds == folds[3]]).all()
    assert (before[folds != folds[3]] != after[folds != folds[3]]).all()


def test_cross_fitting_is_fit_on_one_fold_and_apply_to_the_other_for_any_number_of_conditions() -> None:
    scores, labels, ids = episode(9)
    folds = fold_of(ids, labels)
    attacked = np.stack([scores - 0.1, scores + 0.2, scores * 3]).reshape(3, 1, -1)
    found = crossfit_probabilities(Platt, scores, labels, folds, attacked)
    for fold in (0, 1):
        fitted = Platt.fit(scores[folds != fold], labels[folds != fold])
        assert (found[..., folds == fold] == fitted.probability(attacked[..., folds == fold])).all()
        cut = best_f1_threshold(labels[folds != fold], scores[folds != fold])
        assert (crossfit_thresholds(scores, labels, folds)[folds == fold] == cut).all()
    with pytest.raises(ContractError, match="end in the axis"):
        crossfit_probabilities(Platt, scores, labels, folds, attacked[..., :-1])
    with pytest.raises(NotApplicableError, match="no anomalous samples"):
        crossfit_probabilities(Platt, [1.0, 2.0, 3.0], [0, 0, 1], fold_of("abc", [0, 0, 1]))


def test_prediction_sets_cover_each_label_on_clean_data() -> None:
    kept = np.zeros(2)
    for seed in range(60):
        scores, labels, ids = episode(seed)
        sets = crossfit_sets(scores, labels, fold_of(ids, labels))
        kept += [sets[labels == y, y].mean() for y in (0, 1)]
    assert (kept / 60 > 0.89).all()  # nominal 0.9
    assert (kept / 60 < 0.96).all()


def test_prediction_sets_in_words_and_their_refusal() -> None:
    scores, labels, ids = episode(2)
    folds = fold_of(ids, labels)
    attacked = np.stack([scores, scores + 1])
    sets = crossfit_sets(scores, labels, folds, attacked, alpha=0.2)
    assert sets.shape == (2, 100, 2)
    for k in (0, 17, 50, 99):
        other = folds != folds[k]
        normal, anomalous = scores[other & (labels == 0)], scores[other & (labels == 1)]
        for row in (0, 1):
            s = attacked[row, k]
            assert sets[row, k, 0] == ((1 + (normal >= s).sum()) / (1 + len(normal)) > 0.2)
            assert sets[row, k, 1] == ((1 + (anomalous <= s).sum()) / (1 + len(anomalous)) > 0.2)
    tied = crossfit_sets(np.ones(100), labels, folds, alpha=0.2)
    assert tied.all()  # a score that every calibration sample ties is as typical as can be
    few = episode(2, 10, 10)
    with pytest.raises(NotApplicableError, match=r"alpha = 0\.1 needs 9 of each"):
        crossfit_sets(few[0], few[1], fold_of(few[2], few[1]))


def test_support_only_is_conformal() -> None:
    loo = [0.3, 0.9, 0.5, 0.1]
    assert support_threshold(loo) == 0.9
    assert support_threshold(loo, alpha=0.4) == 0.5
    assert support_p_values(loo, [[1.0, 0.9], [0.4, 0.0]]).tolist() == [[0.2, 0.4], [0.6, 1.0]]
    assert support_threshold(range(19), alpha=0.05) == 18
    with pytest.raises(NotApplicableError, match="at least 19 support images, got 16"):
        support_threshold(range(16), alpha=0.05)
    for few in ([], [1.0]):
        with pytest.raises(NotApplicableError, match="at least 2 support images"):
            support_threshold(few)
        with pytest.raises(NotApplicableError, match="at least 2 support images"):
            support_p_values(few, [1.0])
    with pytest.raises(NotApplicableError, match="1 non-finite"):
        support_threshold([1.0, np.nan])


def test_support_only_false_alarms_are_nominal_for_exchangeable_scores() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4000, 5))
    alarms = np.mean([row[4] > support_threshold(row[:4]) for row in scores])
    assert alarms == pytest.approx(0.2, abs=0.02)
