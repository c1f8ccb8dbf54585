"""What a metric is and what it returns; degenerate input becomes a missing value with a reason, never NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec

import numpy as np
import numpy.typing as npt

from benchmark.errors import ContractError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
P = ParamSpec("P")

Needs = Literal[
    "scores",  # f(labels, scores)
    "decisions",  # f(labels, flagged)
    "probabilities",  # f(labels, probabilities)
    "priors",  # f(labels, probabilities, priors): anomaly share each probability was fitted on
    "selective",  # f(errors, confidence)
    "entropies",  # f(clean, attacked, folds): entropies of the same images
    "ambiguity",  # f(certain, folds, ambiguous): entropies of two groups of images
    "expert",  # f(expert, probabilities): share of experts who say anomalous
    "sets",  # f(labels, sets): prediction sets, bool [n, 2]
    "p_values",  # f(labels, p_values, alpha)
    "pixels",  # f(histograms)
]


@dataclass(frozen=True, slots=True)
class MetricOutcome:
    """A metric's value over ``n`` samples, or no value and the reason.

    Raises:
        ContractError: value and reason both given, both missing, or the value not finite.
    """

    value: float | None
    n: int
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ContractError(f"a metric outcome has either a value or a reason, got {self}")
        if self.value is not None and not math.isfinite(self.value):
            raise ContractError(f"a metric value is finite or missing with a reason, got {self.value}")


@dataclass(frozen=True, slots=True)
class Metric:
    """A registered metric: what it is called, which way is better, and the pure function that computes it.

    Args:
        name: Key in results and tables.
        version: Raised by any change that can move a value; stored values of older versions are re-scored.
        higher_is_better: None where neither direction is better (a set size, a nominal coverage).
        bounds: Smallest and largest possible value; None = unbounded on that side.
        level: What is labelled: whole images or pixels.
        needs: Which arguments ``function`` takes, see ``Needs``.
        formula: One line for tables and the docs.
        function: Returns a MetricOutcome.
    """

    name: str
    version: int
    higher_is_better: bool | None
    bounds: tuple[float | None, float | None]
    level: Literal["image", "pixel"]
    needs: Needs
    formula: str
    function: Callable[..., MetricOutcome]


def labelled(
    function: Callable[Concatenate[Bools, Floats, P], float],
) -> Callable[Concatenate[npt.ArrayLike, npt.ArrayLike, P], MetricOutcome]:
    """Let a formula on (bool labels [n], float64 values [n]) answer with a MetricOutcome.

    The formula then only ever sees finite values, and at least one sample of each label.
    """

    @wraps(function)
    def wrapper(labels: npt.ArrayLike, values: npt.ArrayLike, /, *args: P.args, **kwargs: P.kwargs) -> MetricOutcome:
        positive, floats = as_labels(labels), np.asarray(values, dtype=np.float64)
        reason = degenerate(positive, floats)
        if reason is not None:
            return MetricOutcome(None, positive.size, reason)
        return MetricOutcome(float(function(positive, floats, *args, **kwargs)), positive.size)

    return wrapper


def as_labels(labels: npt.ArrayLike) -> Bools:
    """Labels 0/1 (or bool) as a bool array, True = anomalous; anything else is a ContractError."""
    array = np.asarray(labels)
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise ContractError(f"labels are one flat array of 0 (normal) and 1 (anomalous), got {array!r:.80}")
    return array.astype(np.bool_)


def degenerate(positive: Bools, values: Floats) -> str | None:
    """Why no two-class metric exists for these samples, or None when one does."""
    if values.shape != positive.shape:
        raise ContractError(f"{positive.shape} labels but {values.shape} values; one value per label is needed")
    return missing_label(positive) or non_finite(values)


def missing_label(positive: Bools) -> str | None:
    """Name the label that no sample has, if any."""
    if positive.size == 0:
        return "no samples"
    if not positive.any():
        return "no anomalous samples"
    return "no normal samples" if positive.all() else None


def non_finite(values: npt.NDArray[Any]) -> str | None:
    """Say how many values are NaN or infinite, if any."""
    bad = int(values.size - np.isfinite(values).sum())
    return f"{bad} non-finite values" if bad else None
