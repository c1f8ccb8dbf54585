"""Whether a category can be solved without seeing a defect: a trivial statistic against the best detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Floats, as_labels
from benchmark.metrics.ranking import auroc_value
from benchmark.statistics.bootstrap import auroc_replicates, percentile_interval, resample_counts
from benchmark.statistics.intervals import Interval


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How close the strongest trivial statistic comes to the best detector of a category.

    Attributes:
        statistic: Name of the statistic.
        rising: True where high values mean anomalous.
        auroc: Of the statistic, in that direction.
        best: AUROC of the best detector on the same images.
        lead: 95 % interval of ``best`` - ``auroc``, paired over images.
        marked: The lead is not significant: the category is a shortcut.
    """

    statistic: str
    rising: bool
    auroc: float
    best: float
    lead: Interval
    marked: bool


def shortcut(labels: npt.ArrayLike, best: npt.ArrayLike, trivial: Mapping[str, npt.ArrayLike], key: str) -> Shortcut:
    """Compare every statistic, in either direction, with the best clean row; the one with the smallest lead is told.

    Each has to lie significantly below, so no correction for several statistics is due (intersection-union test).

    Args:
        labels: 0/1 [n], both present.
        best: Clean scores [n] of the detector with the highest AUROC on the category.
        trivial: Statistic -> values [n] of the same images.
        key: Of the resamples; see `benchmark.statistics.bootstrap`.

    Raises:
        ContractError: no statistic is given.

    >>> found = shortcut([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6], {"mean_grey": [9, 8, 7, 6, 5, 1]}, "a")
    >>> found.statistic, found.rising, found.auroc, found.marked
    ('mean_grey', False, 1.0, True)
    """
    if not trivial:
        raise ContractError("no trivial statistic is given to compare with")
    positive, detector = as_labels(labels), np.asarray(best, dtype=np.float64)
    signed = [
        (n, up, (1 if up else -1) * np.asarray(v, np.float64)) for n, v in trivial.items() for up in (True, False)
    ]
    scores = np.stack([detector, *(values for *_, values in signed)])
    replicates = auroc_replicates(positive, scores, resample_counts(positive, key))
    area = _auroc(positive, detector)
    found = []
    for (name, rising, values), row in zip(signed, replicates[1:], strict=True):
        lead = percentile_interval(replicates[0] - row)
        found.append(Shortcut(name, rising, _auroc(positive, values), area, lead, lead.low <= 0))
    return min(found, key=lambda each: (each.lead.low, each.best - each.auroc))


def _auroc(positive: npt.NDArray[np.bool_], values: Floats) -> float:
    return auroc_value(values[positive], values[~positive])
