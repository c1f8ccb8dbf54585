"""Cross-fitting with the labels of the test split: fitted on one fold of CLEAN query scores, applied to the other.

These numbers need labels that a deployment does not have; results name them ``crossfit``. ``support_only`` is the
label-free counterpart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from benchmark.calibration.calibrators import Calibrator
from benchmark.errors import ContractError, NotApplicableError
from benchmark.metrics.outcome import Bools, Floats, as_labels
from benchmark.metrics.threshold import best_f1_threshold

Folds = npt.NDArray[np.int8]
SET_ALPHA = 0.1


def fold_of(sample_ids: Sequence[str], labels: npt.ArrayLike) -> Folds:
    """Fold 0 or 1 of each sample [n]: within a label, sorted by SHA-256 of the id and dealt alternately.

    The same for every detector and attack. The two labels are dealt in opposite order, so that the folds differ by at
    most one sample of each label and one in all.

    Raises:
        ContractError: an id occurs twice.
    """
    if len(set(sample_ids)) != len(sample_ids):
        raise ContractError("sample ids are unique within an episode; give fold_of one row per image")
    positive = as_labels(labels)
    digests = np.array([hashlib.sha256(sample_id.encode()).hexdigest() for sample_id in sample_ids])
    folds = np.zeros(positive.size, dtype=np.int8)
    for label in (0, 1):
        members = np.flatnonzero(positive == bool(label))
        dealt = members[np.argsort(digests[members])]
        folds[dealt] = (np.arange(dealt.size) + label) % 2
    return folds


def crossfit_probabilities(
    calibrator: type[Calibrator],
    clean: npt.ArrayLike,
    labels: npt.ArrayLike,
    folds: Folds,
    scores: npt.ArrayLike | None = None,
) -> Floats:
    """Probabilities of ``scores`` [..., n], each from the calibrator fitted on the clean scores of the other fold.

    Args:
        calibrator: One of ``CALIBRATORS``.
        clean: Clean scores [n].
        labels: 0/1 [n].
        folds: From ``fold_of`` [n].
        scores: Scores to map, any leading shape (attacks, budgets), last axis aligned with ``clean``; default clean.

    Raises:
        NotApplicableError: a fold lacks a label; the message is the stored reason.
    """
    return _apply_other_fold(clean, labels, folds, scores, lambda s, y: calibrator.fit(s, y).probability)


def crossfit_thresholds(clean: npt.ArrayLike, labels: npt.ArrayLike, folds: Folds) -> Floats:
    """Threshold [n] for each sample: largest F1 on the clean scores of the other fold. Flag scores above (>) it."""

    def fit(scores: Floats, positive: Bools) -> Callable[[Floats], Floats]:
        threshold = best_f1_threshold(positive, scores)
        return lambda values: np.full(values.shape, threshold)

    return _apply_other_fold(clean, labels, folds, None, fit)


def crossfit_sets(
    clean: npt.ArrayLike,
    labels: npt.ArrayLike,
    folds: Folds,
    scores: npt.ArrayLike | None = None,
    alpha: float = SET_ALPHA,
) -> Bools:
    """Label-conditional conformal prediction sets, bool [..., n, 2] for (normal, anomalous), of ``scores`` [..., n].

    A label is in the set when its p-value, against the clean scores of that label in the other fold, is above
    ``alpha``: high scores speak against normal, low scores against anomalous (Vovk et al. 2005, Mondrian). On clean
    scores each label is covered with probability at least 1 - ``alpha``.

    Raises:
        NotApplicableError: a fold holds fewer samples of a label than ``alpha`` needs (1/alpha - 1).
    """
    return _apply_other_fold(clean, labels, folds, scores, lambda s, y: _set_map(s, y, alpha)) > 0


def _set_map(scores: Floats, positive: Bools, alpha: float) -> Callable[[Floats], Floats]:
    needed = int(np.ceil(1 / alpha - 1e-9)) - 1
    normal, anomalous = np.sort(scores[~positive]), np.sort(scores[positive])
    if min(normal.size, anomalous.size) < needed:
        reason = f"a fold has {normal.size} normal and {anomalous.size} anomalous samples, alpha = {alpha:g} needs"
        raise NotApplicableError(f"no prediction sets: {reason} {needed} of each")

    def sets(values: Floats) -> Floats:
        above = normal.size - np.searchsorted(normal, values, side="left")
        below = np.searchsorted(anomalous, values, side="right")
        p_values = np.stack([(1 + above) / (1 + normal.size), (1 + below) / (1 + anomalous.size)], axis=-1)
        return np.asarray(p_values > alpha, dtype=np.float64)

    return sets


def _apply_other_fold(
    clean: npt.ArrayLike,
    labels: npt.ArrayLike,
    folds: Folds,
    scores: npt.ArrayLike | None,
    fit: Callable[[Floats, Bools], Callable[[Floats], Floats]],
) -> Floats:
    """For each fold, ``fit`` on the other fold's clean scores and map this fold's ``scores``; output [..., n, *]."""
    fitting, positive = np.asarray(clean, dtype=np.float64), as_labels(labels)
    values = fitting if scores is None else np.asarray(scores, dtype=np.float64)
    if not fitting.shape == positive.shape == folds.shape == values.shape[-1:]:
        shapes = f"{fitting.shape} clean, {positive.shape} labels, {folds.shape} folds, {values.shape} scores"
        raise ContractError(f"scores to map end in the axis of the clean scores, labels and folds; got {shapes}")
    mapped: dict[int, Floats] = {}
    for fold in (0, 1):
        other = folds != fold
        mapped[fold] = fit(fitting[other], positive[other])(values[..., ~other])
    result = np.empty(values.shape + mapped[0].shape[values.ndim :])
    for fold, part in mapped.items():
        np.moveaxis(result, values.ndim - 1, 0)[folds == fold] = np.moveaxis(part, values.ndim - 1, 0)
    return result
