"""Rank intervals from paired replicates (PROTOCOL.md section 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05


def rank_intervals(scores: Sequence[float], replicates: NDArray[np.float64]) -> list[tuple[int, int]]:
    """[1 + significantly better, N - significantly worse] for each row.

    Args:
        scores: Headline numbers of N rows, higher is better.
        replicates: [N, B] bootstrap replicates; column b is the same resample for every row.

    Two-sided normal test of each pairwise difference with the standard deviation of its paired replicates, Holm over
    all N(N-1)/2 pairs at 0.05.
    """
    n = len(scores)
    pairs = [(i, j, _p_value(scores[i] - scores[j], replicates[i] - replicates[j])) for i in range(n) for j in range(i)]
    better, worse = [0] * n, [0] * n
    for rank, (i, j, p) in enumerate(sorted(pairs, key=lambda pair: pair[2])):
        if p * (len(pairs) - rank) > ALPHA:
            break
        up, down = (i, j) if scores[i] > scores[j] else (j, i)
        better[down] += 1
        worse[up] += 1
    return [(1 + better[i], n - worse[i]) for i in range(n)]


def _p_value(difference: float, replicates: NDArray[np.float64]) -> float:
    spread = float(replicates.std(ddof=1))
    if spread == 0.0:
        return 1.0 if difference == 0.0 else 0.0
    return math.erfc(abs(difference) / spread / math.sqrt(2.0))
