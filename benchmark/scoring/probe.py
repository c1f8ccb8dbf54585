"""The tables of the experiments beside the grid, from `probes` evidence (`benchmark.execution.probes`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmark.errors import ResultError
from benchmark.metrics import METRICS
from benchmark.metrics.outcome import Bools, Floats, MetricOutcome
from benchmark.metrics.ranking import Ties
from benchmark.planning.jobs import LEAVE_ONE_OUT
from benchmark.results.rows import ProbeValue
from benchmark.scoring.episodes import EpisodeScores
from benchmark.scoring.means import over_categories, over_seeds
from benchmark.statistics.bootstrap import RESAMPLES, macro_auroc_replicates, percentile_interval
from benchmark.statistics.certificates import certified_auroc

if TYPE_CHECKING:
    import pandas as pd

RADII = (0.25, 0.5, 1.0)
"""L2 radii of the certificates, in units of sigma."""


@dataclass(frozen=True)
class Probed:
    """One experiment on the images of one episode, sorted by id.

    Attributes:
        labels: bool [n].
        clean: Clean scores [n].
        draws: Scores of the experiment [draws, n]; one draw except for ``smoothing``.
    """

    category: str
    seed: int
    labels: Bools
    clean: Floats
    draws: Floats

    @cached_property
    def median(self) -> Floats:
        """Smoothed scores [n]; of a single draw the scores themselves."""
        return np.asarray(np.median(self.draws, axis=0))


def probe_values(probes: pd.DataFrame, episodes: Sequence[EpisodeScores], dataset: str) -> Iterator[ProbeValue]:
    """Values by category and their macro mean.

    Args:
        probes: As `benchmark.results.evidence.read_probes` gives it, one detector and data set.
        episodes: The clean scores of the same result.
        dataset: Key of the bootstrap.

    Raises:
        ResultError: If a probed image has no clean score.
    """
    clean = {(e.shots, e.category, e.seed): e for e in episodes}
    others = probes[probes["probe"] != LEAVE_ONE_OUT]
    for (probe, value, shots), rows in _groups(others, ["probe", "value", "shots"]):
        table = [
            _probed(part, clean.get((shots, category, seed)))
            for (category, seed), part in _groups(rows, ["category", "seed"])
        ]
        where = {"probe": probe, "parameter": value, "shots": shots}
        yield from _certificates(table, where, dataset) if probe == "smoothing" else _attacked(table, where, dataset)


def leave_one_out(probes: pd.DataFrame | None) -> dict[tuple[int, str, int], Floats]:
    """Leave-one-out scores [k] of the support images by (shots, category, seed)."""
    if probes is None:
        return {}
    found = _groups(probes[probes["probe"] == LEAVE_ONE_OUT], ["shots", "category", "seed"])
    return {key: part["score"].to_numpy(np.float64) for key, part in found}


def _groups(rows: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Groups by their key as plain Python values, sorted."""
    for key, part in rows.groupby(columns, sort=True):
        yield tuple(v.item() if hasattr(v, "item") else v for v in cast("tuple[Any, ...]", key)), part


def _probed(rows: pd.DataFrame, episode: EpisodeScores | None) -> Probed:
    wide = rows.pivot(index="draw", columns="sample_id", values="score")
    place = {} if episode is None else {name: index for index, name in enumerate(episode.ids)}
    if episode is None or wide.isna().to_numpy().any() or not set(wide.columns) <= place.keys():
        raise ResultError(f"{rows['probe'].iloc[0]} has images without a clean score, or draws of some images only")
    index = [place[name] for name in wide.columns]
    scores = wide.to_numpy(np.float64)
    return Probed(episode.category, episode.seed, episode.labels[index], episode.clean[index], scores)


def _attacked(table: Sequence[Probed], where: Mapping[str, Any], dataset: str) -> Iterator[ProbeValue]:
    yield from _ranked("auroc", "auroc", [p.clean for p in table], table, where, dataset)
    yield from _ranked("auroc_robust", "auroc_robust", [p.median for p in table], table, where, dataset)


def _certificates(table: Sequence[Probed], where: Mapping[str, Any], dataset: str) -> Iterator[ProbeValue]:
    yield from _ranked("auroc", "auroc", [p.clean for p in table], table, where, dataset)
    yield from _ranked("smoothed_auroc", "auroc", [p.median for p in table], table, where, dataset)
    images = sum(p.labels.size for p in table)
    for share in RADII:
        radius = share * where["parameter"]
        bounds = [
            MetricOutcome(certified_auroc(p.labels, p.draws, where["parameter"], radius, images), p.labels.size)
            if 0 < p.labels.sum() < p.labels.size
            else MetricOutcome(None, p.labels.size, "one class only")
            for p in table
        ]
        yield from _rows("certified_auroc", bounds, table, {**where, "radius": radius}, None)


def _ranked(
    name: str, metric: str, scores: Sequence[Floats], table: Sequence[Probed], where: Mapping[str, Any], dataset: str
) -> Iterator[ProbeValue]:
    """An AUROC of given scores, with a bootstrap interval of the macro mean where every category has both classes."""
    outcomes = [METRICS.get(metric).function(p.labels, s) for p, s in zip(table, scores, strict=True)]
    interval = None
    if all(o.value is not None for o in outcomes):
        ties: Ties = "lost" if metric == "auroc_robust" else "half"
        by_category: dict[str, tuple[Bools, list[Floats]]] = {}
        for p, s in zip(table, scores, strict=True):
            by_category.setdefault(p.category, (p.labels, []))[1].append(s)
        stacked = {category: (labels, np.stack(seeds)) for category, (labels, seeds) in by_category.items()}
        interval = percentile_interval(macro_auroc_replicates(stacked, dataset, RESAMPLES, ties).mean(axis=0))
    limits = None if interval is None else (interval.low, interval.high)
    yield from _rows(name, outcomes, table, where, limits)


def _rows(
    name: str,
    outcomes: Sequence[MetricOutcome],
    table: Sequence[Probed],
    where: Mapping[str, Any],
    interval: tuple[float, float] | None,
) -> Iterator[ProbeValue]:
    categories = sorted({p.category for p in table})
    means = {c: over_seeds([o for o, p in zip(outcomes, table, strict=True) if p.category == c]) for c in categories}
    total = over_categories(means)
    low, high = interval or (None, None)
    yield ProbeValue(metric=name, value=total.value, low=low, high=high, n=total.n, reason=total.reason, **where)
    for category, mean in means.items():
        yield ProbeValue(metric=name, category=category, value=mean.value, n=mean.n, reason=mean.reason, **where)
