"""Rows of a board compared in pairs, from stored paired replicates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Floats
from benchmark.statistics.intervals import LEVEL, Interval

POWER = 0.8
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class RankInterval:
    """Ranks that the data leave open, 1 = best."""

    best: int
    worst: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two rows of a board.

    Attributes:
        first, second: Positions of the rows.
        difference: Value of the first minus that of the second.
        error: Standard error of the difference, from its paired replicates.
        interval: Normal interval of the difference, for this pair alone.
        p: Two-sided, for this pair alone.
        p_holm: Corrected for all pairs of the board together.
    """

    first: int
    second: int
    difference: float
    error: float
    interval: Interval
    p: float
    p_holm: float


def compare_rows(
    values: Sequence[float], replicates: Sequence[Floats | None], level: float = LEVEL
) -> list[Comparison]:
    """Every pair of rows whose difference has a spread.

    A pair whose difference is the same in every resample (two saturated rows on few images, or two copies) is left
    out: nothing is known about its error.

    Args:
        values: The headline value of each row.
        replicates: Paired bootstrap replicates of it [resamples], from the same resamples; None where a row has none.
        level: Of the intervals.

    Raises:
        ContractError: replicates of different length, which cannot be paired.
    """
    found = list(_differences(values, replicates))
    z = NORMAL.inv_cdf((1 + level) / 2)
    p_values = [math.erfc(abs(difference) / error / math.sqrt(2)) for _, _, difference, error in found]
    return [
        Comparison(a, b, difference, error, Interval(difference - z * error, difference + z * error), p, corrected)
        for (a, b, difference, error), p, corrected in zip(found, p_values, holm_adjusted(p_values), strict=True)
    ]


def _differences(
    values: Sequence[float], replicates: Sequence[Floats | None]
) -> Iterator[tuple[int, int, float, float]]:
    known = {row: np.asarray(part, dtype=np.float64) for row, part in enumerate(replicates) if part is not None}
    if len({part.shape for part in known.values()}) > 1:
        raise ContractError("rows to be ranked together need replicates of the same resamples")
    for a, b in combinations(known, 2):
        error = float(np.std(known[a] - known[b], ddof=1))
        if error > 1e-12:
            yield a, b, values[a] - values[b], error


def rank_intervals(
    values: Sequence[float], replicates: Sequence[Floats | None], level: float = LEVEL
) -> list[RankInterval | None]:
    """[1 + significantly better, N - significantly worse] for each of N rows; higher values are better.

    All pairs of the board are corrected together (Holm), so that the intervals hold jointly.

    Args:
        values: The headline value of each row.
        replicates: As in `compare_rows`; a row without any gets no interval and counts as neither better nor worse
            than any other.
        level: Joint level.
    """
    better, worse = np.zeros(len(values), dtype=int), np.zeros(len(values), dtype=int)
    for pair in compare_rows(values, replicates):
        if pair.p_holm <= 1 - level:
            winner, loser = (pair.first, pair.second) if pair.difference > 0 else (pair.second, pair.first)
            better[loser] += 1
            worse[winner] += 1
    return [
        None if part is None else RankInterval(1 + int(better[row]), len(values) - int(worse[row]))
        for row, part in enumerate(replicates)
    ]


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down p-values: a hypothesis is rejected at family-wise level alpha where its value is <= alpha.

    >>> holm_adjusted([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for step, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def smallest_difference(pairs: Sequence[Comparison], level: float = LEVEL, power: float = POWER) -> float | None:
    """The true difference that a board finds in its typical pair with probability ``power``; None without pairs.

    (z(1 - alpha / 2m) + z(power)) times the median standard error of its m pairs: the pair has to pass Holm's first and
    hardest step.
    """
    if not pairs:
        return None
    error = float(np.median([pair.error for pair in pairs]))
    return (NORMAL.inv_cdf(1 - (1 - level) / (2 * len(pairs))) + NORMAL.inv_cdf(power)) * error
