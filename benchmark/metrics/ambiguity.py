"""Does the detector know what experts do not agree on: its uncertainty against theirs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmark.errors import ContractError
from benchmark.metrics.calibration_error import BinMeans, bin_means
from benchmark.metrics.outcome import Floats, Metric, MetricOutcome, non_finite
from benchmark.metrics.ranking import auroc_value


def ambiguity_auroc(certain: npt.ArrayLike, folds: npt.ArrayLike, ambiguous: npt.ArrayLike) -> MetricOutcome:
    """AUROC of predictive entropy as a sign of disagreement: ambiguous images positive, certain ones negative.

    Taken within each fold and averaged by fold size: entropies of different calibrators are never compared.

    Args:
        certain: Entropies [n] of images on which the experts agree, each by the calibrator of its fold.
        folds: Cross-fitting fold 0 or 1 of each [n].
        ambiguous: Entropies [2, m] of the images between, by the calibrators of fold 0 and of fold 1.

    Returns:
        1 where every ambiguous image is more uncertain than every certain one; n = m.

    >>> ambiguity_auroc([0.1, 0.5, 0.2, 0.3], [0, 0, 1, 1], [[0.4, 0.6], [0.6, 0.6]])
    MetricOutcome(value=0.875, n=2, reason=None)
    """
    sure, fold, unsure = np.asarray(certain, np.float64), np.asarray(folds), np.asarray(ambiguous, np.float64)
    if sure.shape != fold.shape or unsure.ndim != 2 or len(unsure) != 2:
        raise ContractError(
            f"{sure.shape} certain of {fold.shape} folds, {unsure.shape} ambiguous: need [n], [n], [2, m]"
        )
    reason = "no certain images" if sure.size == 0 else "no ambiguous images" if unsure.size == 0 else None
    reason = reason or non_finite(sure) or non_finite(unsure)
    if reason is not None:
        return MetricOutcome(None, unsure.shape[1], reason)
    parts = [(np.sum(fold == f), auroc_value(unsure[f], sure[fold == f])) for f in (0, 1) if (fold == f).any()]
    return MetricOutcome(float(sum(size * area for size, area in parts) / sure.size), unsure.shape[1])


def expert_bins(expert: npt.ArrayLike, probabilities: npt.ArrayLike) -> BinMeans:
    """Reliability diagram against the experts: mean predicted and mean expert probability in 15 equal-mass bins.

    Args:
        expert: Share of experts who call the image anomalous, [n] in [0, 1].
        probabilities: Predicted, [n] in [0, 1].

    Raises:
        ContractError: an expert probability outside [0, 1].

    >>> bins = expert_bins([0.0, 1 / 3, 1.0], [0.1, 0.5, 0.9])
    >>> bins.observed.round(2).tolist()
    [0.0, 0.33, 1.0]
    """
    shares = np.asarray(expert, dtype=np.float64)
    if shares.size and not (shares.min() >= 0 and shares.max() <= 1):
        raise ContractError(f"expert probabilities lie in [0, 1], got {shares.min()} to {shares.max()}")
    return bin_means(shares, np.asarray(probabilities, dtype=np.float64))


def ece_expert(expert: npt.ArrayLike, probabilities: npt.ArrayLike) -> MetricOutcome:
    """Mean gap of predicted and expert probability over 15 equal-mass bins, weighted by their share; see `expert_bins`.

    >>> ece_expert([0.0, 1 / 3, 1.0], [0.0, 1 / 3, 0.7]).value
    0.1
    """
    values: Floats = np.asarray(probabilities, dtype=np.float64)
    reason = "no samples" if values.size == 0 else non_finite(values)
    if reason is not None:
        return MetricOutcome(None, values.size, reason)
    bins = expert_bins(expert, values)
    return MetricOutcome(float(np.sum(bins.share * bins.gaps())), values.size)


AMBIGUITY_AUROC = Metric(
    "ambiguity_auroc",
    1,
    True,
    (0, 1),
    "image",
    "ambiguity",
    "P(H_ambiguous > H_certain) + ties/2",
    ambiguity_auroc,
)
ECE_EXPERT = Metric(
    "ece_expert", 1, False, (0, 1), "image", "expert", "sum_b w_b |p_b - e_b|, e = share of experts", ece_expert
)
