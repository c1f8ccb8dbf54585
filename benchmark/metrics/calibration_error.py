"""How far anomaly probabilities are from observed frequencies, in bins of the probability.

Probabilities are rounded to 1e-9 before binning, so that machines that differ in the last bits agree on the bins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Bools, Floats, Ints, Metric, MetricOutcome, labelled
from benchmark.seeding import keyed_uniforms

Binning = Literal["mass", "width"]
BINS = 15
LEAST_EFFECTIVE_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class BinMeans:
    """The bins that hold samples: their weight (count, where unweighted), mean probability and share of anomalies."""

    mass: Floats
    predicted: Floats
    observed: Floats

    @property
    def share(self) -> Floats:
        """Each bin's part of the total weight."""
        return np.asarray(self.mass / self.mass.sum())

    def gaps(self) -> Floats:
        """Absolute difference of mean probability and observed frequency, per bin."""
        return np.abs(self.predicted - self.observed)


def bin_index(probabilities: Floats, weights: Floats, binning: Binning, bins: int = BINS) -> Ints:
    """The bin 0..bins-1 of each probability [n] in [0, 1]; equal probabilities always share a bin.

    ``width``: equal intervals, closed on the left, 1.0 in the last. ``mass``: a group of equal probabilities goes
    where the middle of its weight falls on the cumulative weight cut into equal parts.
    """
    if probabilities.size and (probabilities.min() < 0 or probabilities.max() > 1):
        raise ContractError(f"probabilities lie in [0, 1], got {probabilities.min()} to {probabilities.max()}")
    rounded = np.round(probabilities, 9)
    if binning == "width":
        return np.minimum((rounded * bins).astype(np.int64), bins - 1)
    _, group = np.unique(rounded, return_inverse=True)
    mass = np.bincount(group, weights)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    index: Ints = np.minimum((middle * bins).astype(np.int64), bins - 1)[group]
    return index


def bin_means(
    labels: Bools | Floats, probabilities: Floats, binning: Binning = "mass", weights: Floats | None = None
) -> BinMeans:
    """Weighted mean probability and label (or share of experts, in [0, 1]) of each of the 15 bins that is not empty."""
    mass = np.ones(labels.size) if weights is None else weights
    index = bin_index(probabilities, mass, binning)
    total, predicted, observed = (
        np.asarray(np.bincount(index, column, BINS), dtype=np.float64)
        for column in (mass, mass * probabilities, mass * labels)
    )
    used = total > 0
    return BinMeans(total[used], predicted[used] / total[used], observed[used] / total[used])


def ece_value(labels: Bools, probabilities: Floats, binning: Binning = "mass", weights: Floats | None = None) -> float:
    """ECE of samples that count ``weights`` [n] times; at least one must count."""
    means = bin_means(labels, probabilities, binning, weights)
    return float(np.sum(means.share * means.gaps()))


@labelled
def ece(labels: Bools, probabilities: Floats, binning: Binning = "mass") -> float:
    """Expected calibration error: mean gap of probability and frequency over 15 bins, weighted by their share."""
    return ece_value(labels, probabilities, binning)


@labelled
def mce(labels: Bools, probabilities: Floats, binning: Binning = "mass") -> float:
    """Maximum calibration error: the largest gap of any bin."""
    return float(bin_means(labels, probabilities, binning).gaps().max())


@labelled
def adaptive_calibration_error(labels: Bools, probabilities: Floats) -> float:
    """Mean gap over equal-mass bins, each bin counting the same (ACE of Nixon et al. 2019, binary)."""
    return float(bin_means(labels, probabilities).gaps().mean())


@labelled
def ece_expected(labels: Bools, probabilities: Floats, redraws: int = 200) -> float:
    """The ECE that perfectly calibrated probabilities would show in a sample this small.

    Mean equal-mass ECE over ``redraws`` seeded label vectors drawn from the probabilities themselves.
    """
    return float(calibrated_eces(probabilities, redraws).mean())


def calibrated_eces(probabilities: Floats, redraws: int = 200) -> Floats:
    """Equal-mass ECE of ``redraws`` seeded label vectors drawn from probabilities [n] themselves, [redraws]."""
    order = np.sort(np.round(probabilities, 9))  # sorted: the value does not depend on the order of the samples
    index = bin_index(order, np.ones(order.size), "mass")
    drawn = keyed_uniforms("ece_expected", (redraws, order.size)) < order
    member = (index[:, None] == np.arange(BINS)).astype(np.float64)
    return np.asarray(np.abs((drawn - order) @ member).sum(axis=1) / order.size)


