"""The worst case over attacks and the headline score R."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmark.metrics.outcome import Floats, as_labels


def worst_case(labels: npt.ArrayLike, clean: npt.ArrayLike, attacked: npt.ArrayLike) -> Floats:
    """Most harmful score of each sample [n]: lowest for anomalous, highest for normal ones.

    Args:
        labels: 0/1 [n].
        clean: Clean scores [n].
        attacked: Scores [conditions, n] of every full-coverage attack up to the budget asked for. NaN = skipped, which
            the protocol allows only where the clean or an earlier score is already beyond the other class.
    """
    scores = np.vstack([np.asarray(clean, dtype=np.float64)[None], np.asarray(attacked, dtype=np.float64)])
    lowest, highest = np.asarray(np.fmin.reduce(scores)), np.asarray(np.fmax.reduce(scores))
    return np.where(as_labels(labels), lowest, highest)


def robust_score(aurocs: npt.ArrayLike) -> Floats:
    """R in [0, 1]: mean over budgets of max(0, 2 A - 1).

    Args:
        aurocs: [budgets, ...] macro means of auroc_robust under the worst case, one row per budget in {0} and the
            track's ranked budgets. Averaging over categories comes BEFORE this clipping; further axes (replicates)
            are kept.
    """
    return np.asarray(np.maximum(0, 2 * np.asarray(aurocs, dtype=np.float64) - 1).mean(axis=0))
