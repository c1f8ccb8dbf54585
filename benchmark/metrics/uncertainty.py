"""Does the detector know when it is wrong: entropy under attack, selective prediction, prediction sets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from benchmark.errors import ContractError
from benchmark.metrics.outcome import (
    Bools,
    Floats,
    Metric,
    MetricOutcome,
    as_labels,
    degenerate,
    missing_label,
    non_finite,
)
from benchmark.metrics.ranking import auroc_value

FPR_RECALL = 0.95


def entropy(probabilities: npt.ArrayLike) -> Floats:
    """Binary entropy in nats, 0 (sure) to ln 2 (p = 1/2), of probabilities of any shape; NaN stays NaN."""
    p = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(entr(p) + entr(1 - p))


def _mean_over_folds(
    clean: npt.ArrayLike,
    attacked: npt.ArrayLike,
    folds: npt.ArrayLike,
    value: Callable[[Floats, Floats], float],
) -> MetricOutcome:
    """Apply ``value(attacked, clean)`` within each fold and average by fold size."""
    before, after = np.asarray(clean, dtype=np.float64), np.asarray(attacked, dtype=np.float64)
    fold = np.asarray(folds)
    if not before.shape == after.shape == fold.shape:
        raise ContractError(f"entropies of the same images, got {before.shape} clean, {after.shape} attacked")
    reason = "no samples" if before.size == 0 else non_finite(before) or non_finite(after)
    if reason is not None:
        return MetricOutcome(None, before.size, reason)
    parts = [(fold == f) for f in np.unique(fold)]
    total = sum(part.sum() * value(after[part], before[part]) for part in parts)
    return MetricOutcome(float(total / before.size), before.size)


def entropy_auroc(clean: npt.ArrayLike, attacked: npt.ArrayLike, folds: npt.ArrayLike) -> MetricOutcome:
    """AUROC of entropy as a flag for attacks: attacked images positive, the same images clean negative.

    Args:
        clean, attacked: Entropies [n] of the same images in the same order.
        folds: Cross-fitting fold [n]; entropies of different calibrators are never compared.
    """
    return _mean_over_folds(clean, attacked, folds, auroc_value)


def entropy_fpr95(clean: npt.ArrayLike, attacked: npt.ArrayLike, folds: npt.ArrayLike) -> MetricOutcome:
    """Share of clean images flagged by the highest entropy threshold that flags 95 % of the attacked ones."""

    def false_flags(after: Floats, before: Floats) -> float:
        needed = int(np.ceil(FPR_RECALL * after.size - 1e-9))
        return float(np.mean(before >= np.sort(after)[after.size - needed]))

    return _mean_over_folds(clean, attacked, folds, false_flags)


def _accepted_errors(errors: Bools, confidence: Floats) -> Floats:
    """Expected errors among the k most confident samples, k = 1..n; ties are in random order."""
    values, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    rate = np.bincount(group, errors, values.size) / size
    return np.cumsum(np.repeat(rate, size))


def _selective(errors: npt.ArrayLike, confidence: npt.ArrayLike, *, joint: bool) -> MetricOutcome:
    wrong, sure = as_labels(errors), np.asarray(confidence, dtype=np.float64)
    if wrong.shape != sure.shape:
        raise ContractError(f"one confidence per decision is needed, got {wrong.shape} and {sure.shape}")
    reason = "no samples" if wrong.size == 0 else non_finite(sure)
    if reason is not None:
        return MetricOutcome(None, wrong.size, reason)
    accepted = wrong.size if joint else np.arange(1, wrong.size + 1)
    return MetricOutcome(float(np.mean(_accepted_errors(wrong, sure) / accepted)), wrong.size)


def aurc(errors: npt.ArrayLike, confidence: npt.ArrayLike) -> MetricOutcome:
    """Area under the risk-coverage curve: mean over k of the error rate of the k most confident decisions.

    Args:
        errors: 1 where the decision is wrong, [n].
        confidence: Any order-preserving confidence, e.g. 1 - entropy, [n].
    """
    return _selective(errors, confidence, joint=False)


def augrc(errors: npt.ArrayLike, confidence: npt.ArrayLike) -> MetricOutcome:
    """Area under the generalised risk-coverage curve (Traub et al. 2024): mean over k of errors accepted / n."""
    return _selective(errors, confidence, joint=True)


def coverage(labels: npt.ArrayLike, sets: npt.NDArray[np.bool_]) -> MetricOutcome:
    """Share of samples whose prediction set [n, 2] (normal, anomalous) holds the true label; needs both labels."""
    return _on_sets(labels, sets, lambda positive: sets[np.arange(positive.size), positive.astype(int)])


def set_size(labels: npt.ArrayLike, sets: npt.NDArray[np.bool_]) -> MetricOutcome:
    """Mean number of labels in the prediction sets [n, 2]: 1 = decided, 2 = undecided, 0 = neither label fits."""
    return _on_sets(labels, sets, lambda positive: sets.sum(axis=1))


def support_coverage(labels: npt.ArrayLike, p_values: npt.ArrayLike, alpha: float) -> MetricOutcome:
    """Share of normal samples whose conformal p-value [n] is above ``alpha``; needs both labels.

    Exchangeable normal samples are covered with probability at least 1 - ``alpha``.
    """
    positive, values = as_labels(labels), np.asarray(p_values, dtype=np.float64)
    reason = degenerate(positive, values)
    if reason is not None:
        return MetricOutcome(None, positive.size, reason)
    return MetricOutcome(float(np.mean(values[~positive] > alpha)), positive.size)


def _on_sets(
    labels: npt.ArrayLike, sets: npt.NDArray[np.bool_], value: Callable[[Bools], npt.NDArray[np.bool_ | np.integer]]
) -> MetricOutcome:
    positive = as_labels(labels)
    if sets.shape != (positive.size, 2):
        raise ContractError(f"prediction sets are bool [{positive.size}, 2], got {sets.shape}")
    reason = missing_label(positive)
    if reason is not None:
        return MetricOutcome(None, positive.size, reason)
    return MetricOutcome(float(np.mean(value(positive))), positive.size)


ENTROPY_AUROC = Metric(
    "entropy_auroc", 1, True, (0, 1), "image", "entropies", "P(H_attacked > H_clean) + ties/2", entropy_auroc
)
ENTROPY_FPR95 = Metric(
    "entropy_fpr95",
    1,
    False,
    (0, 1),
    "image",
    "entropies",
    "clean flagged where 95 % attacked are",
    entropy_fpr95,
)
AURC = Metric("aurc", 1, False, (0, 1), "image", "selective", "mean_k errors_k / k", aurc)
AUGRC = Metric("augrc", 1, False, (0, 1), "image", "selective", "mean_k errors_k / n", augrc)
COVERAGE = Metric("coverage", 1, None, (0, 1), "image", "sets", "P(y in set)", coverage)
SET_SIZE = Metric("set_size", 1, None, (0, 2), "image", "sets", "mean |set|", set_size)
SUPPORT_COVERAGE = Metric(
    "support_coverage", 1, None, (0, 1), "image", "p_values", "P(p-value of a normal > 1/(k+1))", support_coverage
)
