"""Thresholds and p-values without any label: conformal, from leave-one-out scores of the support images.

A leave-one-out score is the score of one support image by the detector fitted on the others. Fitted on one image
less than the detector in use, they make coverage approximate: it is measured, not guaranteed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmark.errors import NotApplicableError
from benchmark.metrics.outcome import Floats, non_finite


def support_threshold(leave_one_out: npt.ArrayLike, alpha: float | None = None) -> float:
    """Score above (>) which an image is flagged, at a nominal share ``alpha`` of false alarms.

    Args:
        leave_one_out: Scores of the k support images [k].
        alpha: At least 1/(k + 1), which is the default (the largest score); 0.05 therefore needs k >= 19.

    Raises:
        NotApplicableError: k <= 1, or alpha is too small for k; the message is the stored reason.
    """
    scores = _usable(leave_one_out)
    level = 1 / (scores.size + 1) if alpha is None else alpha
    rank = int(np.ceil((scores.size + 1) * (1 - level) - 1e-9))
    if rank > scores.size:
        needed = int(np.ceil(1 / level - 1e-9)) - 1
        raise NotApplicableError(f"alpha = {level:g} needs at least {needed} support images, got {scores.size}")
    return float(np.sort(scores)[rank - 1])


def support_p_values(leave_one_out: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
    """Conformal p-values (1 + #{leave-one-out >= score}) / (k + 1) of scores of any shape; small = anomalous.

    Raises:
        NotApplicableError: k <= 1; the message is the stored reason.
    """
    reference = np.sort(_usable(leave_one_out))
    at_least = reference.size - np.searchsorted(reference, np.asarray(scores, dtype=np.float64), side="left")
    return np.asarray((1 + at_least) / (1 + reference.size), dtype=np.float64)


def _usable(leave_one_out: npt.ArrayLike) -> Floats:
    scores = np.asarray(leave_one_out, dtype=np.float64)
    if scores.size <= 1:
        raise NotApplicableError(f"leave-one-out needs at least 2 support images, got {scores.size}")
    reason = non_finite(scores)
    if reason is not None:
        raise NotApplicableError(f"leave-one-out scores: {reason}")
    return scores
