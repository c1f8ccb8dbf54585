"""What a detector's page shows of its probabilities: reliability diagrams and entropy histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from benchmark.results.rows import NO_BUDGET, EntropyHistogram, Reliability
from benchmark.results.schema import RunResult
from leaderboard.charts import histogram, reliability
from leaderboard.record import Condition, quantum
from leaderboard.table import headline_distance
from leaderboard.words import condition_words, score

Diagram = TypeVar("Diagram", Reliability, EntropyHistogram)
CALIBRATORS = {"minmax": "Raw scores (min-max)", "platt": "After Platt"}
CLEAN_ECE = {"minmax": "ece_minmax", "platt": "ece"}
SMALL = (264, 268)


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart with its caption."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Clean images and the strongest attack first; ``others`` holds the charts of every other attack by its words."""

    reliability: tuple[Chart, ...]
    entropy: tuple[Chart, ...]
    others: tuple[tuple[str, tuple[Chart, ...]], ...]


def uncertainty(result: RunResult, shots: int) -> Uncertainty:
    """The diagrams of a result at a support size, attacked ones at the budget nearest to the headline one."""
    diagrams = _headline_level(result.scored.reliability, shots)
    histograms = _headline_level(result.scored.entropy, shots)
    clean = next((h for h in histograms if h.attack is None), None)
    charts: dict[Condition, tuple[list[Chart], list[Chart]]] = {}
    for d in diagrams:
        charts.setdefault(_condition(d), ([], []))[0].append(_reliability(result, d))
    for h in histograms:
        if clean is not None and h.attack is not None:
            charts.setdefault(_condition(h), ([], []))[1].append(_entropy(result, clean, h))
    unattacked, _ = charts.pop(Condition(None, None, None), ([], []))
    order = sorted(charts, key=lambda c: (_left(result, shots, c), c.attack or ""))
    shown, flagged = charts[order[0]] if order else ([], [])
    others = tuple((condition_words(c), tuple(charts[c][0] + charts[c][1])) for c in order[1:])
    return Uncertainty(tuple(unattacked + shown), tuple(flagged), others)


def _condition(diagram: Diagram) -> Condition:
    return Condition(diagram.attack, "two_sided" if diagram.attack else None, diagram.budget)


def _left(result: RunResult, shots: int, condition: Condition) -> float:
    """AUROC that an attack leaves, for the order by strength."""
    found = result.scored.find("auroc_robust", shots=shots, **condition._asdict())
    return 2.0 if found is None or found.value is None else found.value


def _headline_level(diagrams: Sequence[Diagram], shots: int) -> list[Diagram]:
    """Clean diagrams and, of every attack (corruptions are none), those at the budget nearest to the headline one."""
    mine = [d for d in diagrams if d.shots == shots and d.budget != NO_BUDGET]
    distance = [headline_distance(_condition(d).level) if d.budget else 0.0 for d in mine]
    nearest: dict[str | None, float] = {}
    for diagram, far in zip(mine, distance, strict=True):
        nearest[diagram.attack] = min(far, nearest.get(diagram.attack, far))
    return [d for d, far in zip(mine, distance, strict=True) if far == nearest[d.attack]]


def _reliability(result: RunResult, diagram: Reliability) -> Chart:
    condition = _condition(diagram)
    name = CALIBRATORS.get(diagram.calibrator, f"After {diagram.calibrator}")
    title = f"{name}, {'attacked' if diagram.attack else 'clean'}"
    metric = "ece_under_attack" if diagram.attack else CLEAN_ECE.get(diagram.calibrator, "")
    stated = condition if diagram.attack is None or diagram.calibrator == "platt" else None
    bins = [(b.predicted, b.observed, b.count) for b in diagram.bins]
    svg = reliability(f"Reliability: {title}", bins, "attacked" if diagram.attack else "clean")
    ece = _figure(result, metric, diagram.shots, stated, "ECE")
    return Chart(title, "; ".join(w for w in (condition_words(condition), ece) if w), svg)


def _entropy(result: RunResult, clean: EntropyHistogram, attacked: EntropyHistogram) -> Chart:
    condition = _condition(attacked)
    words = condition_words(condition)
    svg = histogram(f"Predictive entropy, clean and {words}", clean.counts, attacked.counts, SMALL)
    flag = _figure(result, "entropy_auroc", attacked.shots, condition, "flag AUROC")
    return Chart("Predictive entropy", "; ".join(w for w in (words, flag) if w), svg)


def _figure(result: RunResult, metric: str, shots: int, condition: Condition | None, name: str) -> str:
    """``ECE 0.123`` where the result has it."""
    found = result.scored.find(metric, shots=shots, **condition._asdict()) if condition is not None and metric else None
    return f"{name} {score(quantum(found.value))}" if found is not None and found.value is not None else ""
