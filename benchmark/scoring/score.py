"""From evidence to every number of a result. Pure: used by the runner, by `rescore` and by `verify` alike.

Macro means: over support seeds within a category, then over categories. A number that is undefined in one
category is undefined in the mean, with the reason. Intervals: logit-DeLong per category, stratified paired
image bootstrap for macro means (PROTOCOL.md section 7); both are conditional on the published seeds and
categories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.metrics.outcome import Floats, MetricOutcome
from benchmark.metrics.ranking import Ties
from benchmark.results.rows import MetricValue, Replicates, Scored
from benchmark.scoring.diagrams import entropy_histograms, reliability_diagrams
from benchmark.scoring.episodes import EpisodeScores, conditions_of, episodes_of
from benchmark.scoring.image import (
    WORST,
    Rows,
    attacked_metrics,
    clean_metrics,
    pooled_metrics,
    robust_metrics,
    view,
    worst_metrics,
    worst_view,
)
from benchmark.scoring.means import over_categories, over_seeds
from benchmark.scoring.pixel import pixel_values
from benchmark.scoring.probe import leave_one_out, probe_values
from benchmark.statistics.bootstrap import (
    REPLICATES,
    auroc_replicates,
    macro_mean,
    percentile_interval,
    resample_counts,
)
from benchmark.statistics.intervals import Interval, auroc_interval
from benchmark.statistics.robust import robust_score
from benchmark.types.condition import CLEAN, GOALS, budget_text

if TYPE_CHECKING:
    import pandas as pd

AUROCS = ("auroc", "auroc_robust")
BY_CATEGORY = frozenset({*AUROCS, "average_precision", "f1", "entropy_auroc"})
Where = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What scoring needs to know beside the evidence.

    Attributes:
        dataset: Key of the bootstrap, so that all detectors resample the same images.
        ranked_shots: Support size of the headline numbers.
        ranked_budgets: Budgets of R, in grey levels.
        full_coverage: Attacks that may enter the worst case where they attacked every image.
        has_normals: False for pixel-only data: every image metric is null with that reason.
    """

    dataset: str
    ranked_shots: int
    ranked_budgets: tuple[Fraction, ...]
    full_coverage: frozenset[str]
    has_normals: bool


def score_evidence(
    scores: pd.DataFrame, pixels: pd.DataFrame | None, rules: Rules, probes: pd.DataFrame | None = None
) -> Scored:
    """Compute all values of a result.

    Args:
        scores: As `benchmark.results.evidence.read_scores` gives it, one detector and data set.
        pixels: As `read_pixels` gives it, or None.
        rules: See `Rules`.
        probes: As `read_probes` gives it; None where no experiment was run.

    Raises:
        ResultError: If the evidence contradicts itself.
    """
    episodes = episodes_of(scores, leave_one_out(probes))
    values: list[MetricValue] = []
    replicates: list[Replicates] = []
    for shots in sorted({e.shots for e in episodes}):
        table = ShotsTable(tuple(e for e in episodes if e.shots == shots), rules)
        values += table.values()
        replicates += table.replicates()
    if pixels is not None:
        values += pixel_values(pixels, dict(zip(scores["sample_id"], scores["label"], strict=True)))
    ranked = [e for e in episodes if e.shots == rules.ranked_shots] if rules.has_normals else []
    return Scored(
        values=tuple(sorted(values, key=lambda v: v.key)),
        replicates=tuple(replicates),
        reliability=tuple(reliability_diagrams(ranked)),
        entropy=tuple(entropy_histograms(ranked)),
        probes=() if probes is None else tuple(probe_values(probes, episodes, rules.dataset)),
    )


