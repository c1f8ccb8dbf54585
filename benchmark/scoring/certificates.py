"""Certificates by median smoothing (Chiang et al. 2020): bounds on the score of the SMOOTHED detector, in continuous
L2.

The smoothed score is the median of the detector's score under Gaussian noise. Within an L2 ball of radius r the median
cannot leave the Phi(-r/sigma) and Phi(+r/sigma) quantiles at the clean image; order statistics of the draws bound those
quantiles. The support is assumed clean. In L-infinity the certificate is all but empty: budget = 1/255 at 112 px is an
L2 radius of up to 0.76.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from benchmark.errors import UsageError
from benchmark.metrics.outcome import Floats
from benchmark.metrics.ranking import auroc_value
from benchmark.types.attack import keyed_seed

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.types.detector import Prediction

DRAWS = 100


def smooth_scores(
    fitted: Callable[[Tensor], Prediction],
    images: Tensor,
    sample_ids: tuple[str, ...],
    sigma: float,
    draws: int = DRAWS,
) -> Floats:
    """Scores [draws, B] under Gaussian noise keyed by the sample id; the smoothed score is their median.

    Args:
        fitted: The detector, or anything that scores its images.
        images: Canonical uint8 [B, 3, H, W].
        sample_ids: B ids.
        sigma: Standard deviation in [0, 1] units. Noisy images are not clipped.
        draws: Noise draws.
    """
    import torch

    clean = images.float() / 255.0
    generators = [torch.Generator().manual_seed(keyed_seed(name, "smoothing", repr(sigma))) for name in sample_ids]
    found = []
    for _ in range(draws):
        noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for generator in generators])
        found.append(fitted(clean + sigma * noise.to(clean.device)).score.double().cpu().numpy())
    return np.stack(found)


def quantile_bounds(draws: Floats, sigma: float, radius: float, level: float) -> tuple[Floats, Floats]:
    """Lower and upper bounds [B] of the smoothed score within an L2 radius, each one-sided at level ``level``.

    Infinite where the draws are too few to bound the quantile.

    Args:
        draws: Scores [n, B].
        sigma: Noise of the draws.
        radius: L2 radius in [0, 1] units over all values of an image.
        level: Chance that a bound is wrong.
    """
    if sigma <= 0 or radius < 0 or not 0 < level < 1:
        raise UsageError(
            f"sigma={sigma}, radius={radius}, level={level}: need sigma > 0, radius >= 0 and 0 < level < 1"
        )
    ordered, count = np.sort(draws, axis=0), len(draws)
    share = float(norm.cdf(-radius / sigma))
    # The k-th smallest draw is below the quantile unless fewer than k draws are: Binomial(count, share) < k.
    below = int(np.sum(binom.cdf(np.arange(count), count, share) <= level))
    infinite = np.full(ordered.shape[1], np.inf)
    if below == 0:
        return -infinite, infinite
    return ordered[below - 1], ordered[count - below]


def certified_auroc(
    labels: NDArray[np.bool_], draws: Floats, sigma: float, radius: float, images: int, alpha: float = 0.05
) -> float:
    """Lower bound of the smoothed detector's two-sided AUROC within an L2 radius.

    Every image gets its bound at level alpha / N: the lower end for anomalies, the upper end for normals; ties count 0.

    Args:
        labels: 0/1 [n], both present.
        draws: Scores under noise [draws, n].
        sigma: Noise of the draws.
        radius: L2 radius in [0, 1] units over all values of an image.
        images: N, all images of the table that shares alpha: with chance alpha at most any of its bounds is wrong.
        alpha: See above.
    """
    low, high = quantile_bounds(draws, sigma, radius, alpha / images)
    return auroc_value(low[labels == 1], high[labels == 0], ties="lost")
