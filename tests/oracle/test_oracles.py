"""Metrics against the field's own packages; each part is skipped where its package is not installed (`make oracle`)."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import ndimage

from benchmark.calibration.crossfit import crossfit_sets, fold_of
from benchmark.metrics import calibration_error, pixel, proper, uncertainty
from benchmark.metrics.outcome import MetricOutcome
from tests.pixel_oracle import aupro_exact, stack_histograms

# 450 = 30 samples in each of 15 bins, so that all packages cut the same equal-mass bins
RNG = np.random.default_rng(0)
PROBABILITIES = RNG.beta(0.7, 0.7, 450)
LABELS = (RNG.random(450) < PROBABILITIES**1.5).astype(int)


def value(outcome: MetricOutcome) -> float:
    assert outcome.value is not None, outcome.reason
    return outcome.value


def test_calibration_errors_agree_with_netcal() -> None:
    netcal = pytest.importorskip("netcal.metrics")
    ece, mce, ace = (getattr(netcal, name) for name in ("ECE", "MCE", "ACE"))
    mine = value(calibration_error.ece(LABELS, PROBABILITIES, "width"))
    assert mine == pytest.approx(ece(15).measure(PROBABILITIES, LABELS), abs=1e-6)
    mine = value(calibration_error.mce(LABELS, PROBABILITIES, "width"))
    assert mine == pytest.approx(mce(15).measure(PROBABILITIES, LABELS), abs=1e-6)
    mine = value(calibration_error.ece(LABELS, PROBABILITIES))
    theirs = ece(15, equal_intervals=False).measure(PROBABILITIES, LABELS)
    assert mine == pytest.approx(theirs, abs=5e-3)  # its bin edges are interpolated quantiles
    mine = value(calibration_error.adaptive_calibration_error(LABELS, PROBABILITIES))
    assert mine == pytest.approx(ace(15, equal_intervals=False).measure(PROBABILITIES, LABELS), abs=5e-3)


def test_probability_metrics_agree_with_torch_uncertainty() -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_uncertainty.metrics.classification")
    p, y = torch.tensor(PROBABILITIES), torch.tensor(LABELS)
    both = torch.stack([1 - p, p], dim=1)

    def measure(metric: object, *arguments: object) -> float:
        metric.update(*arguments)  # type: ignore[attr-defined]
        return float(metric.compute())  # type: ignore[attr-defined]

    brier = measure(theirs.BrierScore(num_classes=1), p, y)
    assert value(proper.brier(LABELS, PROBABILITIES)) == pytest.approx(brier, abs=1e-6)
    nll = measure(theirs.CategoricalNLL(), both, y)
    assert value(proper.nll(LABELS, PROBABILITIES)) == pytest.approx(nll, abs=1e-6)
    errors = (PROBABILITIES > 0.5) != LABELS
    confidence = np.maximum(PROBABILITIES, 1 - PROBABILITIES)
    # trapezoids over coverage 1/n..1, ours is the mean over k = 1..n: they differ by O(1/n)
    assert value(uncertainty.aurc(errors, confidence)) == pytest.approx(measure(theirs.AURC(), both, y), abs=2 / 450)
    assert value(uncertainty.augrc(errors, confidence)) == pytest.approx(measure(theirs.AUGRC(), both, y), abs=2 / 450)
    clean, attacked = RNG.random(200), RNG.random(200) ** 0.5
    scores, kinds = torch.tensor(np.concatenate([clean, attacked])), torch.tensor([0] * 200 + [1] * 200)
    mine = value(uncertainty.entropy_fpr95(clean, attacked, np.zeros(200)))
    assert mine == pytest.approx(measure(theirs.FPR95(pos_label=1), scores, kinds), abs=1e-6)


def test_equal_width_ece_and_set_metrics_agree_with_mapie() -> None:
    calibration = pytest.importorskip("mapie.metrics.calibration")
    classification = pytest.importorskip("mapie.metrics.classification")
    mine = value(calibration_error.ece(LABELS, PROBABILITIES, "width"))
    # MAPIE's num_bins counts edges: 16 of them make 15 bins
    theirs = calibration.expected_calibration_error(LABELS, PROBABILITIES, num_bins=16, split_strategy="uniform")
    assert mine == pytest.approx(theirs, abs=1e-6)
    folds = fold_of([f"{k}.png" for k in range(450)], LABELS)
    sets = crossfit_sets(PROBABILITIES, LABELS, folds)
    covered = classification.classification_coverage_score(LABELS, sets[:, :, None])
    assert value(uncertainty.coverage(LABELS, sets)) == pytest.approx(float(covered[0]))
    width = classification.classification_mean_width_score(sets[:, :, None])
    assert value(uncertainty.set_size(LABELS, sets)) == pytest.approx(float(width[0]))


def maps_and_masks() -> tuple[np.ndarray, np.ndarray]:
    masks = np.zeros((8, 64, 64), dtype=bool)
    for k in range(2, 8):
        masks[k, 10 : 12 + 3 * k, 20:30] = masks[k, 50:55, 40 : 42 + k] = True
    noise = ndimage.gaussian_filter(RNG.normal(size=masks.shape), (0, 2, 2))
    return (noise / noise.std() + 1.5 * ndimage.gaussian_filter(masks.astype(float), (0, 3, 3))).astype(
        np.float32
    ), masks


@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_aupro_agrees_with_anomalib(limit: float) -> None:
    torch = pytest.importorskip("torch")
    aupro = pytest.importorskip("anomalib.metrics.aupro")
    maps, masks = maps_and_masks()
    theirs = aupro._AUPRO(fpr_limit=limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.update(torch.tensor(maps), torch.tensor(masks.astype(np.int64)))
        expected = float(theirs.compute())
    assert aupro_exact(maps, masks, limit) == pytest.approx(expected, abs=1e-3)
    lo, hi = float(maps.min()), float(maps.max())
    images = [pixel.histogram_image(m, k, lo, hi) for m, k in zip(maps, masks, strict=True)]
    found = stack_histograms(images, masks.any(axis=(1, 2)).astype(int).tolist(), lo, hi)
    assert value(pixel.aupro(found, limit)) == pytest.approx(expected, abs=2e-3)
