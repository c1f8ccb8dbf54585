"""Metrics of decisions at a threshold. A sample is flagged when its score is above (>) the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.errors import NotApplicableError
from benchmark.metrics.outcome import Bools, Floats, Metric, as_labels, degenerate, labelled
from benchmark.metrics.ranking import cuts, f1_of_cuts

Counts = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of decisions; arrays of any one shape, so that one formula serves many conditions or resamples.

    Every formula expects at least one anomalous and one normal sample in each entry.
    """

    hits: Counts
    false_alarms: Counts
    anomalous: Counts
    normal: Counts

    def f1(self) -> Floats:
        """2 TP / (2 TP + FP + FN)."""
        return np.asarray(2 * self.hits / (self.hits + self.false_alarms + self.anomalous), dtype=np.float64)

    def true_rates(self) -> tuple[Floats, Floats]:
        """Share of anomalous samples flagged (TPR) and of normal samples not flagged (TNR)."""
        return np.asarray(self.hits / self.anomalous), np.asarray(1 - self.false_alarms / self.normal)

    def g_mean(self) -> Floats:
        """sqrt(TPR x TNR)."""
        tpr, tnr = self.true_rates()
        return np.sqrt(tpr * tnr)

    def balanced_accuracy(self) -> Floats:
        """(TPR + TNR) / 2."""
        tpr, tnr = self.true_rates()
        return (tpr + tnr) / 2

    def mcc(self) -> Floats:
        """Matthews correlation of label and decision; 0 where every decision is the same (its limit)."""
        tpr, tnr = self.true_rates()
        share = np.asarray((self.hits + self.false_alarms) / (self.anomalous + self.normal))
        prevalence = np.asarray(self.anomalous / (self.anomalous + self.normal))
        varied = (share > 0) & (share < 1)
        scale = np.sqrt(prevalence * (1 - prevalence) / np.where(varied, share * (1 - share), 1))
        return np.where(varied, (tpr + tnr - 1) * scale, 0.0)


def confusion(labels: Bools, flagged: npt.NDArray[Any]) -> Confusion:
    """Counts of decisions ``flagged`` [..., n] about samples of ``labels`` [n]."""
    hits, false_alarms = flagged[..., labels].sum(axis=-1), flagged[..., ~labels].sum(axis=-1)
    return Confusion(hits, false_alarms, labels.sum(), (~labels).sum())


@labelled
def f1(labels: Bools, flagged: Floats) -> float:
    """Harmonic mean of precision and recall of the decisions; 0 when nothing is flagged."""
    return float(confusion(labels, flagged).f1())


@labelled
def flag_everything_f1(labels: Bools, flagged: Floats) -> float:
    """F1 of flagging every sample: what F1 pays for no detection at all, to be read beside f1."""
    return float(confusion(labels, np.ones_like(flagged)).f1())


@labelled
def g_mean(labels: Bools, flagged: Floats) -> float:
    """Geometric mean of the true positive and the true negative rate."""
    return float(confusion(labels, flagged).g_mean())


@labelled
def balanced_accuracy(labels: Bools, flagged: Floats) -> float:
    """Mean of the true positive and the true negative rate."""
    return float(confusion(labels, flagged).balanced_accuracy())


@labelled
def mcc(labels: Bools, flagged: Floats) -> float:
    """Matthews correlation coefficient; 0 when all decisions are the same."""
    return float(confusion(labels, flagged).mcc())


def best_f1_threshold(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The threshold of largest F1: the midpoint of the highest optimal interval between two distinct scores.

    Where flagging everything is best, the largest float below every score.

    Raises:
        NotApplicableError: only one label, or non-finite scores; the message is the reason.
    """
    positive, values = as_labels(labels), np.asarray(scores, dtype=np.float64)
    reason = degenerate(positive, values)
    if reason is not None:
        raise NotApplicableError(f"no threshold can be fitted: {reason}")
    found = cuts(positive, values)
    best = int(np.argmax(f1_of_cuts(found, int(positive.sum()))))  # argmax takes the first, that is the highest
    if best + 1 == found.score.size:
        return float(np.nextafter(found.score[best], -np.inf))
    return float((found.score[best] + found.score[best + 1]) / 2)


F1 = Metric("f1", 1, True, (0, 1), "image", "decisions", "2 TP / (2 TP + FP + FN)", f1)
FLAG_EVERYTHING_F1 = Metric(
    "flag_everything_f1", 1, None, (0, 1), "image", "decisions", "2 P / (2 P + N)", flag_everything_f1
)
G_MEAN = Metric("g_mean", 1, True, (0, 1), "image", "decisions", "sqrt(TPR TNR)", g_mean)
BALANCED_ACCURACY = Metric(
    "balanced_accuracy", 1, True, (0, 1), "image", "decisions", "(TPR + TNR) / 2", balanced_accuracy
)
MCC = Metric("mcc", 1, True, (-1, 1), "image", "decisions", "corr(label, decision)", mcc)
