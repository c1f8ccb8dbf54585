"""Statistics of smoothing certificates: published numbers, binomial tails and simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from benchmark.errors import UsageError
from benchmark.statistics.certificates import (
    certified_auroc,
    deployed_quantile,
    l2_radius,
    needed_draws,
    quantile_bounds,
    rungs,
)

VALUES = 3 * 224 * 224


@pytest.mark.parametrize(("share", "about"), [(1024, 33), (256, 124), (64, 6800)])
def test_the_draws_that_protocol_2_names(share: int, about: int) -> None:
    needed = needed_draws(l2_radius(Fraction(1, share), VALUES), 16, images=200)
    assert needed == pytest.approx(about, rel=0.01)


@pytest.mark.parametrize(("images", "sigma", "radius"), [(1, 1.0, 0.0), (200, 16.0, 12.0), (20, 2.0, 5.0)])
def test_one_draw_fewer_bounds_nothing(images: int, sigma: float, radius: float) -> None:
    needed = needed_draws(radius, sigma, images)
    for count, finite in ((needed, True), (needed - 1, False)):
        low, high = quantile_bounds(np.arange(float(count))[:, None], sigma, radius, 0.05 / images)
        assert bool(np.isfinite([*low, *high]).all()) is finite


def test_rungs_need_a_thousand_draws_and_their_own_number() -> None:
    ladder = [Fraction(1, 1024), Fraction(1, 64), Fraction(1, 4), Fraction(4)]
    few = rungs(ladder, VALUES, 16.0, 999, 200)
    enough = rungs(ladder, VALUES, 16.0, 1000, 200)
    assert [r.certifiable for r in few] == [False] * len(few)
    assert [(r.budget, r.certifiable) for r in enough[:2]] == [(Fraction(1, 1024), True), (Fraction(1, 64), False)]
    assert [r.budget for r in enough] == ladder[:3]  # 4 levels on every value are 97 sigma: beyond any number of draws
    with pytest.raises(UsageError, match="no number of draws"):
        needed_draws(l2_radius(Fraction(4), VALUES), 16.0, 200)


@pytest.mark.parametrize("draws", [1, 2, 25, 1000, 1001])
def test_the_deployed_median_falls_below_its_quantile_as_rarely_as_promised(draws: int) -> None:
    level = 0.01
    quantile = deployed_quantile(draws, level)
    at_least_half = stats.binom.sf(math.ceil(draws / 2) - 1, draws, quantile)
    assert at_least_half == pytest.approx(level)
    assert stats.binom.sf(math.ceil(draws / 2) - 1, draws, quantile + 0.01) > level
    with pytest.raises(UsageError, match="level"):
        deployed_quantile(draws, 0.0)


def test_the_bounds_of_many_images_hold_jointly_for_a_moved_image() -> None:
    rng = np.random.default_rng(0)
    images, draws, sigma, radius, alpha = 10, 400, 1.0, 0.6, 0.2
    wrong = 0
    for _ in range(300):  # the score is linear along the move, so its smoothed value moves by exactly the radius
        low, high = quantile_bounds(rng.normal(0, sigma, (draws, images)), sigma, radius, alpha / images)
        wrong += bool((low > -radius).any())
        assert (low < high).all()
    assert wrong / 300 < alpha + 0.05
    low, _ = quantile_bounds(rng.normal(0, sigma, (200_000, 1)), sigma, radius, alpha)
    assert low[0] == pytest.approx(-radius, abs=0.01)  # and is tight with many draws


def test_a_deployed_median_of_few_draws_costs() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    draws = rng.normal(size=(2000, 40)) + 2 * labels
    population = certified_auroc(labels, draws, 1.0, 0.7, 40)
    assert population == 1.0
    assert certified_auroc(labels, draws, 1.0, 0.7, 40, deployed=100_001) == 1.0
    assert certified_auroc(labels, draws, 1.0, 0.7, 40, deployed=25) < 0.5


def test_the_deployed_median_stays_within_its_bounds() -> None:
    rng = np.random.default_rng(2)
    alpha, images, deployed, radius = 0.2, 5, 101, 0.5
    level = alpha / images / 2
    wrong = 0
    for _ in range(300):
        draws = rng.normal(size=(2000, images))
        low, _ = quantile_bounds(draws, 1.0, radius, level, deployed_quantile(deployed, level))
        medians = np.median(rng.normal(-radius, 1.0, (deployed, images)), axis=0)
        wrong += bool((medians < low).any())
    assert wrong / 300 < alpha
    assert wrong > 0  # without slack the bound is wrong far more often
    low, _ = quantile_bounds(rng.normal(size=(2000, 1)), 1.0, radius, level)
    medians = np.median(rng.normal(-radius, 1.0, (deployed, 2000)), axis=0)
    assert np.mean(medians < low) > 0.1
