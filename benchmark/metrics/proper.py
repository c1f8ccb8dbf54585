"""Proper scoring rules of the anomaly probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmark.metrics.calibration_error import bin_means
from benchmark.metrics.outcome import Bools, Floats, Metric, labelled

CLIP = 1e-9  # probabilities are kept this far from 0 and 1 in logarithms, so that one sure mistake costs 20.7


def log_losses(labels: Bools, probabilities: Floats) -> Floats:
    """-log of the probability given to the true label, per sample, in nats; at most -log(1e-9)."""
    given = np.where(labels, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.clip(given, CLIP, 1 - CLIP)))


@labelled
def nll(labels: Bools, probabilities: Floats) -> float:
    """Mean negative log-likelihood in nats, probabilities clipped to [1e-9, 1 - 1e-9]."""
    return float(log_losses(labels, probabilities).mean())


@labelled
def brier(labels: Bools, probabilities: Floats) -> float:
    """Mean squared difference of probability and label (Brier 1950)."""
    return float(np.mean((probabilities - labels) ** 2))


@dataclass(frozen=True, slots=True)
class BrierSplit:
    """brier = reliability - resolution + uncertainty + within_bin (Murphy 1973, on equal-mass bins)."""

    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float  # what binning adds; 0 when each bin holds a single probability


def brier_split(labels: Bools, probabilities: Floats) -> BrierSplit:
    """Split the Brier score of labels [n] and probabilities [n] over 15 equal-mass bins."""
    bins = bin_means(labels, probabilities)
    base = float(labels.mean())
    reliability = float(np.sum(bins.share * (bins.predicted - bins.observed) ** 2))
    resolution = float(np.sum(bins.share * (bins.observed - base) ** 2))
    uncertainty = base * (1 - base)
    total = float(np.mean((probabilities - labels) ** 2))
    return BrierSplit(reliability, resolution, uncertainty, total - (reliability - resolution + uncertainty))


@labelled
def brier_reliability(labels: Bools, probabilities: Floats) -> float:
    """The part of the Brier score that calibration could remove (0 = calibrated)."""
    return brier_split(labels, probabilities).reliability


@labelled
def brier_resolution(labels: Bools, probabilities: Floats) -> float:
    """The part of the label's variance that the bins of probability explain."""
    return brier_split(labels, probabilities).resolution


BRIER = Metric("brier", 1, False, (0, 1), "image", "probabilities", "mean (p - y)^2", brier)
BRIER_RELIABILITY = Metric(
    "brier_reliability",
    1,
    False,
    (0, 1),
    "image",
    "probabilities",
    "sum_b w_b (p_b - y_b)^2",
    brier_reliability,
)
BRIER_RESOLUTION = Metric(
    "brier_resolution",
    1,
    True,
    (0, 0.25),
    "image",
    "probabilities",
    "sum_b w_b (y_b - y)^2",
    brier_resolution,
)
NLL = Metric("nll", 1, False, (0, -math.log(CLIP)), "image", "probabilities", "mean -log p(y)", nll)
