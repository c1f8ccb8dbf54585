"""Whether two columns of a board order its rows alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from benchmark.errors import NotApplicableError
from benchmark.statistics.intervals import LEVEL, Interval

LEAST_ROWS = 5


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation of ``rows`` rows with its interval."""

    value: float
    interval: Interval
    rows: int


def spearman(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Correlation:
    """Spearman's rank correlation, mid-ranks for ties, and its interval over the rows as a sample of detectors.

    Fisher's z with variance (1 + r^2 / 2) / (rows - 3) (Bonett & Wright 2000).

    Args:
        first, second: One value per row, in the same order, finite.
        level: Of the interval.

    Raises:
        NotApplicableError: fewer than 5 rows, or a column in which all rows are equal.

    >>> round(spearman([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 6, 5]).value, 3)
    0.943
    """
    if len(first) < LEAST_ROWS:
        raise NotApplicableError(f"{len(first)} rows; a rank correlation with an interval needs {LEAST_ROWS}")
    ranks = rankdata(first), rankdata(second)
    if any(np.ptp(column) == 0 for column in ranks):
        raise NotApplicableError("all rows are equal in one of the columns")
    value = float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))
    half = norm.ppf((1 + level) / 2) * np.sqrt((1 + value**2 / 2) / (len(first) - 3))
    with np.errstate(divide="ignore"):
        low, high = np.tanh(np.arctanh(value) + np.array([-half, half]))
    return Correlation(value, Interval(float(low), float(high)), len(first))
