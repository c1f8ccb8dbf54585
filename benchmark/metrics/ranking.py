"""Metrics of the order of the scores alone: AUROC, average precision and the oracle F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmark.metrics.outcome import Bools, Floats, Ints, Metric, labelled

Ties = Literal["half", "lost"]


def placements(positive: Floats, negative: Floats, ties: Ties = "half") -> Floats:
    """For each positive score [p], how many of the negatives [n] it beats; a tie counts 1/2 or, ``lost``, 0."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    if ties == "lost":
        return below.astype(np.float64)
    return (below + np.searchsorted(ordered, positive, side="right")) / 2


def auroc_value(positive: Floats, negative: Floats, ties: Ties = "half") -> float:
    """Share of (positive, negative) pairs in the right order; both arrays must have a sample."""
    return float(placements(positive, negative, ties).sum() / (positive.size * negative.size))


@labelled
def auroc(labels: Bools, scores: Floats) -> float:
    """Probability that an anomalous sample scores above a normal one, ties 1/2 (Mann-Whitney)."""
    return auroc_value(scores[labels], scores[~labels])


@labelled
def auroc_robust(labels: Bools, scores: Floats) -> float:
    """AUROC in which a tied pair counts 0: under attack a detector that saturates earns nothing for it."""
    return auroc_value(scores[labels], scores[~labels], ties="lost")


@dataclass(frozen=True, slots=True)
class Cuts:
    """All distinct decisions "flag the highest scores": one entry per distinct score, highest first."""

    score: Floats  # lowest flagged score
    flagged: Ints  # how many samples are flagged
    hits: Ints  # how many of them are anomalous


def cuts(labels: Bools, scores: Floats) -> Cuts:
    """Count flagged samples and hits for every distinct score used as a threshold; tied samples stay together."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    return Cuts(ordered[last], last + 1, np.cumsum(labels[order], dtype=np.int64)[last])


def f1_of_cuts(found: Cuts, anomalous: int) -> Floats:
    """F1 of every cut. Equal fractions give equal floats, so ties are exact."""
    return 2 * found.hits / (found.flagged + anomalous)


@labelled
def average_precision(labels: Bools, scores: Floats) -> float:
    """Sum over distinct scores of precision x gain in recall (no interpolation; scikit-learn's definition)."""
    found = cuts(labels, scores)
    gained = np.diff(found.hits, prepend=0)
    return float(np.sum(found.hits / found.flagged * gained) / labels.sum())


@labelled
def f1_max(labels: Bools, scores: Floats) -> float:
    """Best F1 over all thresholds, chosen WITH the evaluated labels: an oracle value, an upper bound of f1."""
    return float(f1_of_cuts(cuts(labels, scores), int(labels.sum())).max())


AUROC = Metric("auroc", 1, True, (0, 1), "image", "scores", "P(s+ > s-) + P(s+ = s-)/2", auroc)
AUROC_ROBUST = Metric("auroc_robust", 1, True, (0, 1), "image", "scores", "P(s+ > s-)", auroc_robust)
AVERAGE_PRECISION = Metric(
    "average_precision",
    1,
    True,
    (0, 1),
    "image",
    "scores",
    "sum_k precision_k (recall_k - recall_k-1)",
    average_precision,
)
F1_MAX = Metric("f1_max", 1, True, (0, 1), "image", "scores", "max_t F1(t), t chosen on the test labels", f1_max)
