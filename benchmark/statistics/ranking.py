"""Rank intervals from stored paired replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import norm

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
    known = {row: np.asarray(part) for row, part in enumerate(replicates) if part is not None}
    if len({part.shape for part in known.values()}) > 1:
        raise ContractError("rows to be ranked together need replicates of the same resamples")
    pairs = list(combinations(known, 2))
    p_values = [_p_value(values[a] - values[b], known[a] - known[b]) for a, b in pairs]
    better, worse = np.zeros(len(values), dtype=int), np.zeros(len(values), dtype=int)
    for (a, b), significant in zip(pairs, holm(p_values, 1 - level), strict=True):
        if significant:
            winner, loser = (a, b) if values[a] > values[b] else (b, a)
            better[loser] += 1
            worse[winner] += 1
    return [
        RankInterval(1 + int(better[row]), len(values) - int(worse[row])) if row in known else None
        for row in range(len(values))
    ]


def _p_value(difference: float, replicates: Floats) -> float:
    """Two-sided normal p-value of a difference, with the spread of its paired replicates."""
    spread = float(np.std(replicates, ddof=1))
    if spread == 0:
        return 0.0 if difference else 1.0
    return float(2 * norm.sf(abs(difference) / spread))


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise level ``alpha``."""
    order = np.argsort(p_values, kind="stable")
    rejected = [False] * len(p_values)
    for step, index in enumerate(order):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected
