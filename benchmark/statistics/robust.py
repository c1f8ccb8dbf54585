"""The worst case over attacks, by goal, and the headline score R."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmark.errors import ContractError
from benchmark.metrics.outcome import Bools, Floats, as_labels
from benchmark.types.condition import Goal


def worst_case(
    labels: npt.ArrayLike, clean: npt.ArrayLike, attacked: npt.ArrayLike, goal: Goal = "two_sided"
) -> Floats:
    """Most harmful score of each sample [n]: lowest for attacked anomalies, highest for attacked normals.

    Args:
        labels: 0/1 [n].
        clean: Clean scores [n].
        attacked: Scores [conditions, n] of every attack up to the budget asked for that covers all images.
        goal: ``evasion`` leaves the normal images clean, ``false_alarm`` the anomalous ones.

    Raises:
        ContractError: a score is not finite, as those of an attack on part of the images are.

    >>> worst_case([1, 0], [0.9, 0.2], [[0.4, 0.1], [0.7, 0.8]]).tolist()
    [0.4, 0.8]
    >>> worst_case([1, 0], [0.9, 0.2], [[0.4, 0.1], [0.7, 0.8]], "evasion").tolist()
    [0.4, 0.2]
    """
    scores = np.vstack([np.asarray(clean, dtype=np.float64)[None], np.asarray(attacked, dtype=np.float64)])
    return selected_case(labels, scores, scores, goal)


def selected_case(
    labels: npt.ArrayLike, selecting: npt.ArrayLike, fresh: npt.ArrayLike, goal: Goal = "two_sided"
) -> Floats:
    """Score [n] of the candidate that was most harmful when one was selected for each sample.

    A randomised detector selects by one set of draws and is scored with another: else the luckiest of its noisy values
    would count as harm.

    Args:
        labels: 0/1 [n].
        selecting: Scores [candidates, n] that choose; row 0 belongs to the clean images.
        fresh: Scores [candidates, n] that count, of the same candidates.
        goal: As in `worst_case`.

    Raises:
        ContractError: a score is not finite, or the candidates of the two tables differ in number.

    >>> selected_case([1], [[5.0], [1.0], [2.0]], [[5.0], [3.0], [1.0]]).tolist()
    [3.0]
    """
    chosen_by, scored = np.asarray(selecting, dtype=np.float64), np.asarray(fresh, dtype=np.float64)
    if chosen_by.shape != scored.shape:
        raise ContractError(f"{chosen_by.shape} selecting and {scored.shape} fresh scores are not of one table")
    if not (np.isfinite(chosen_by).all() and np.isfinite(scored).all()):
        raise ContractError("the worst case takes attacks on all images only; some scores are missing")
    positive = as_labels(labels)
    harm = np.where(positive, -chosen_by, chosen_by)
    chosen = np.where(_attacked(positive, goal), harm.argmax(axis=0), 0)
    return np.asarray(scored[chosen, np.arange(positive.size)])


def _attacked(positive: Bools, goal: Goal) -> Bools:
    return {"two_sided": np.ones_like(positive), "evasion": positive, "false_alarm": ~positive}[goal]


def antitonic(aurocs: npt.ArrayLike) -> Floats:
    """Least-squares curve that never rises, [budgets, ...]: what a randomised detector's A(b) is pooled to.

    The noise of fresh draws can lift A at a larger budget, though the balls are nested. Equal weights, by the max-min
    formula of isotonic regression (Barlow et al. 1972), for every column (replicate) on its own.

    >>> antitonic([0.9, 0.5, 0.7, 0.1]).round(9).tolist()
    [0.9, 0.6, 0.6, 0.1]
    """
    curve = np.asarray(aurocs, dtype=np.float64)
    count = len(curve)
    total = np.concatenate([np.zeros_like(curve[:1]), np.cumsum(curve, axis=0)])

    def highest_mean(first: int, least: int) -> Floats:
        """Largest mean of curve[first..last] over last >= least."""
        means = [(total[last + 1] - total[first]) / (last + 1 - first) for last in range(least, count)]
        return np.asarray(np.max(means, axis=0))

    return np.array([np.min([highest_mean(first, i) for first in range(i + 1)], axis=0) for i in range(count)])


def robust_score(aurocs: npt.ArrayLike) -> Floats:
    """R in [0, 1]: mean over budgets of max(0, 2 A - 1).

    Args:
        aurocs: [budgets, ...] macro means of auroc_robust under the worst case: A(0), on the episodes of the others,
            then one row per budget of the track's ladder. Averaging over categories comes BEFORE this clipping;
            further axes (replicates) are kept.

    >>> float(robust_score([1.0, 0.75, 0.5, 0.1]))
    0.375
    """
    return np.asarray(np.maximum(0, 2 * np.asarray(aurocs, dtype=np.float64) - 1).mean(axis=0))