def shift_prior(probabilities: Floats, priors: npt.ArrayLike, prevalence: float) -> Floats:
    """Probabilities [n] fitted where a share ``priors`` (scalar or [n]) was anomalous, moved to ``prevalence``.

    Bayes' rule with unchanged class-conditional densities (Saerens et al. 2002).
    """
    prior = np.asarray(priors, dtype=np.float64)
    anomalous = probabilities * prevalence / prior
    return np.asarray(anomalous / (anomalous + (1 - probabilities) * (1 - prevalence) / (1 - prior)))


def ece_at_prevalence(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    priors: npt.ArrayLike,
    *,
    prevalence: float,
    correct: bool,
) -> MetricOutcome:
    """Equal-mass ECE with the samples weighted so that a share ``prevalence`` is anomalous.

    Args:
        labels: 0/1 [n].
        probabilities: In [0, 1], [n].
        priors: Share of anomalies where each probability was fitted, in (0, 1), scalar or [n].
        prevalence: Share of anomalies to evaluate at, in (0, 1).
        correct: First move the probabilities to ``prevalence`` by Bayes' rule.

    Returns:
        No value when the weighted sample is worth fewer than 100 samples, (sum w)^2 / sum w^2.
    """
    effective = _effective_samples(np.asarray(labels), prevalence)
    if 0 < effective < LEAST_EFFECTIVE_SAMPLES:
        reason = f"effective n {effective:.0f} at {prevalence:.0%} anomalies is below {LEAST_EFFECTIVE_SAMPLES}"
        return MetricOutcome(None, np.size(labels), reason)

    def weighted(positive: Bools, values: Floats) -> float:
        weights = np.where(positive, prevalence / positive.sum(), (1 - prevalence) / (~positive).sum())
        moved = shift_prior(values, priors, prevalence) if correct else values
        return ece_value(positive, moved, "mass", weights)

    return labelled(weighted)(labels, probabilities)


def _effective_samples(labels: npt.NDArray[np.generic], prevalence: float) -> float:
    anomalous = np.count_nonzero(labels)
    if anomalous in (0, labels.size):
        return 0.0
    return float(1 / (prevalence**2 / anomalous + (1 - prevalence) ** 2 / (labels.size - anomalous)))


def _prevalence(percent: int, *, correct: bool = False) -> Metric:
    name = f"ece_prevalence_{percent}" + ("_corrected" if correct else "")
    formula = f"ece at {percent} % anomalies" + (", prior shift corrected" if correct else "")
    function = partial(ece_at_prevalence, prevalence=percent / 100, correct=correct)
    return Metric(name, 1, False, (0, 1), "image", "priors", formula, function)


ECE = Metric("ece", 1, False, (0, 1), "image", "probabilities", "sum_b w_b |p_b - y_b|, 15 equal-mass bins", ece)
ECE_UNDER_ATTACK = replace(ECE, name="ece_under_attack")
ECE_WIDTH = Metric(
    "ece_width",
    1,
    False,
    (0, 1),
    "image",
    "probabilities",
    "ece on equal-width bins",
    partial(ece, binning="width"),
)
ECE_EXPECTED = Metric(
    "ece_expected", 1, None, (0, 1), "image", "probabilities", "E[ece], labels redrawn from p", ece_expected
)
ACE = Metric(
    "adaptive_calibration_error",
    1,
    False,
    (0, 1),
    "image",
    "probabilities",
    "mean_b |p_b - y_b|",
    adaptive_calibration_error,
)
MCE = Metric("mce", 1, False, (0, 1), "image", "probabilities", "max_b |p_b - y_b|", mce)
ECE_PREVALENCE_1 = _prevalence(1)
ECE_PREVALENCE_5 = _prevalence(5)
ECE_PREVALENCE_10 = _prevalence(10)
ECE_PREVALENCE_50 = _prevalence(50)
ECE_PREVALENCE_1_CORRECTED = _prevalence(1, correct=True)
ECE_PREVALENCE_5_CORRECTED = _prevalence(5, correct=True)
ECE_PREVALENCE_10_CORRECTED = _prevalence(10, correct=True)
ECE_PREVALENCE_50_CORRECTED = _prevalence(50, correct=True)
