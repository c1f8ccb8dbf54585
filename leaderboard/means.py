"""Means over data sets: of any score, and of R, which averages AUROCs before it clips. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmark.metrics.outcome import Floats
from benchmark.statistics.bootstrap import percentile_interval
from benchmark.statistics.robust import robust_score
from leaderboard.record import BudgetRecord, Cell, quantum

Samples = Sequence[Sequence[float]]


def round_half_up(value: float) -> int:
    """Nearest whole number, halves up, as the browser's Math.round."""
    return math.floor(value + 0.5)


def mean_cell(cells: Sequence[tuple[str, Cell]], samples: Samples = ()) -> Cell:
    """Macro mean over data sets, given as (title, cell); null as soon as one is null.

    The interval holds the middle 95 % of the mean of the data sets' replicates, which are independent, where every
    data set has them. Otherwise it combines the stored intervals by the method of variance estimates recovery (Zou &
    Donner 2008): low = mean - sqrt(sum (value - low)^2) / D, and likewise above.

    Args:
        cells: One per data set.
        samples: Replicates of each data set's number, 0 to 1, or nothing.
    """
    if len(cells) == 1:
        return cells[0][1]
    if not cells:
        return Cell(None, note="no data set of this view has what the column needs")
    for title, cell in cells:
        if cell.value is None:
            return Cell(None, note=f"{title}: {cell.note}")
    values = [cell.value or 0 for _, cell in cells]
    mean = Cell(
        round_half_up(sum(values) / len(values)),
        note=next((f"{title}: {cell.note}" for title, cell in cells if cell.note), None),
        n=sum(cell.n for _, cell in cells),
    )
    paired = _paired(samples, len(cells))
    return _recovered(mean, [cell for _, cell in cells]) if paired is None else with_interval(mean, paired.mean(axis=0))


def _recovered(mean: Cell, cells: Sequence[Cell]) -> Cell:
    if any(cell.low is None or cell.high is None for cell in cells):
        return mean
    value = mean.value or 0
    below = math.hypot(*((c.value or 0) - (c.low or 0) for c in cells)) / len(cells)
    above = math.hypot(*((c.high or 0) - (c.value or 0) for c in cells)) / len(cells)
    return mean._replace(low=round_half_up(value - below), high=round_half_up(value + above))


def with_interval(cell: Cell, replicates: Floats) -> Cell:
    """A cell with the percentile interval of its replicates [resamples]."""
    found = percentile_interval(replicates)
    return cell._replace(low=quantum(found.low), high=quantum(found.high))


def _paired(samples: Samples, count: int) -> Floats | None:
    """Replicates as [data sets, resamples]; None unless all of them have equally many."""
    if len(samples) < count or len({len(s) for s in samples} | {0}) != 2:
        return None
    return np.array(samples, dtype=np.float64)


def robust_mean(budgets: Sequence[Sequence[BudgetRecord]]) -> int | None:
    """R over data sets in millionths; None if their budgets differ or are unknown."""
    if not budgets or not _alike(budgets):
        return None
    areas = [np.mean([b.value for b in same]) for same in zip(*budgets, strict=True)]
    return quantum(float(robust_score(areas)))


def robust_replicates(budgets: Sequence[Sequence[BudgetRecord]]) -> Floats | None:
    """Replicates [resamples] of R over data sets, averaged before R clips; None unless every budget has them."""
    if not budgets or not _alike(budgets):
        return None
    areas = []
    for same in zip(*budgets, strict=True):
        paired = _paired([b.replicates for b in same], len(same))
        if paired is None:
            return None
        areas.append(paired.mean(axis=0))
    return robust_score(np.stack(areas))


def _alike(budgets: Sequence[Sequence[BudgetRecord]]) -> bool:
    """Every data set has the same budgets, among them the clean scores."""
    kinds = {tuple(b.budget for b in one) for one in budgets}
    return len(kinds) == 1 and None in next(iter(kinds))
