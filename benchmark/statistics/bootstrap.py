"""Stratified paired bootstrap of images, vectorised over conditions and resamples.

Resamples are counts [n, resamples] of how often each image of a category was drawn, within its label. One image fewer
than the label holds is drawn, which makes the variance of a mean unbiased in small categories (Rao & Wu 1988; at 10
images per label the usual draw understates it by a tenth). They depend on a key and the labels alone: give every
detector, seed and attack of a category the same key, with the rows in the order of their sample ids, and all of them
are resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from benchmark.errors import NotApplicableError
from benchmark.metrics.outcome import Floats, as_labels
from benchmark.metrics.ranking import Ties
from benchmark.metrics.threshold import Confusion
from benchmark.seeding import keyed_rows
from benchmark.statistics.intervals import LEVEL, Interval

Counts = npt.NDArray[np.int32]
REPLICATES = 200  # stored with a result, per data set
RESAMPLES = 1000  # for intervals


def resample_counts(labels: npt.ArrayLike, key: str, resamples: int = RESAMPLES) -> Counts:
    """How often each of n images is drawn, read-only int32 [n, resamples]: with replacement, m - 1 of a label's m."""
    return _drawn(as_labels(labels).tobytes(), key, resamples)


@lru_cache(maxsize=64)
def _drawn(labels: bytes, key: str, resamples: int) -> Counts:
    """Drawn once for all conditions, shots and seeds of a category."""
    positive = np.frombuffer(labels, np.bool_)
    counts = np.zeros((positive.size, resamples), dtype=np.int32)
    for label in (0, 1):
        members = np.flatnonzero(positive == bool(label))
        draws = max(members.size - 1, min(members.size, 1))
        start = 0
        for uniforms in keyed_rows(f"{key}/{label}", resamples, draws):
            some = len(uniforms)
            cells = (uniforms * members.size).astype(np.int64) + np.arange(some)[:, None] * members.size
            table = np.bincount(cells.ravel(), minlength=some * members.size)
            counts[members, start : start + some] = table.reshape(some, members.size).T
            start += some
    counts.flags.writeable = False
    return counts


def auroc_replicates(labels: npt.ArrayLike, scores: Floats, counts: Counts, ties: Ties = "half") -> Floats:
    """AUROC of each condition in each resample, [conditions, resamples].

    Args:
        labels: 0/1 [n], both present.
        scores: Finite scores [conditions, n].
        counts: From ``resample_counts`` [n, resamples].
        ties: ``lost`` gives auroc_robust.
    """
    positive = as_labels(labels)
    weights, others = counts[positive], counts[~positive]
    wins = np.empty((len(scores), counts.shape[1]))
    below = np.zeros((len(others) + 1, counts.shape[1]), dtype=np.int32)
    for row, values in enumerate(scores):
        order = np.argsort(values[~positive], kind="stable")
        np.cumsum(others[order], axis=0, out=below[1:])
        negatives = values[~positive][order]
        first = np.searchsorted(negatives, values[positive], side="left")
        wins[row] = _weighted_sum(weights, below, first)
        if ties == "half":
            last = np.searchsorted(negatives, values[positive], side="right")
            tied = last > first
            wins[row] += _weighted_sum(weights[tied], below, last[tied]) / 2
            wins[row] -= _weighted_sum(weights[tied], below, first[tied]) / 2
    return np.asarray(wins / (weights.sum(axis=0, dtype=np.float64) * others.sum(axis=0)))


def average_precision_replicates(labels: npt.ArrayLike, scores: Floats, counts: Counts) -> Floats:
    """Average precision of each condition in each resample, [conditions, resamples]; arguments as for AUROC."""
    positive = as_labels(labels)
    result = np.empty((len(scores), counts.shape[1]))
    for row, values in enumerate(scores):
        order = np.argsort(-values, kind="stable")
        last = np.append(np.flatnonzero(np.diff(values[order])), values.size - 1)
        flagged = np.cumsum(counts[order], axis=0)[last]
        hits = np.cumsum(counts[order] * positive[order, None], axis=0)[last]
        gained = np.diff(hits, axis=0, prepend=0)
        result[row] = (hits / np.maximum(flagged, 1) * gained).sum(axis=0) / hits[-1]
    return result


def _weighted_sum(weights: Counts, below: Counts, index: npt.NDArray[np.intp]) -> Floats:
    """Sum over rows of weights [p, resamples] x below[index] [p, resamples]."""
    return np.asarray(np.einsum("pb,pb->b", weights, below[index], dtype=np.float64))


def mean_replicates(labels: npt.ArrayLike, values: Floats, counts: Counts) -> Floats:
    """Mean of per-sample values [conditions, n] (losses, coverage) in each resample, [conditions, resamples].

    Each label keeps its share of the n samples.
    """
    positive = as_labels(labels)
    parts = [
        values[:, chosen] @ counts[chosen] * (chosen.mean() / counts[chosen].sum(axis=0))
        for chosen in (positive, ~positive)
        if chosen.any()
    ]
    return np.asarray(sum(parts))


def confusion_replicates(labels: npt.ArrayLike, flagged: npt.NDArray[np.bool_], counts: Counts) -> Confusion:
    """Confusion counts [conditions, resamples] of decisions [conditions, n]; its methods give the replicates."""
    positive = as_labels(labels)
    decisions = flagged.astype(np.float64)
    return Confusion(
        hits=decisions[:, positive] @ counts[positive],
        false_alarms=decisions[:, ~positive] @ counts[~positive],
        anomalous=counts[positive].sum(axis=0),
        normal=counts[~positive].sum(axis=0),
    )


def macro_mean(replicates: Sequence[Floats]) -> Floats:
    """Mean over categories of equally shaped replicates; a category with a NaN is left out of all resamples.

    Raises:
        NotApplicableError: no category is left.
    """
    whole = [part for part in replicates if np.isfinite(part).all()]
    if not whole:
        raise NotApplicableError("no category has a value in every resample")
    return np.asarray(np.mean(whole, axis=0))


def macro_auroc_replicates(
    categories: Mapping[str, tuple[npt.ArrayLike, Floats]],
    dataset: str,
    resamples: int = RESAMPLES,
    ties: Ties = "half",
) -> Floats:
    """Replicates of the macro mean AUROC of each condition, [conditions, resamples].

    Args:
        categories: Name -> labels [n] and scores [conditions, n], rows in the order of the sample ids. Average over
            the seeds of a condition afterwards: they share the resamples.
        dataset: With the category's name, the key of the resamples.
        resamples: ``REPLICATES`` for storing, more for intervals.
        ties: ``lost`` gives auroc_robust.
    """
    return macro_mean(
        [
            auroc_replicates(labels, scores, resample_counts(labels, f"{dataset}/{name}", resamples), ties)
            for name, (labels, scores) in sorted(categories.items())
        ]
    )


def percentile_interval(replicates: Floats, level: float = LEVEL) -> Interval:
    """The central ``level`` of replicates [resamples]."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
