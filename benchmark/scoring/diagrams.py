"""Diagrams of a result: reliability bins and entropy histograms at the ranked support size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmark.errors import NotApplicableError
from benchmark.metrics.calibration_error import bin_means
from benchmark.metrics.outcome import Bools, Floats
from benchmark.metrics.uncertainty import entropy
from benchmark.results.rows import EntropyHistogram, Reliability, ReliabilityBin
from benchmark.scoring.episodes import EpisodeScores, conditions_of
from benchmark.types.condition import CLEAN, Condition, budget_text

ENTROPY_BINS = 20


def reliability_diagrams(episodes: Sequence[EpisodeScores]) -> Iterator[Reliability]:
    """Clean before (min-max) and after Platt, and Platt under every attack that covers all images."""
    if not episodes:
        return
    wanted = [("minmax", CLEAN), *(("platt", c) for c in whole_conditions(episodes))]
    for calibrator, condition in wanted:
        pooled = _pooled(episodes, calibrator, condition)
        if pooled is None:
            continue
        labels, probabilities = pooled
        means = bin_means(labels, probabilities)
        bins = tuple(
            ReliabilityBin(predicted=float(p), observed=float(o), count=int(m))
            for m, p, o in zip(means.mass, means.predicted, means.observed, strict=True)
        )
        yield Reliability(
            shots=episodes[0].shots, calibrator=calibrator, attack=condition.attack, budget=_text(condition), bins=bins
        )


def entropy_histograms(episodes: Sequence[EpisodeScores]) -> Iterator[EntropyHistogram]:
    """Platt entropy of the query images, clean and under every attack that covers all images."""
    if not episodes:
        return
    for condition in whole_conditions(episodes):
        pooled = _pooled(episodes, "platt", condition)
        if pooled is None:
            continue
        counts, _ = np.histogram(entropy(pooled[1]), bins=ENTROPY_BINS, range=(0.0, float(np.log(2)) + 1e-12))
        yield EntropyHistogram(
            shots=episodes[0].shots, attack=condition.attack, budget=_text(condition), counts=tuple(counts.tolist())
        )


def _text(condition: Condition) -> str | None:
    return None if condition.budget is None else budget_text(condition.budget)


def whole_conditions(episodes: Sequence[EpisodeScores]) -> list[Condition]:
    """Conditions that cover every image of every episode (audits do not), clean first."""
    return [c for c in conditions_of(episodes) if all(c in e.scores and e.covered(c).all() for e in episodes)]


def _pooled(episodes: Sequence[EpisodeScores], calibrator: str, condition: Condition) -> tuple[Bools, Floats] | None:
    parts = []
    for e in episodes:
        if calibrator != "platt":
            mapped = e.clean_probabilities(calibrator)
        else:
            mapped = e.platt if isinstance(e.platt, NotApplicableError) else e.platt[condition]
        if isinstance(mapped, NotApplicableError):
            return None
        parts.append(mapped)
    return np.concatenate([e.labels for e in episodes]), np.concatenate(parts)
