"""The expected calibration error beside what a calibrated detector would show on as few images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.errors import NotApplicableError
from benchmark.metrics.calibration_error import BINS, bin_index, calibrated_eces, ece_value
from benchmark.metrics.outcome import Floats, as_labels, degenerate
from benchmark.statistics.bootstrap import percentile_interval, resample_counts
from benchmark.statistics.intervals import Interval


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """ECE on 15 equal-mass bins.

    Attributes:
        value: The plug-in ECE, which chance alone lifts above 0.
        floor: Its expectation if every probability were right.
        by_chance: Where it would lie in 95 % of samples if every probability were right; above it the detector is
            miscalibrated beyond chance.
        interval: 95 % interval of the population's ECE on these bins.
        prevalence: Share of anomalies; the ECE holds at that share alone.
        n: Images.
    """

    value: float
    floor: float
    by_chance: Interval
    interval: Interval
    prevalence: float
    n: int


def calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, key: str) -> CalibrationError:
    """ECE with its floor and interval.

    Upper limit: the bootstrap repeats the upward bias of a sum of absolute gaps, so it is reflected, 2 ECE minus the
    replicates' quantile. Lower limit: reflection alone misses a population ECE near 0 most of the time. By the triangle
    inequality the ECE exceeds the population's by no more than an ECE of label noise alone, so it is the ECE minus the
    upper end of ``by_chance``, at least 0.

    Args:
        labels: 0/1 [n], both present.
        probabilities: In [0, 1], [n].
        key: Of the resamples; see `benchmark.statistics.bootstrap`.

    Raises:
        NotApplicableError: a label is missing, or a probability not finite.
    """
    positive, p = as_labels(labels), np.asarray(probabilities, dtype=np.float64)
    reason = degenerate(positive, p)
    if reason is not None:
        raise NotApplicableError(reason)
    value, chance = ece_value(positive, p), calibrated_eces(p, 1000)
    by_chance, found = percentile_interval(chance), percentile_interval(_replicates(positive, p, key))
    interval = Interval(max(0.0, value - by_chance.high), max(value, 2 * value - found.low))
    return CalibrationError(value, float(chance.mean()), by_chance, interval, float(positive.mean()), positive.size)


def _replicates(positive: npt.NDArray[np.bool_], p: Floats, key: str) -> Floats:
    """ECE on the sample's own bins in each resample of its images, every label keeping its share, [resamples]."""
    counts = resample_counts(positive, key).astype(np.float64)
    for label in (positive, ~positive):
        counts[label] *= label.mean() / counts[label].sum(axis=0)
    member = bin_index(p, np.ones(p.size), "mass")[None] == np.arange(BINS)[:, None]
    return np.asarray(np.abs((member * (p - positive)) @ counts).sum(axis=0))
