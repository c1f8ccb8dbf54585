"""Statistics of certificates by median smoothing (Chiang et al. 2020), in continuous L2.

The smoothed score is the median of a detector's score under Gaussian noise of deviation sigma. Within an L2 ball of
radius r the population median cannot leave the Phi(-r/sigma) and Phi(+r/sigma) quantiles at the clean image; order
statistics of the draws bound those quantiles with binomial confidence. Bounds of many images hold jointly at level
alpha by Bonferroni. Who deploys the median of finitely many draws, not of the population, pays a second binomial price.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm

from benchmark.errors import UsageError
from benchmark.metrics.outcome import Floats
from benchmark.metrics.ranking import auroc_value

ALPHA = 0.05
LEAST_DRAWS = 1000


def l2_radius(budget: Fraction, values: int) -> float:
    """Largest L2 distance in grey levels within budget b of an image of N values.

    sqrt(floor(b N)) below one level, b sqrt(N) from one level up.

    >>> round(l2_radius(Fraction(1, 1024), 3 * 224 * 224), 2), l2_radius(Fraction(4), 100)
    (12.12, 40.0)
    """
    moved = math.floor(budget * values)
    return math.sqrt(moved) if budget < 1 else float(budget) * math.sqrt(values)


def needed_draws(radius: float, sigma: float, images: int, alpha: float = ALPHA, median: float = 0.5) -> int:
    """Fewest draws that bound the smoothed score within a radius for all images jointly at level ``alpha``.

    With fewer even the smallest draw may lie above the quantile: (1 - p)^n > alpha / images, p its share.

    Args:
        radius, sigma: In one unit.
        images: Of the table that shares ``alpha``.
        alpha: Chance that any bound is wrong.
        median: The quantile that is deployed, 1/2 for the population median; see `deployed_quantile`.

    >>> needed_draws(l2_radius(Fraction(1, 1024), 3 * 224 * 224), 16, images=200)
    33
    """
    share = shifted(median, radius / sigma)
    if share < 1e-300:
        raise UsageError(f"radius {radius:g} is {radius / sigma:.0f} sigma: no number of draws certifies it")
    return math.ceil(math.log(alpha / images) / math.log1p(-share) - 1e-9)


def shifted(quantile: float, radius: float) -> float:
    """Share below which a ball of ``radius`` sigmas cannot push the ``quantile``: Phi(Phi^-1(quantile) - radius)."""
    return float(norm.cdf(norm.ppf(quantile) - radius))


def deployed_quantile(draws: int, level: float) -> float:
    """Largest quantile below which the median of ``draws`` fresh draws falls with chance ``level`` at most.

    The lower median of m draws is at or below the p-quantile if at least ceil(m / 2) draws are; by symmetry the upper
    one exceeds the (1 - p)-quantile no more often.

    >>> round(deployed_quantile(1001, 0.05 / 400), 3)
    0.442
    """
    if draws < 1 or not 0 < level < 1:
        raise UsageError(f"draws={draws}, level={level}: need at least one draw and 0 < level < 1")
    from scipy.stats import beta

    needed = math.ceil(draws / 2)
    return float(beta.ppf(level, needed, draws - needed + 1))


@dataclass(frozen=True, slots=True)
class Rung:
    """Whether a budget can be certified at all with the draws there are."""

    budget: Fraction
    radius: float
    needed: int
    certifiable: bool


def rungs(
    ladder: Sequence[Fraction], values: int, sigma: float, draws: int, images: int, alpha: float = ALPHA
) -> list[Rung]:
    """Every rung of a ladder that needs finitely many draws, with the number it needs for a finite joint bound.

    Args:
        ladder: Budgets.
        values: N of an image.
        sigma: Noise in grey levels.
        draws: Draws there are; fewer than 1,000 certify nothing, whatever the rung needs.
        images: Of the table that shares ``alpha``.
        alpha: Chance that any bound is wrong.

    >>> [r.needed for r in rungs([Fraction(1, n) for n in (1024, 256)], 3 * 224 * 224, 16.0, 1000, 200)]
    [33, 124]
    """
    found = []
    for budget in ladder:
        radius = l2_radius(budget, values)
        try:
            needed = needed_draws(radius, sigma, images, alpha)
        except UsageError:
            continue
        found.append(Rung(budget, radius, needed, draws >= max(needed, LEAST_DRAWS)))
    return found


def quantile_bounds(
    draws: Floats, sigma: float, radius: float, level: float, median: float = 0.5
) -> tuple[Floats, Floats]:
    """Lower and upper bounds [B] of the smoothed score within an L2 radius, each one-sided at level ``level``.

    Infinite where the draws are too few to bound the quantile.

    Args:
        draws: Scores [n, B].
        sigma: Noise of the draws.
        radius: L2 radius over all values of an image, in the unit of sigma.
        level: Chance that a bound is wrong.
        median: The quantile that is deployed; see `needed_draws`.
    """
    if sigma <= 0 or radius < 0 or not 0 < level < 1:
        raise UsageError(
            f"sigma={sigma}, radius={radius}, level={level}: need sigma > 0, radius >= 0 and 0 < level < 1"
        )
    ordered, count = np.sort(draws, axis=0), len(draws)
    share = shifted(median, radius / sigma)
    # The k-th smallest draw is below the quantile unless fewer than k draws are: Binomial(count, share) < k.
    below = int(np.sum(binom.cdf(np.arange(count), count, share) <= level))
    infinite = np.full(ordered.shape[1], np.inf)
    if below == 0:
        return -infinite, infinite
    return ordered[below - 1], ordered[count - below]


def certified_auroc(
    labels: npt.NDArray[np.bool_],
    draws: Floats,
    sigma: float,
    radius: float,
    images: int,
    alpha: float = ALPHA,
    deployed: int | None = None,
) -> float:
    """Lower bound of the smoothed detector's two-sided AUROC within an L2 radius.

    Every image gets its bound at level alpha / N: the lower end for anomalies, the upper end for normals; ties count 0.

    Args:
        labels: 0/1 [n], both present.
        draws: Scores under noise [draws, n].
        sigma: Noise of the draws.
        radius: L2 radius over all values of an image, in the unit of sigma.
        images: N, all images of the table that shares alpha: with chance alpha at most any of its bounds is wrong.
        alpha: See above.
        deployed: Draws of the median that is deployed; None = the population median. Half of alpha then pays for the
            chance that the deployed median of an image strays from it.
    """
    level = alpha / images
    median = 0.5
    if deployed is not None:
        level /= 2
        median = deployed_quantile(deployed, level)
    low, high = quantile_bounds(draws, sigma, radius, level, median)
    return auroc_value(low[labels == 1], high[labels == 0], ties="lost")
