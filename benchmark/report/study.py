"""One detector on one data set at one support size, resampled: every number of the report as a row of replicates.

A *draw* is an array [..., 1 + resamples] whose first entry is the value on the actual images and whose others are
paired bootstrap replicates of it, so that differences of draws are differences with their interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from benchmark.calibration.crossfit import Folds
from benchmark.errors import NotApplicableError
from benchmark.metrics.calibration_error import calibrated_eces, ece_value
from benchmark.metrics.outcome import Bools, Floats
from benchmark.metrics.proper import log_losses
from benchmark.metrics.uncertainty import entropy
from benchmark.scoring.diagrams import whole_conditions
from benchmark.scoring.episodes import EpisodeScores
from benchmark.statistics.bootstrap import (
    Counts,
    auroc_replicates,
    average_precision_replicates,
    confusion_replicates,
    mean_replicates,
    percentile_interval,
    resample_counts,
)
from benchmark.types.condition import CLEAN, Condition

ECE_RESAMPLES = 200
METRICS = ("AUROC", "AP", "F1", "G-mean")
T = TypeVar("T")
RAW, HEADLINE = "minmax", "platt"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, draw: Floats) -> Estimate:
        """From a draw [1 + resamples]; the replicates are centred on the value (ECE and AP resample with a bias)."""
        interval = percentile_interval(draw[1:] - draw[1:].mean() + draw[0])
        return cls(float(draw[0]), interval.low, interval.high)

    @classmethod
    def of_share(cls, draw: Floats) -> Estimate:
        """As `of`, of a quantity between 0 and 1: centring may not carry the interval beyond."""
        found = cls.of(draw)
        return cls(found.value, max(0.0, found.low), min(1.0, found.high))


@dataclass(frozen=True)
class Study:
    """Episodes of one support size.

    Attributes:
        episodes: All categories and seeds.
        dataset: Key of the resamples, shared by all detectors.
        resamples: Bootstrap resamples.
    """

    episodes: tuple[EpisodeScores, ...]
    dataset: str
    resamples: int

    @cached_property
    def attacks(self) -> list[Condition]:
        """Every condition that attacked all images of all episodes; budgets ascend within an attack."""
        return [condition for condition in whole_conditions(self.episodes) if not condition.is_clean]

    @cached_property
    def categories(self) -> tuple[str, ...]:
        return tuple(sorted({e.category for e in self.episodes}))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({e.seed for e in self.episodes}))

    @cached_property
    def counts(self) -> dict[str, Counts]:
        """For each category, how often each image counts: once in the first column, resampled in the others."""
        labels = {e.category: e.labels for e in self.episodes}
        return {name: self._counts(name, labels[name]) for name in labels}

    def _counts(self, category: str, labels: Bools) -> Counts:
        resampled = resample_counts(labels, f"{self.dataset}/{category}", self.resamples)
        return np.hstack([np.ones((labels.size, 1), dtype=np.int32), resampled])

    def macro(self, per_episode: Callable[[EpisodeScores, Counts], Floats]) -> Floats:
        """Mean of draws over the seeds of a category, then over categories."""
        return np.asarray(np.mean([self._over_seeds(name, per_episode) for name in self.categories], axis=0))

    def _over_seeds(self, category: str, per_episode: Callable[[EpisodeScores, Counts], Floats]) -> Floats:
        mine = [e for e in self.episodes if e.category == category]
        return np.asarray(np.mean([per_episode(e, self.counts[category]) for e in mine], axis=0))

    def detection(self) -> dict[str, Floats]:
        """Draws [1 + attacks, 1 + resamples], clean first, of each of ``METRICS``; AUROC: attacked ties are lost."""
        return dict(zip(METRICS, self.macro(self._detection), strict=True))

    def _detection(self, e: EpisodeScores, counts: Counts) -> Floats:
        scores = self._stack(e)
        decisions = confusion_replicates(e.labels, scores > _given(e.thresholds), counts)
        clean = auroc_replicates(e.labels, scores[:1], counts)
        attacked = auroc_replicates(e.labels, scores[1:], counts, "lost")
        precision = average_precision_replicates(e.labels, scores, counts)
        return np.stack([np.vstack([clean, attacked]), precision, decisions.f1(), decisions.g_mean()])

    def _stack(self, e: EpisodeScores) -> Floats:
        """Scores [1 + attacks, n], clean first."""
        return np.stack([e.clean, *(e.scores[condition] for condition in self.attacks)])

    # ---- calibration --------------------------------------------------------------------------------------------

    def losses(self, calibrator: str) -> tuple[Floats, Floats]:
        """Draws [1 + resamples] of NLL and Brier on clean images."""

        def losses_of(e: EpisodeScores, counts: Counts) -> Floats:
            p = _given(e.clean_probabilities(calibrator))
            return mean_replicates(e.labels, np.stack([log_losses(e.labels, p), (p - e.labels) ** 2]), counts)

        nll, brier = self.macro(losses_of)
        return nll, brier

    def ece(self, calibrator: str) -> Floats:
        """Draw of the clean ECE, categories pooled, mean over seeds; at most 200 resamples."""
        by_seed = []
        for labels, p, counts in self._pooled(calibrator):
            columns = counts[:, : 1 + min(ECE_RESAMPLES, self.resamples)].T.astype(np.float64)
            by_seed.append([ece_value(labels, p, "mass", weights) for weights in columns])
        return np.asarray(np.mean(by_seed, axis=0))

    def ece_if_calibrated(self, calibrator: str) -> Floats:
        """ECEs [200] that these probabilities would show if they were calibrated, mean over seeds."""
        return np.asarray(np.mean([calibrated_eces(p) for _, p, _ in self._pooled(calibrator)], axis=0))

    def _pooled(self, calibrator: str) -> list[tuple[Bools, Floats, Counts]]:
        """For each seed: labels, probabilities and counts of all categories, clean."""
        pooled = []
        for seed in self.seeds:
            mine = [e for e in self.episodes if e.seed == seed]
            probabilities = [_given(e.clean_probabilities(calibrator)) for e in mine]
            counts = np.concatenate([self.counts[e.category] for e in mine])
            pooled.append((np.concatenate([e.labels for e in mine]), np.concatenate(probabilities), counts))
        return pooled

    # ---- the entropy flag ---------------------------------------------------------------------------------------

    def flag(self, anomalous: bool | None) -> tuple[Floats, Floats]:
        """Draws [1 + attacks, 1 + resamples], clean first, of the mean Platt entropy and of entropy_auroc.

        Args:
            anomalous: Attack only these images: True = evasion, False = false alarm, None = two-sided.
        """

        def flag_of(e: EpisodeScores, counts: Counts) -> Floats:
            hit = np.ones_like(e.labels) if anomalous is None else e.labels == anomalous
            platt = _given(e.platt)
            levels = entropy(np.stack([platt[CLEAN], *(platt[condition] for condition in self.attacks)]))[:, hit]
            drawn = counts[hit]
            return np.stack([levels @ drawn / drawn.sum(axis=0), _flag_auroc(levels, e.folds[hit], drawn)])

        mean, auroc = self.macro(flag_of)
        return mean, auroc


def _flag_auroc(levels: Floats, folds: Folds, counts: Counts) -> Floats:
    """entropy_auroc of each condition against the first (clean) on the same images, [conditions, 1 + resamples]."""
    total = np.zeros((len(levels), counts.shape[1]))
    for fold in np.unique(folds):
        part = folds == fold
        size = counts[part].sum(axis=0)
        both = np.hstack([levels[:, part], np.broadcast_to(levels[0, part], (len(levels), int(part.sum())))])
        labels = np.repeat([1, 0], part.sum())
        drawn = np.vstack([counts[part], counts[part]])
        drawn[:, size == 0] = 1  # a fold without a drawn image has weight 0 below
        total += size * auroc_replicates(labels, both, drawn)
    return np.asarray(total / counts.sum(axis=0))


def _given(found: T | NotApplicableError) -> T:
    if isinstance(found, NotApplicableError):
        raise found
    return found


def study_of(episodes: Sequence[EpisodeScores], dataset: str, resamples: int, shots: int | None = None) -> Study:
    """The episodes of one support size: the one with most attack conditions (the larger of equals), or ``shots``."""
    sizes = {e.shots: len(e.scores) for e in episodes}
    chosen = max(sizes, key=lambda size: (sizes[size], size)) if shots is None else shots
    mine = tuple(e for e in episodes if e.shots == chosen)
    if not mine:
        known = ", ".join(str(size) for size in sorted(sizes))
        raise NotApplicableError(f"no episode has {chosen} shots; the evidence has {known}")
    return Study(mine, dataset, resamples)
