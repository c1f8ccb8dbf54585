"""Image-level metrics of one episode under one condition, and of episodes pooled over categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from benchmark.calibration.calibrators import CALIBRATORS
from benchmark.errors import NotApplicableError
from benchmark.metrics import METRICS
from benchmark.metrics.outcome import Bools, Floats, MetricOutcome
from benchmark.metrics.uncertainty import entropy
from benchmark.scoring.episodes import EpisodeScores
from benchmark.statistics.robust import worst_case
from benchmark.types.condition import CLEAN, Condition, Goal

WORST = "worst_case"
RANKING_CLEAN = ("auroc", "average_precision", "f1_max")
DECISIONS = ("f1", "g_mean", "balanced_accuracy", "mcc")
SUPPORT_ONLY = "support_only"
AT_SUPPORT = ("f1", "balanced_accuracy")
PROPER = ("brier", "nll")
POOLED_CLEAN = (
    "ece",
    "ece_width",
    "ece_expected",
    "mce",
    "adaptive_calibration_error",
    "brier_reliability",
    "brier_resolution",
)
PREVALENCES = tuple(f"ece_prevalence_{p}{c}" for p in (1, 5, 10, 50) for c in ("", "_corrected"))


@dataclass(frozen=True, slots=True)
class Rows:
    """One score per image of an episode, under one view.

    Attributes:
        condition: Where the attacked scores come from; clean for the clean view and the derived worst case.
        values: Scores [n].
        kept: Images that count, bool [n] (an audit subset leaves some out).
        attacked: Images whose score is an attacked one, bool [n].
    """

    episode: EpisodeScores
    condition: Condition
    values: Floats
    kept: Bools
    attacked: Bools

    def platt(self) -> Floats | NotApplicableError:
        """Cross-fitted Platt probabilities [n] of the view."""
        found = self.episode.platt
        if isinstance(found, NotApplicableError):
            return found
        return np.where(self.attacked, found[self.condition], found[CLEAN])

    def outcome(self, metric: str) -> MetricOutcome:
        """A ranking metric of the kept rows."""
        return METRICS.get(metric).function(self.episode.labels[self.kept], self.values[self.kept])


def view(episode: EpisodeScores, condition: Condition, goal: Goal | None) -> Rows:
    """The rows of a condition; ``evasion`` attacks the anomalies only, ``false_alarm`` the normals only."""
    kept = episode.covered(condition)
    if goal is None:
        return Rows(episode, CLEAN, episode.clean, kept, np.zeros_like(kept))
    target = {"two_sided": kept, "evasion": kept & episode.labels, "false_alarm": kept & ~episode.labels}[goal]
    values = np.where(target, episode.scores[condition], episode.clean)
    return Rows(episode, condition, values, kept, target)


def worst_view(episode: EpisodeScores, attacks: frozenset[str], budget: Fraction) -> Rows:
    """Per image the most harmful score over clean and every full-coverage attack of at most ``budget`` grey levels."""
    attacked = [
        scores
        for c, scores in episode.scores.items()
        if c.attack in attacks and c.budget is not None and c.budget <= budget and np.isfinite(scores).all()
    ]
    everything = np.ones(len(episode.ids), bool)
    values = worst_case(episode.labels, episode.clean, np.array(attacked).reshape(-1, len(episode.ids)))
    return Rows(episode, CLEAN, values, everything, everything)


def clean_metrics(rows: Rows) -> dict[str, MetricOutcome]:
    """Ranking, decision, probability, selective and conformal metrics on clean scores."""
    e = rows.episode
    found = {name: rows.outcome(name) for name in RANKING_CLEAN}
    found |= decision_metrics(rows, (*DECISIONS, "flag_everything_f1"))
    for calibrator in CALIBRATORS:
        probabilities = e.clean_probabilities(calibrator)
        for name in PROPER:
            found[suffixed(name, calibrator)] = _of(name, e, probabilities)
    found |= _selective(rows) | prediction_sets(rows) | support_only_metrics(rows)
    return found | {"support_coverage": _support_coverage(e)}


def attacked_metrics(rows: Rows) -> dict[str, MetricOutcome]:
    """Robust ranking, decision and entropy-flag metrics under an attack."""
    found = robust_metrics(rows) | {"average_precision": rows.outcome("average_precision")}
    found |= decision_metrics(rows, ("f1", "g_mean", "balanced_accuracy"))
    return found | _flag(rows) | prediction_sets(rows) | support_only_metrics(rows)


def robust_metrics(rows: Rows) -> dict[str, MetricOutcome]:
    """The AUROC in which tied pairs count 0."""
    return {"auroc_robust": rows.outcome("auroc_robust")}


def worst_metrics(rows: Rows) -> dict[str, MetricOutcome]:
    """The four metrics for which a per-image worst case is defined."""
    found = {name: rows.outcome(name) for name in ("auroc_robust", "average_precision")}
    return found | decision_metrics(rows, ("f1", "g_mean"))


def decision_metrics(rows: Rows, names: Sequence[str]) -> dict[str, MetricOutcome]:
    """Metrics of the decisions at the cross-fitted clean threshold."""
    e, kept = rows.episode, rows.kept
    thresholds = e.thresholds

    def apply(name: str) -> MetricOutcome:
        if isinstance(thresholds, NotApplicableError):
            return MetricOutcome(None, int(kept.sum()), str(thresholds))
        return _function(name)(e.labels[kept], (rows.values > thresholds)[kept])

    return {name: apply(name) for name in names}


def support_only_metrics(rows: Rows) -> dict[str, MetricOutcome]:
    """Metrics of the decisions at the threshold that needs no label, the largest leave-one-out support score."""
    labels, threshold = rows.episode.labels[rows.kept], rows.episode.support_threshold
    if isinstance(threshold, NotApplicableError):
        return {f"{name}_{SUPPORT_ONLY}": MetricOutcome(None, labels.size, str(threshold)) for name in AT_SUPPORT}
    flagged = rows.values[rows.kept] > threshold
    return {f"{name}_{SUPPORT_ONLY}": _function(name)(labels, flagged) for name in AT_SUPPORT}


def _support_coverage(e: EpisodeScores) -> MetricOutcome:
    if isinstance(e.support_p_values, NotApplicableError):
        return MetricOutcome(None, len(e.ids), str(e.support_p_values))
    return _function("support_coverage")(e.labels, e.support_p_values, 1 / (1 + e.shots))


def prediction_sets(rows: Rows) -> dict[str, MetricOutcome]:
    """Coverage and size of the conformal prediction sets."""
    e, kept = rows.episode, rows.kept
    if isinstance(e.sets, NotApplicableError):
        return {name: MetricOutcome(None, int(kept.sum()), str(e.sets)) for name in ("coverage", "set_size")}
    sets = np.where(rows.attacked[:, None], e.sets[rows.condition], e.sets[CLEAN])[kept]
    return {name: _function(name)(e.labels[kept], sets) for name in ("coverage", "set_size")}


def _of(metric: str, e: EpisodeScores, given: Floats | Bools | NotApplicableError) -> MetricOutcome:
    if isinstance(given, NotApplicableError):
        return MetricOutcome(None, len(e.ids), str(given))
    return _function(metric)(e.labels, given)


def _selective(rows: Rows) -> dict[str, MetricOutcome]:
    """Risk-coverage areas of the decision p > 1/2 with confidence max(p, 1 - p)."""
    e = rows.episode
    p = rows.platt()
    if isinstance(p, NotApplicableError):
        return {name: MetricOutcome(None, len(e.ids), str(p)) for name in ("aurc", "augrc")}
    errors, confidence = (p > 0.5) != e.labels, np.maximum(p, 1 - p)
    return {name: _function(name)(errors, confidence) for name in ("aurc", "augrc")}


def _flag(rows: Rows) -> dict[str, MetricOutcome]:
    """How well the Platt entropy tells the attacked images from the same images clean."""
    e, hit = rows.episode, rows.attacked
    attacked = rows.platt()

    def flag(name: str) -> MetricOutcome:
        if isinstance(attacked, NotApplicableError) or isinstance(e.platt, NotApplicableError):
            return MetricOutcome(None, int(hit.sum()), str(attacked))
        return _function(name)(entropy(e.platt[CLEAN][hit]), entropy(attacked[hit]), e.folds[hit])

    return {name: flag(name) for name in ("entropy_auroc", "entropy_fpr95")}


def pooled_metrics(all_rows: Sequence[Rows], *, clean: bool) -> dict[str, MetricOutcome]:
    """Calibration error with categories pooled after per-category calibration, of one seed."""
    if not clean:
        return {"ece_under_attack": _of_pooled("ece_under_attack", all_rows, _pooled(all_rows, "platt"))}
    found: dict[str, MetricOutcome] = {}
    for calibrator in CALIBRATORS:
        probabilities = _pooled(all_rows, calibrator)
        for name in POOLED_CLEAN if calibrator == "platt" else ("ece",):
            found[suffixed(name, calibrator)] = _of_pooled(name, all_rows, probabilities)
    platt = _pooled(all_rows, "platt")
    priors = np.concatenate([_fitting_priors(r.episode) for r in all_rows])
    return found | {name: _of_pooled(name, all_rows, platt, priors) for name in PREVALENCES}


def _of_pooled(
    metric: str, all_rows: Sequence[Rows], probabilities: Floats | NotApplicableError, *more: Floats
) -> MetricOutcome:
    labels = np.concatenate([r.episode.labels[r.kept] for r in all_rows])
    if isinstance(probabilities, NotApplicableError):
        return MetricOutcome(None, labels.size, str(probabilities))
    return _function(metric)(labels, probabilities, *more)


def _pooled(all_rows: Sequence[Rows], calibrator: str) -> Floats | NotApplicableError:
    """Cross-fitted probabilities of the kept rows of all categories; other calibrators than Platt only clean."""
    parts = []
    for rows in all_rows:
        p = rows.platt() if calibrator == "platt" else rows.episode.clean_probabilities(calibrator)
        if isinstance(p, NotApplicableError):
            return NotApplicableError(f"{rows.episode.category}: {p}")
        parts.append(p[rows.kept])
    return np.concatenate(parts)


def _fitting_priors(e: EpisodeScores) -> Floats:
    """Share of anomalies in the fold that each image's calibrator was fitted on."""
    share = {fold: float(e.labels[e.folds != fold].mean()) if (e.folds != fold).any() else 0.0 for fold in (0, 1)}
    return np.array([share[int(fold)] for fold in e.folds])


def suffixed(metric: str, calibrator: str) -> str:
    """Platt is the headline and has no suffix: ``ece``; the others have: ``ece_minmax``."""
    return metric if calibrator == "platt" else f"{metric}_{calibrator}"


def _function(metric: str) -> Callable[..., MetricOutcome]:
    function: Callable[..., MetricOutcome] = METRICS.get(metric).function
    return function


def metric_versions(names: Mapping[str, object]) -> dict[str, int]:
    """Version of every metric named in values; a suffix (calibrator, threshold) shares its metric's version."""
    versions = {"robust_score": 1}
    for name in names:
        suffixes = (*CALIBRATORS, SUPPORT_ONLY)
        base = next((name.removesuffix(f"_{s}") for s in suffixes if name.endswith(f"_{s}")), name)
        if base in METRICS:
            versions[name] = METRICS.get(base).version
    return {name: versions[name] for name in sorted(names) if name in versions}
