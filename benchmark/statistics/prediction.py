"""What to expect in a category that was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t

from benchmark.errors import NotApplicableError
from benchmark.statistics.intervals import LEVEL, Interval

LEAST_CATEGORIES = 8
MODEL = "category AUROCs as independent draws from one normal distribution on the logit scale"
REACH = "one more category of the same kind, size and labelling, with supports drawn alike"


@dataclass(frozen=True, slots=True)
class PredictionInterval:
    """Where the AUROC of one unseen category is expected, under ``model`` and within ``reach``."""

    interval: Interval
    categories: int
    model: str = MODEL
    reach: str = REACH


def unseen_category(aurocs: Sequence[float], pairs: Sequence[int], level: float = LEVEL) -> PredictionInterval:
    """Student prediction interval on the logit scale: mean +- t s sqrt(1 + 1/C).

    An AUROC of 0 or 1 has no logit, so half a pair is added to either side: (A m + 1/2) / (m + 1).

    Args:
        aurocs: AUROC of each of C categories.
        pairs: m of each: anomalous times normal images.
        level: Chance that the interval holds the next category's AUROC.

    Raises:
        NotApplicableError: fewer than 8 categories.
    """
    count = len(aurocs)
    if count < LEAST_CATEGORIES:
        raise NotApplicableError(f"{count} categories; an interval for an unseen one needs {LEAST_CATEGORIES}")
    sizes = np.asarray(pairs, dtype=np.float64)
    values = logit((np.asarray(aurocs, dtype=np.float64) * sizes + 0.5) / (sizes + 1))
    half = t.ppf((1 + level) / 2, count - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / count)
    low, high = expit(values.mean() + np.array([-half, half]))
    return PredictionInterval(Interval(float(low), float(high)), count)
