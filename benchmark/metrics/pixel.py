"""Pixel metrics, DEFINED on 1,024 bins spanning the category's clean map range (PROTOCOL section 6).

Every metric is a function of the histograms alone, so that it can be recomputed without the maps. Within a bin
normal and defect pixels are taken as evenly mixed; this keeps the values within 1e-3 of the exact ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Concatenate, ParamSpec

import numpy as np
import numpy.typing as npt
from scipy import integrate, ndimage

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Floats, Ints, Metric, MetricOutcome

BINS = 1024
EIGHT_CONNECTED = np.ones((3, 3), dtype=np.int8)
Histogram = npt.NDArray[np.int32]
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class PixelHistograms:
    """The pixel evidence of one condition of one category.

    Args:
        lo, hi: Range of the category's clean maps; values outside fall into the end bins.
        normal: Normal pixels of each image, int32 [images, 1024].
        regions: Pixels of each 8-connected ground-truth region, int32 [regions, 1024].
        excluded: Anomalous images left out because their mask is empty.
    """

    lo: float
    hi: float
    normal: Histogram
    regions: Histogram
    excluded: int = 0


def histogram_image(
    anomaly_map: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_ | np.integer], lo: float, hi: float
) -> tuple[Histogram, Histogram]:
    """Histograms of one map [H, W]: normal pixels [1024], and each 8-connected region of ``mask`` > 0 [regions, 1024].

    Raises:
        ContractError: map and mask differ in shape, or the map is not finite.
    """
    if anomaly_map.ndim != 2 or anomaly_map.shape != mask.shape:
        raise ContractError(f"map and mask are [H, W] of one size, got {anomaly_map.shape} and {mask.shape}")
    if not np.isfinite(anomaly_map).all():
        raise ContractError("the anomaly map has NaN or infinite values")
    region, count = ndimage.label(mask > 0, structure=EIGHT_CONNECTED)
    cells = region.astype(np.int64) * BINS + _bin(anomaly_map, lo, hi)
    table = np.bincount(cells.ravel(), minlength=(count + 1) * BINS).astype(np.int32).reshape(count + 1, BINS)
    return table[0], table[1:]


def _bin(values: npt.NDArray[np.floating], lo: float, hi: float) -> Ints:
    if not hi > lo:
        return np.where(values > lo, BINS - 1, 0).astype(np.int64)
    scaled = (values.astype(np.float64) - lo) * (BINS / (hi - lo))
    return np.clip(scaled, 0, BINS - 1).astype(np.int64)


def _histogram_metric(
    function: Callable[Concatenate[Floats, Floats, P], float],
) -> Callable[Concatenate[PixelHistograms, P], MetricOutcome]:
    """Turn a formula on (normal [1024], regions [r, 1024]), highest bin first, into a metric with named failures."""

    @wraps(function)
    def wrapper(found: PixelHistograms, /, *args: P.args, **kwargs: P.kwargs) -> MetricOutcome:
        normal = found.normal.sum(axis=0, dtype=np.float64)[::-1]
        regions = found.regions.astype(np.float64)[:, ::-1]
        n = int(normal.sum() + regions.sum())
        if not len(regions):
            return MetricOutcome(None, n, "no defect pixels")
        if not normal.any():
            return MetricOutcome(None, n, "no normal pixels")
        return MetricOutcome(function(normal, regions, *args, **kwargs), n)

    return wrapper


@_histogram_metric
def pixel_auroc(normal: Floats, regions: Floats) -> float:
    """AUROC of all pixels of the category pooled; pixels that share a bin are ties, 1/2."""
    defect = regions.sum(axis=0)
    wins = defect @ (normal.sum() - np.cumsum(normal) + normal / 2)
    return float(wins / (defect.sum() * normal.sum()))


@_histogram_metric
def pixel_average_precision(normal: Floats, regions: Floats) -> float:
    """Integral of precision over recall, pixels pooled.

    Within a bin that holds d defect and f normal pixels after D and F flagged ones, precision is
    (D + t) / (D + t + F + t f/d) for t in [0, d] (Davis & Goadrich 2006); the integral is closed-form.
    """
    defect = regions.sum(axis=0)
    used = defect > 0
    hits, alarms = np.cumsum(defect)[used], np.cumsum(normal)[used]
    d, f = defect[used], normal[used]
    before, flagged = hits - d, hits + alarms - d - f
    growth = 1 + f / d
    offset = before - flagged / growth  # integrand = (t + before) / (growth t + flagged)
    log_ratio = np.log1p(growth * d / np.where(flagged > 0, flagged, 1.0))  # the offset is 0 where none is flagged
    return float(np.sum(d / growth + offset / growth * log_ratio) / defect.sum())


@_histogram_metric
def pixel_f1_max(normal: Floats, regions: Floats) -> float:
    """Best F1 over all bin edges as threshold, chosen on the evaluated pixels (an oracle value)."""
    hits = np.cumsum(regions.sum(axis=0))
    return float(np.max(2 * hits / (hits + np.cumsum(normal) + hits[-1])))


@_histogram_metric
def aupro(normal: Floats, regions: Floats, fpr_limit: float = 0.3) -> float:
    """Area under per-region overlap against false positive rate up to ``fpr_limit``, divided by the limit.

    Overlap = mean over ground-truth regions of the share of its pixels flagged; FPR over the normal pixels of all
    images (Bergmann et al. 2021).
    """
    overlap = np.cumsum(regions / regions.sum(axis=1, keepdims=True), axis=1).mean(axis=0)
    return area_to_limit(np.cumsum(normal) / normal.sum(), overlap, fpr_limit)


def area_to_limit(fpr: Floats, overlap: Floats, limit: float) -> float:
    """Trapezoidal area under overlap(fpr), both rising to 1, from fpr 0 to ``limit``, divided by ``limit``."""
    x, y = np.concatenate([[0.0], fpr]), np.concatenate([[0.0], overlap])
    inside = int(np.searchsorted(x, limit, side="right"))
    edge = np.interp(limit, x[inside - 1 : inside + 1], y[inside - 1 : inside + 1])
    area = integrate.trapezoid(np.append(y[:inside], edge), np.append(x[:inside], limit))
    return float(area / limit)


PIXEL_AUROC = Metric("pixel_auroc", 1, True, (0, 1), "pixel", "pixels", "P(s+ > s-) + ties/2", pixel_auroc)
PIXEL_AVERAGE_PRECISION = Metric(
    "pixel_average_precision",
    1,
    True,
    (0, 1),
    "pixel",
    "pixels",
    "integral precision d recall",
    pixel_average_precision,
)
PIXEL_F1_MAX = Metric("pixel_f1_max", 1, True, (0, 1), "pixel", "pixels", "max_t F1(t)", pixel_f1_max)
AUPRO_30 = Metric(
    "aupro", 1, True, (0, 1), "pixel", "pixels", "area(PRO, FPR <= 0.3) / 0.3", partial(aupro, fpr_limit=0.3)
)
AUPRO_5 = Metric(
    "aupro_5",
    1,
    True,
    (0, 1),
    "pixel",
    "pixels",
    "area(PRO, FPR <= 0.05) / 0.05",
    partial(aupro, fpr_limit=0.05),
)
