"""B50, the budget at which a detector under attack is no better than chance.

The curve is A(b), the macro mean of the worst-case AUROC, straight in log b between the rungs of the ladder. B50 is the
smallest b with A(b) <= 1/2. Below the lowest rung (there is no logarithm of 0) and above the highest it is censored:
-inf and +inf, which order statistics carry and no mean ever touches. It depends on the resolution of the images, so
values of different canonical sizes are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Floats
from benchmark.statistics.intervals import LEVEL, Interval
from benchmark.types.condition import budget_text

CHANCE = 0.5
Outcome = Literal["found", "below", "above", "at_chance"]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """B50 of one curve.

    Attributes:
        outcome: ``found`` on the ladder; ``below`` the lowest or ``above`` the highest rung; ``at_chance`` where
            A(0) <= 1/2 already, so that there is nothing to break.
        budget: Grey levels; None unless ``found``.
    """

    outcome: Outcome
    budget: float | None = None

    def text(self, ladder: Sequence[Fraction]) -> str:
        """Short form for tables.

        >>> Breakdown("found", 0.0013).text([Fraction(1, 64)]), Breakdown("below").text([Fraction(1, 64)])
        ('1/770', '< 1/64')
        """
        if self.budget is not None:
            return number(self.budget)
        smallest, largest = budget_text(min(ladder)), budget_text(max(ladder))
        return {"below": f"< {smallest}", "above": f"> {largest}"}.get(self.outcome, "none")

    def words(self, ladder: Sequence[Fraction]) -> str:
        """What it says about images.

        >>> Breakdown("found", 0.001).words([Fraction(1, 64), Fraction(4)])
        'breaks when 0.1 % of the values move by one level, on average over categories'
        >>> Breakdown("above").words([Fraction(1, 64), Fraction(4)])
        'does not break where every value moves by up to 4 levels, on average over categories'
        """
        average = ", on average over categories"
        if self.outcome == "at_chance":
            return "no better than chance on clean images" + average
        if self.outcome == "above":
            return f"does not break where {_moves(float(max(ladder)))}{average}"
        if self.outcome == "below":
            return f"breaks before {_moves(float(min(ladder)))}{average}"
        return f"breaks when {_moves(self.budget or 0.0)}{average}"


def _moves(budget: float) -> str:
    if budget < 1:
        return f"{budget * 100:.2g} % of the values move by one level"
    return f"every value moves by up to {budget:.2g} level{'' if budget == 1 else 's'}"


def number(budget: float) -> str:
    """A budget off the ladder to two digits: ``1/n`` where it is small.

    >>> number(0.0013), number(0.31), number(2.72)
    ('1/770', '0.31', '2.7')
    """
    if budget >= 0.1:
        return f"{budget:.2g}"
    share = 1 / budget
    return f"1/{round(share, 1 - math.floor(math.log10(share))):.0f}"


def breakdown_budgets(ladder: Sequence[Fraction], aurocs: npt.ArrayLike) -> Floats:
    """B50 in grey levels of curves, vectorised over further axes (replicates, categories).

    Args:
        ladder: L rising budgets above 0.
        aurocs: [1 + L, ...]: A(0), then A of every rung.

    Returns:
        [...]; -inf where it is below the ladder or A(0) <= 1/2, +inf where A stays above 1/2.

    Raises:
        ContractError: the ladder does not rise, or the curves have another number of rungs.

    >>> curves = [[0.9, 0.9, 0.9], [0.75, 0.4, 0.8], [0.25, 0.1, 0.6]]
    >>> breakdown_budgets([Fraction(1, 16), Fraction(1)], curves).tolist()
    [0.25, -inf, inf]
    """
    areas = np.asarray(aurocs, dtype=np.float64)
    rungs = np.array([float(b) for b in ladder])
    if len(areas) != len(rungs) + 1 or len(rungs) == 0 or rungs[0] <= 0 or (np.diff(rungs) <= 0).any():
        raise ContractError(
            f"{len(areas)} AUROCs on {len(rungs)} rungs: need A(0) and one of each rising budget above 0"
        )
    broken = areas[1:] <= CHANCE
    first = broken.argmax(axis=0)
    before, after = (np.take_along_axis(areas, (first + step)[None], axis=0)[0] for step in (0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        way = (before - CHANCE) / (before - after)
        lower = rungs[np.maximum(first - 1, 0)]
        found = np.where(after == CHANCE, rungs[first], lower * (rungs[first] / lower) ** way)
    found = np.where((first == 0) & (after < CHANCE), -np.inf, found)
    found = np.where(broken.any(axis=0), found, np.inf)
    return np.asarray(np.where(areas[0] <= CHANCE, -np.inf, found))


def breakdown(ladder: Sequence[Fraction], aurocs: Sequence[float]) -> Breakdown:
    """B50 of one macro curve: A(0), then A of every rung; see `breakdown_budgets`.

    >>> breakdown([Fraction(1, 16), Fraction(1)], [0.9, 0.75, 0.25])
    Breakdown(outcome='found', budget=0.25)
    """
    budget = float(breakdown_budgets(ladder, aurocs))
    if aurocs[0] <= CHANCE:
        return Breakdown("at_chance")
    if math.isinf(budget):
        return Breakdown("above" if budget > 0 else "below")
    return Breakdown("found", budget)


def censored_interval(replicates: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The central ``level`` of replicates [resamples] that may be infinite: order statistics, nothing interpolated.

    The k-th smallest and the k-th largest, k = floor((resamples + 1)(1 - level) / 2). An infinite limit reads "below
    (above) the ladder".

    Raises:
        ContractError: too few replicates for the level, 39 for 95 %.

    >>> censored_interval([-np.inf] * 30 + [0.5] * 920 + [np.inf] * 50)
    Interval(low=-inf, high=inf)
    """
    ordered = np.sort(np.asarray(replicates, dtype=np.float64))
    rank = math.floor((ordered.size + 1) * (1 - level) / 2 + 1e-9)
    if rank < 1:
        raise ContractError(f"{ordered.size} replicates are too few for a {level:.0%} interval")
    return Interval(float(ordered[rank - 1]), float(ordered[-rank]))


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range over categories; of an even number the smaller of the two middle ones."""

    median: float
    low: float
    high: float


def category_spread(budgets: Sequence[float]) -> Spread:
    """Median and range of the categories' own B50, infinities and all.

    >>> category_spread([0.5, -np.inf, 0.01, np.inf])
    Spread(median=0.01, low=-inf, high=inf)
    """
    ordered = sorted(budgets)
    return Spread(ordered[(len(ordered) - 1) // 2], ordered[0], ordered[-1])
