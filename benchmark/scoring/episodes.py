"""Evidence rows regrouped for the metrics: one aligned score matrix per episode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmark.calibration.calibrators import CALIBRATORS
from benchmark.calibration.crossfit import crossfit_probabilities, crossfit_sets, crossfit_thresholds, fold_of
from benchmark.calibration.support_only import support_p_values, support_threshold
from benchmark.errors import NotApplicableError, ResultError
from benchmark.metrics.outcome import Bools, Floats
from benchmark.types.condition import CLEAN, Condition, parse_budget

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

NOTHING: Mapping[tuple[int, str, int], Floats] = {}


@dataclass(frozen=True)
class EpisodeScores:
    """All scores of one detector on one episode.

    Attributes:
        ids: n sample ids, sorted.
        labels: bool [n], True = anomalous.
        scores: Condition -> float64 [n]; NaN where the condition did not attack the image (audit subsets).
        support: Leave-one-out scores of the support images [k], where they were measured.
    """

    category: str
    shots: int
    seed: int
    ids: tuple[str, ...]
    labels: Bools
    scores: dict[Condition, Floats]
    support: Floats | None = None

    @property
    def clean(self) -> Floats:
        return self.scores[CLEAN]

    @cached_property
    def folds(self) -> NDArray[np.int8]:
        """Cross-fitting fold of each image."""
        return fold_of(self.ids, self.labels)

    @cached_property
    def thresholds(self) -> Floats | NotApplicableError:
        """Cross-fitted best-F1 threshold of each image (uses the labels of the other fold), or why there is none."""
        try:
            return crossfit_thresholds(self.clean, self.labels, self.folds)
        except NotApplicableError as error:
            return error

    def clean_probabilities(self, calibrator: str) -> Floats | NotApplicableError:
        """Cross-fitted probabilities [n] of the clean scores, or why there are none."""
        try:
            return crossfit_probabilities(CALIBRATORS[calibrator], self.clean, self.labels, self.folds)
        except NotApplicableError as error:
            return error

    @cached_property
    def platt(self) -> dict[Condition, Floats] | NotApplicableError:
        """Cross-fitted Platt probabilities [n] of every condition (fitted on the other fold's clean scores)."""
        stacked = np.stack(list(self.scores.values()))
        try:
            mapped = crossfit_probabilities(CALIBRATORS["platt"], self.clean, self.labels, self.folds, stacked)
        except NotApplicableError as error:
            return error
        return dict(zip(self.scores, mapped, strict=True))

    @cached_property
    def sets(self) -> dict[Condition, Bools] | NotApplicableError:
        """Cross-fitted conformal prediction sets [n, 2] of every condition (the other fold's clean scores are the
        reference)."""
        stacked = np.stack(list(self.scores.values()))
        try:
            return dict(zip(self.scores, crossfit_sets(self.clean, self.labels, self.folds, stacked), strict=True))
        except NotApplicableError as error:
            return error

    @cached_property
    def support_threshold(self) -> float | NotApplicableError:
        """Threshold without any label: the largest leave-one-out score of the support, or why there is none."""
        try:
            return support_threshold(self._left_out)
        except NotApplicableError as error:
            return error

    @cached_property
    def support_p_values(self) -> Floats | NotApplicableError:
        """Conformal p-values [n] of the clean scores against the support's leave-one-out scores."""
        try:
            return support_p_values(self._left_out, self.clean)
        except NotApplicableError as error:
            return error

    @property
    def _left_out(self) -> Floats:
        if self.support is None and self.shots > 1:
            raise NotApplicableError("no leave-one-out scores of the support were measured")
        return np.zeros(self.shots) if self.support is None else self.support

    def covered(self, condition: Condition) -> Bools:
        """Images that the condition was run on, bool [n]."""
        return np.isfinite(self.scores[condition])


def episodes_of(frame: pd.DataFrame, support: Mapping[tuple[int, str, int], Floats] = NOTHING) -> list[EpisodeScores]:
    """Regroup `scores` evidence; sorted by (shots, category, seed).

    Args:
        frame: As `benchmark.results.evidence.read_scores` gives it, one detector and data set.
        support: Leave-one-out scores by (shots, category, seed).

    Raises:
        ResultError: If an episode has no clean scores, or an attacked row without a clean row of that label.
    """
    episodes = []
    for key, rows in frame.groupby(["shots", "category", "seed"], sort=True):
        shots, category, seed = cast("tuple[int, str, int]", key)
        left_out = support.get((int(shots), category, int(seed)))
        episodes.append(replace(_episode(category, int(shots), int(seed), rows), support=left_out))
    return episodes


def _episode(category: str, shots: int, seed: int, rows: pd.DataFrame) -> EpisodeScores:
    where = f"{category}, {shots} shots, seed {seed}"
    clean = rows[rows["attack"].isna()].sort_values("sample_id")
    if clean.empty:
        raise ResultError(f"{where}: no clean scores")
    ids = clean["sample_id"].to_numpy()
    labels = clean["label"].to_numpy().astype(bool)
    scores: dict[Condition, Floats] = {CLEAN: clean["score"].to_numpy(np.float64)}
    attacked = rows[rows["attack"].notna()]
    place = {name: index for index, name in enumerate(ids)}
    for (attack, budget), part in attacked.groupby(["attack", "budget"], sort=True):
        index = part["sample_id"].map(place)
        if index.isna().any():
            raise ResultError(f"{where}: {attack} has images without a clean score")
        where_to = index.to_numpy(np.int64)
        if (labels[where_to] != part["label"].to_numpy().astype(bool)).any():
            raise ResultError(f"{where}: {attack} gives an image another label than the clean row")
        values = np.full(len(ids), np.nan)
        values[where_to] = part["score"].to_numpy(np.float64)
        scores[Condition(str(attack), "two_sided", parse_budget(str(budget)))] = values
    return EpisodeScores(category, shots, seed, tuple(map(str, ids)), labels, scores)


def conditions_of(episodes: Iterable[EpisodeScores]) -> list[Condition]:
    """Conditions of the given episodes, clean first, then by attack and budget; audits cover some episodes only."""
    found = set.union(*(set(e.scores) for e in episodes))
    return sorted(found, key=Condition.order)
