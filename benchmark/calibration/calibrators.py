"""Calibrators: maps from an anomaly score to the probability of an anomaly, fitted on labelled scores.

All parametric fits use Platt's smoothed targets, (P + 1)/(P + 2) for anomalous and 1/(N + 2) for normal samples, so
that they stay finite when the scores separate the labels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgWarning
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from benchmark.errors import NotApplicableError
from benchmark.metrics.outcome import Bools, Floats, as_labels, degenerate

RAW_CLIP = 1e-6  # raw probabilities are kept this far from 0 and 1 where a logarithm is taken


class Calibrator(Protocol):
    """A fitted map; the class is fitted by ``fit`` and has no unfitted state."""

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Calibrator:
        """Fit on scores [n] and labels 0/1 [n].

        Raises:
            NotApplicableError: only one label, or non-finite scores; the message is the reason.
        """
        ...

    def probability(self, scores: npt.ArrayLike) -> Floats:
        """Probability of an anomaly in [0, 1] for scores of any shape; NaN stays NaN."""
        ...


@dataclass(frozen=True, slots=True)
class MinMax:
    """The raw probability: the score's place in the range of the fitting scores, clipped to [0, 1]."""

    low: float
    high: float

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> MinMax:
        values, _ = _checked(scores, labels)
        return cls(float(values.min()), float(values.max()))

    def probability(self, scores: npt.ArrayLike) -> Floats:
        values = np.asarray(scores, dtype=np.float64)
        if self.high == self.low:  # a constant detector: 1/2 on the constant, 0 and 1 beside it
            return np.asarray((np.sign(values - self.low) + 1) / 2)
        return np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)

    def log_odds(self, scores: npt.ArrayLike) -> Floats:
        """Logit of the raw probability, finite: within +-13.8."""
        return np.asarray(logit(np.clip(self.probability(scores), RAW_CLIP, 1 - RAW_CLIP)))


@dataclass(frozen=True, slots=True)
class Platt:
    """sigmoid(slope (s - centre) + intercept), Platt 1999, with his target smoothing."""

    centre: float
    slope: float
    intercept: float

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Platt:
        values, positive = _checked(scores, labels)
        centre, scale = values.mean(), values.std() or 1.0
        (slope,), intercept = _logistic((values - centre)[:, None] / scale, positive)
        return cls(float(centre), float(slope / scale), intercept)

    def probability(self, scores: npt.ArrayLike) -> Floats:
        values = np.asarray(scores, dtype=np.float64)
        return np.asarray(expit(self.slope * (values - self.centre) + self.intercept))


@dataclass(frozen=True, slots=True)
class Temperature:
    """sigmoid(logit(raw) / temperature), Guo et al. 2017, on the min-max probability; 0.01 <= temperature <= 100."""

    raw: MinMax
    temperature: float

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Temperature:
        values, positive = _checked(scores, labels)
        raw = MinMax.fit(values, positive)
        odds, target = raw.log_odds(values), _smoothed(positive)

        def loss(log_temperature: float) -> float:
            z = odds * np.exp(-log_temperature)
            return float(np.mean(np.logaddexp(0, z) - target * z))

        bounds = (np.log(0.01), np.log(100.0))
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-10})
        return cls(raw, float(np.exp(found.x)))

    def probability(self, scores: npt.ArrayLike) -> Floats:
        return np.asarray(expit(self.raw.log_odds(scores) / self.temperature))


@dataclass(frozen=True, slots=True)
class Beta:
    """sigmoid(a log r - b log(1 - r) + c) of the min-max probability r, a and b >= 0 (Kull et al. 2017)."""

    raw: MinMax
    a: float
    b: float
    c: float

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Beta:
        values, positive = _checked(scores, labels)
        raw = MinMax.fit(values, positive)
        features = _beta_features(raw, values)
        used = [0, 1]
        coefficients, c = _logistic(features, positive)
        while used and coefficients.min() < 0:  # the paper's procedure: drop a decreasing term and fit again
            used.pop(int(coefficients.argmin()))
            coefficients, c = _logistic(features[:, used], positive)
        a, b = (float(coefficients[used.index(term)]) if term in used else 0.0 for term in (0, 1))
        return cls(raw, a, b, c)

    def probability(self, scores: npt.ArrayLike) -> Floats:
        return np.asarray(expit(_beta_features(self.raw, scores) @ np.array([self.a, self.b]) + self.c))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """The increasing map of least squared error (pool adjacent violators), linear between its knots."""

    knots: Floats
    values: Floats

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Isotonic:
        values, positive = _checked(scores, labels)
        found = IsotonicRegression(y_min=0.0, y_max=1.0).fit(values, positive)
        return cls(np.asarray(found.X_thresholds_), np.asarray(found.y_thresholds_))

    def probability(self, scores: npt.ArrayLike) -> Floats:
        return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), self.knots, self.values))


CALIBRATORS: dict[str, type[Calibrator]] = {
    "minmax": MinMax,
    "platt": Platt,
    "temperature": Temperature,
    "isotonic": Isotonic,
    "beta": Beta,
}


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Bools]:
    positive, values = as_labels(labels), np.asarray(scores, dtype=np.float64)
    reason = degenerate(positive, values)
    if reason is not None:
        raise NotApplicableError(f"no calibrator can be fitted: {reason}")
    return values, positive


def _smoothed(positive: Bools) -> Floats:
    anomalous, normal = positive.sum(), (~positive).sum()
    targets: Floats = np.where(positive, (anomalous + 1) / (anomalous + 2), 1 / (normal + 2))
    return targets


def _logistic(features: Floats, positive: Bools) -> tuple[Floats, float]:
    """Unpenalised logistic regression [n, d] on the smoothed targets: coefficients [d] and the intercept."""
    target = _smoothed(positive)
    if features.shape[1] == 0:
        return np.zeros(0), float(logit(target.mean()))
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    with warnings.catch_warnings():  # a singular Hessian (few, tied scores): scikit-learn goes on with lbfgs
        warnings.simplefilter("ignore", LinAlgWarning)
        fit.fit(
            np.concatenate([features, features]),
            np.repeat([1, 0], positive.size),
            sample_weight=np.concatenate([target, 1 - target]),
        )
    return np.asarray(fit.coef_[0]), float(fit.intercept_[0])


def _beta_features(raw: MinMax, scores: npt.ArrayLike) -> Floats:
    r = np.clip(raw.probability(scores), RAW_CLIP, 1 - RAW_CLIP)
    return np.stack([np.log(r), -np.log1p(-r)], axis=-1)