@dataclass(frozen=True)
class ShotsTable:
    """All episodes of one support size."""

    episodes: tuple[EpisodeScores, ...]
    rules: Rules

    @property
    def shots(self) -> int:
        return self.episodes[0].shots

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({e.seed for e in self.episodes}))

    def values(self) -> list[MetricValue]:
        """Clean, attacked and worst-case values."""
        if not self.rules.has_normals:
            n = sum(len(e.ids) for e in self.episodes if e.seed == self.seeds[0])
            return [MetricValue(metric="auroc", shots=self.shots, value=None, n=n, reason="no normal images")]
        found = [*self._clean_values(), *self._attacked_values()]
        return [*found, *self._worst_values()] if self._is_ranked else found

    @property
    def _is_ranked(self) -> bool:
        return self.shots == self.rules.ranked_shots and self.rules.has_normals

    def _clean_values(self) -> Iterator[MetricValue]:
        rows = [view(e, CLEAN, None) for e in self.episodes]
        yield from self._macro(rows, clean_metrics, {})
        yield from self._pooled(rows, {}, clean=True)

    def _attacked_values(self) -> Iterator[MetricValue]:
        for condition in conditions_of(self.episodes)[1:]:
            for goal in GOALS:
                where = {
                    "attack": condition.attack,
                    "goal": goal,
                    "budget": budget_text(condition.budget or Fraction(0)),
                }
                rows = [view(e, condition, goal) for e in self.episodes if condition in e.scores]
                yield from self._macro(rows, attacked_metrics, where)
                if goal == "two_sided":
                    yield from self._pooled(rows, where, clean=False)

    def _worst_values(self) -> Iterator[MetricValue]:
        """At every budget of R; at 0 the robust AUROC alone, which counts tied clean scores for the attacker."""
        for level, rows in self._worst_rows.items():
            yield from self._macro(rows, worst_metrics if level else robust_metrics, _worst_where(level))
        yield self._robust_value()

    @cached_property
    def _worst_rows(self) -> dict[Fraction, list[Rows]]:
        """Worst-case scores at every budget of R, 0 = clean."""
        levels = (Fraction(0), *self.rules.ranked_budgets)
        return {n: [worst_view(e, self.rules.full_coverage, n) for e in self.episodes] for n in levels}

    # ---- the headline ---------------------------------------------------------------------------------------

    def replicates(self) -> list[Replicates]:
        """Stored paired replicates: clean AUROC; at the ranked support size the worst-case AUROCs and R."""
        if not self.rules.has_normals:
            return []
        clean = self._resampled([view(e, CLEAN, None) for e in self.episodes], "auroc", {})
        if clean is None:
            return []
        found = [self._replicates("auroc", clean)]
        areas = self._worst_areas if self._is_ranked else None
        if areas is not None:
            for level, part in areas.items():
                found.append(self._replicates("auroc_robust", part, budget_text(level) if level else None))
            found.append(self._replicates("robust_score", robust_score(np.stack(list(areas.values())))))
        return found

    def _replicates(self, metric: str, values: Floats, budget: str | None = None) -> Replicates:
        """The first resamples, to 1e-6: far below their spread, and half the bytes."""
        kept = tuple(np.round(values[:REPLICATES], 6).tolist())
        return Replicates(metric=metric, shots=self.shots, budget=budget, values=kept)

    @cached_property
    def _worst_areas(self) -> dict[Fraction, Floats] | None:
        """Replicates of the worst-case auroc_robust at every budget of R, 0 = clean."""
        found: dict[Fraction, Floats] = {}
        for level, rows in self._worst_rows.items():
            part = self._resampled(rows, "auroc_robust", _worst_where(level))
            if part is None:
                return None
            found[level] = part
        return found

    def _robust_value(self) -> MetricValue:
        """R: mean over budgets of max(0, 2A - 1); A is the macro mean of the worst-case auroc_robust."""
        means = [self._mean_of(rows, "auroc_robust") for rows in self._worst_rows.values()]
        undefined = next((m for m in means if m.value is None), None)
        values = np.array([m.value for m in means], float)
        outcome = undefined or MetricOutcome(float(robust_score(values)), means[0].n)
        where = {"attack": WORST, "goal": "two_sided"}
        robust = None if self._worst_areas is None else robust_score(np.stack(list(self._worst_areas.values())))
        return self._value("robust_score", [outcome], where, _interval(robust))

    def _mean_of(self, rows: Sequence[Rows], metric: str) -> MetricOutcome:
        outcomes = [r.outcome(metric) for r in rows]
        return over_seeds([m for _, m in self._by_seed(rows, outcomes)])

    # ---- means ----------------------------------------------------------------------------------------------

    def _macro(
        self, rows: Sequence[Rows], metrics: Callable[[Rows], dict[str, MetricOutcome]], where: Where
    ) -> Iterator[MetricValue]:
        """Values by category, and their mean, of every metric."""
        outcomes = [metrics(r) for r in rows]
        for name in outcomes[0]:
            found = [o[name] for o in outcomes]
            if name in BY_CATEGORY:
                for category in sorted({r.episode.category for r in rows}):
                    mine = [(r, o) for r, o in zip(rows, found, strict=True) if r.episode.category == category]
                    interval = _delong(name, [r for r, _ in mine]) if name in AUROCS else None
                    yield self._value(name, [o for _, o in mine], where, interval, category=category)
            by_seed = [m for _, m in self._by_seed(rows, found)]
            replicates = self._resampled(rows, name, where) if name in AUROCS else None
            yield self._value(name, by_seed, where, _interval(replicates))

    def _pooled(self, rows: Sequence[Rows], where: Where, *, clean: bool) -> Iterator[MetricValue]:
        seeds = sorted({r.episode.seed for r in rows})
        by_seed = [pooled_metrics([r for r in rows if r.episode.seed == seed], clean=clean) for seed in seeds]
        for name in by_seed[0]:
            yield self._value(name, [outcomes[name] for outcomes in by_seed], where, None)

    def _by_seed(self, rows: Sequence[Rows], outcomes: Sequence[MetricOutcome]) -> Iterator[tuple[int, MetricOutcome]]:
        """For each seed, the mean over categories."""
        for seed in sorted({r.episode.seed for r in rows}):
            mine = [(r, o) for r, o in zip(rows, outcomes, strict=True) if r.episode.seed == seed]
            yield seed, over_categories({r.episode.category: o for r, o in mine})

    @cached_property
    def _known(self) -> dict[tuple[str, ...], Floats | None]:
        return {}

    def _resampled(self, rows: Sequence[Rows], metric: str, where: Where) -> Floats | None:
        """Replicates of a macro mean, drawn once for values, replicates and R alike."""
        key = (metric, *where.values())
        if key not in self._known:
            self._known[key] = self._bootstrap(rows, metric)
        return self._known[key]

    def _bootstrap(self, rows: Sequence[Rows], metric: str) -> Floats | None:
        """Replicates of the macro mean of an AUROC; None where it is undefined in a category."""
        parts = []
        for category in sorted({r.episode.category for r in rows}):
            mine = [r for r in rows if r.episode.category == category]
            kept = mine[0].kept
            labels = mine[0].episode.labels[kept]
            if labels.all() or not labels.any():
                return None
            counts = resample_counts(labels, f"{self.rules.dataset}/{category}")
            ties: Ties = "lost" if metric == "auroc_robust" else "half"
            scores = np.stack([r.values[kept] for r in mine])
            parts.append(auroc_replicates(labels, scores, counts, ties).mean(axis=0))
        return macro_mean(parts)

    def _value(
        self,
        metric: str,
        outcomes: Sequence[MetricOutcome],
        where: Where,
        interval: Interval | None,
        category: str | None = None,
    ) -> MetricValue:
        """One row: the mean over the seeds' outcomes with their spread and interval."""
        mean = over_seeds(outcomes)
        seeds = [o.value for o in outcomes if o.value is not None]
        spread = mean.value is not None and len(seeds) > 1
        known = interval if mean.value is not None else None
        return MetricValue(
            metric=metric,
            category=category,
            shots=self.shots,
            value=mean.value,
            low=known.low if known else None,
            high=known.high if known else None,
            seed_min=min(seeds) if spread else None,
            seed_max=max(seeds) if spread else None,
            n=mean.n,
            reason=mean.reason,
            **where,
        )


def _worst_where(level: Fraction) -> Where:
    """Conditions of the worst case at a budget; clean scores have none."""
    return {"attack": WORST, "goal": "two_sided", "budget": budget_text(level)} if level else {}


def _delong(metric: str, rows: Sequence[Rows]) -> Interval | None:
    """Logit-DeLong interval; with several seeds the mean of their limits, which takes them as fully dependent."""
    ties: Ties = "lost" if metric == "auroc_robust" else "half"
    found = [auroc_interval(r.episode.labels[r.kept], r.values[r.kept], ties=ties) for r in rows]
    known = [interval for interval in found if interval is not None]
    if len(known) < len(found):
        return None
    return Interval(float(np.mean([i.low for i in known])), float(np.mean([i.high for i in known])))


def _interval(replicates: Floats | None) -> Interval | None:
    return None if replicates is None else percentile_interval(replicates)
