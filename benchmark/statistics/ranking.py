"""Rank intervals from stored paired replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Floats

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class RankInterval:
    """Ranks that the data leave open, 1 = best."""

    best: int
    worst: int


def rank_intervals(
    values: Sequence[float], replicates: Sequence[Floats | None], level: float = LEVEL
) -> list[RankInterval | None]:
    """[1 + significantly better, N - significantly worse] for each of N rows; higher values are better.

    Every pair of rows is compared by the spread of its paired differences, and all pairs of the board are corrected
    together (Holm), so that the intervals hold jointly.

    Args:
        values: The headline value of each row.
        replicates: Paired bootstrap replicates of it [resamples], from the same resamples; None where a row has none:
            it gets no interval and counts as neither better nor worse than any other.

    Raises:
        ContractError: replicates of different length, which cannot be paired.
    """
    known = [row for row, part in enumerate(replicates) if part is not None]
    parts = [np.asarray(replicates[row], dtype=np.float64) for row in known]
    if len({part.shape for part in parts}) > 1:
        raise ContractError("rows to be ranked together need replicates of the same resamples")
    pairs, p_values = _compare(known, np.array([values[row] for row in known]), parts)
    better, worse = np.zeros(len(values), dtype=int), np.zeros(len(values), dtype=int)
    for (a, b), significant in zip(pairs, holm(p_values, 1 - level), strict=True):
        if significant:
            winner, loser = (a, b) if values[a] > values[b] else (b, a)
            better[loser] += 1
            worse[winner] += 1
    return [
        None if part is None else RankInterval(1 + int(better[row]), len(values) - int(worse[row]))
        for row, part in enumerate(replicates)
    ]


def _compare(
    rows: Sequence[int], values: Floats, replicates: Sequence[Floats]
) -> tuple[list[tuple[int, int]], list[float]]:
    """All pairs of rows with the two-sided normal p-value of their difference, by the spread of its replicates."""
    pairs: list[tuple[int, int]] = []
    p_values: list[float] = []
    for first, row in enumerate(rows[:-1]):
        spreads = np.std(replicates[first] - np.array(replicates[first + 1 :]), axis=1, ddof=1)
        pairs += [(row, other) for other in rows[first + 1 :]]
        p_values += map(_p_value, (values[first] - values[first + 1 :]).tolist(), spreads.tolist())
    return pairs, p_values


def _p_value(difference: float, spread: float) -> float:
    if spread == 0:
        return 0.0 if difference else 1.0
    return math.erfc(abs(difference) / spread / math.sqrt(2))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise level ``alpha``."""
    order = np.argsort(p_values, kind="stable")
    rejected = [False] * len(p_values)
    for step, index in enumerate(order):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected
