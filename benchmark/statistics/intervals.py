"""Confidence intervals of one category's AUROC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.metrics.outcome import Floats, as_labels, degenerate
from benchmark.metrics.ranking import Ties, placements

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval, low <= high."""

    low: float
    high: float


def auroc_interval(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, ties: Ties = "half", level: float = LEVEL
) -> Interval | None:
    """Logit-DeLong interval of an AUROC (DeLong et al. 1988; logit scale: Pepe 2003), exact at 0 and 1.

    At A = 1 (or 0), where DeLong's variance is 0, the limit is the AUROC a whose best case for complete separation,
    a**min(P, N), has probability (1 - level)/2 (Clopper-Pearson on the smaller class).

    Returns:
        None where no AUROC exists, or one class has a single sample and A is neither 0 nor 1.
    """
    from scipy.special import expit, logit
    from scipy.stats import norm

    positive, values = as_labels(labels), np.asarray(scores, dtype=np.float64)
    if degenerate(positive, values) is not None:
        return None
    wins = placements(values[positive], values[~positive], ties) / (~positive).sum()
    area = float(wins.mean())
    smaller = int(min(positive.sum(), (~positive).sum()))
    if area in (0.0, 1.0):
        limit = float(((1 - level) / 2) ** (1 / smaller))
        return Interval(limit, 1.0) if area else Interval(0.0, 1 - limit)
    if smaller < 2:
        return None
    losses = placements(-values[~positive], -values[positive], ties) / positive.sum()
    spread = _standard_error(wins, losses) / (area * (1 - area)) * norm.ppf((1 + level) / 2)
    return Interval(float(expit(logit(area) - spread)), float(expit(logit(area) + spread)))


def _standard_error(wins: Floats, losses: Floats) -> float:
    """DeLong's standard error from the structural components of the anomalous [p] and the normal samples [n]."""
    return float(np.sqrt(wins.var(ddof=1) / wins.size + losses.var(ddof=1) / losses.size))
