"""Pixel metrics of a result, from histogram evidence alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmark.metrics import METRICS
from benchmark.metrics.outcome import MetricOutcome
from benchmark.metrics.pixel import PixelHistograms
from benchmark.results.evidence import dense_histograms
from benchmark.results.rows import MetricValue
from benchmark.scoring.means import over_categories, over_seeds

if TYPE_CHECKING:
    import pandas as pd

PIXEL_METRICS = ("pixel_auroc", "pixel_average_precision", "pixel_f1_max", "aupro", "aupro_5")
BY_CATEGORY = frozenset({"pixel_auroc", "aupro"})
CONDITION = ["shots", "attack", "goal", "budget"]


def pixel_values(pixels: pd.DataFrame, labels: Mapping[str, int]) -> Iterator[MetricValue]:
    """Macro means over seeds and categories, and values by category.

    Args:
        pixels: Evidence rows; see `benchmark.results.evidence`.
        labels: Label of every sample id, to leave out anomalous images with an empty mask.
    """
    for key, part in pixels.groupby(CONDITION, dropna=False, sort=True):
        shots, attack, goal, budget = (_none(value) for value in cast("tuple[Any, ...]", key))
        where = {"shots": int(shots), "attack": attack, "goal": goal, "budget": budget}
        by_category: dict[str, list[dict[str, MetricOutcome]]] = {}
        for (category, _), rows in part.groupby(["category", "seed"], sort=True):
            by_category.setdefault(str(category), []).append(_episode(rows, labels))
        for name in PIXEL_METRICS:
            yield from _values(name, by_category, where)


def _episode(rows: pd.DataFrame, labels: Mapping[str, int]) -> dict[str, MetricOutcome]:
    counts = dense_histograms(rows)
    region = rows["region"].to_numpy()
    with_defect = set(rows.loc[region >= 0, "sample_id"])
    empty = rows["sample_id"].map(lambda i: labels[i] == 1 and i not in with_defect).to_numpy(bool)
    found = PixelHistograms(
        lo=float(rows["low"].iloc[0]),
        hi=float(rows["high"].iloc[0]),
        normal=counts[(region == -1) & ~empty],
        regions=counts[region >= 0],
        excluded=int(empty.sum()),
    )
    return {name: METRICS.get(name).function(found) for name in PIXEL_METRICS}


def _values(
    name: str, by_category: Mapping[str, list[dict[str, MetricOutcome]]], where: Mapping[str, Any]
) -> Iterator[MetricValue]:
    means = {c: over_seeds([outcomes[name] for outcomes in seeds]) for c, seeds in by_category.items()}
    total = over_categories(means)
    if name in BY_CATEGORY:
        for category, mean in means.items():
            yield MetricValue(metric=name, category=category, value=mean.value, n=mean.n, reason=mean.reason, **where)
    yield MetricValue(metric=name, value=total.value, n=total.n, reason=total.reason, **where)


def _none(value: Any) -> Any:
    return None if value is None or (isinstance(value, float) and np.isnan(value)) else value
