"""The page of one submission: every number with its interval, curves, calibration, categories, gallery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup, escape

from benchmark.result_rows import NO_BUDGET, EntropyHistogram, MetricValue, Reliability
from benchmark.results import RunResult
from leaderboard.beside import BesideRow, corruptions, experiments
from leaderboard.charts import Point, Series, curves, histogram, reliability
from leaderboard.read import Entry
from leaderboard.record import SCALE, WORST_CASE, Cell, Condition, Record, quantum
from leaderboard.table import HEADLINE_LEVEL
from leaderboard.words import DASH, GOALS, attack_name, condition_words, score, shots_words

Diagram = TypeVar("Diagram", Reliability, EntropyHistogram)


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart with its caption."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class NumberTable:
    """All numbers at one support size: conditions by metrics, each row's cells as markup."""

    title: str
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, Markup], ...]


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A category's AUROC by condition; ``heat`` is a class q0 (0.0) to q9 (1.0)."""

    name: str
    normals: int
    anomalies: int
    warned: bool
    cells: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One result file on the page."""

    result: RunResult
    file: str
    sha256: str
    headline: tuple[tuple[str, Cell, str], ...]
    curves: tuple[Chart, ...]
    reliability: tuple[Chart, ...]
    entropy: tuple[Chart, ...]
    heat_heads: tuple[str, ...]
    heat: tuple[HeatRow, ...]
    corruptions: tuple[BesideRow, ...]
    experiments: tuple[BesideRow, ...]
    numbers: tuple[NumberTable, ...]


def detector_sections(entry: Entry, record: Record) -> tuple[Section, ...]:
    """One section per result file."""
    ranked = {d.file: d.ranked_shots for track in record.tracks for d in track.datasets}
    return tuple(_section(e.result, e.file, e.sha256, ranked.get(e.file)) for e in entry.results)


def _section(result: RunResult, file: str, sha256: str, ranked: int | None) -> Section:
    shots = ranked if ranked is not None else max((v.shots for v in result.values), default=0)
    whole = [v for v in result.values if v.category is None]
    heads, heat = _heat(result, shots)
    return Section(
        result=result,
        file=file,
        sha256=sha256,
        headline=_headline(result, shots),
        curves=tuple(_curves(whole, shots)),
        reliability=tuple(_reliability(result, shots)),
        entropy=tuple(_entropy(result, shots)),
        heat_heads=heads,
        heat=heat,
        corruptions=tuple(corruptions(whole, shots)),
        experiments=tuple(experiments(result.probes)),
        numbers=tuple(_numbers(whole)),
    )


def cell_of(value: MetricValue | None) -> Cell:
    """A stored value as a cell."""
    if value is None:
        return Cell(None, note="not measured")
    return Cell(quantum(value.value), quantum(value.low), quantum(value.high), value.reason, value.n)


def _headline(result: RunResult, shots: int) -> tuple[tuple[str, Cell, str], ...]:
    worst = {"attack": WORST_CASE, "goal": "two_sided"}
    robust = next((v for v in result.values if v.metric == "robust_score" and v.category is None), None)
    return (
        ("Robust score R", cell_of(robust), "r"),
        ("Clean AUROC", cell_of(result.find("auroc", shots=shots)), "clean"),
        ("A(2/255), worst case", cell_of(result.find("auroc_robust", shots=shots, epsilon="2/255", **worst)), "a"),
        ("ECE raw", cell_of(result.find("ece_minmax", shots=shots)), "ece_raw"),
        ("ECE after Platt", cell_of(result.find("ece", shots=shots)), "ece"),
        ("AUPRO", cell_of(result.find("aupro", shots=shots)), "aupro"),
    )


def _curves(values: list[MetricValue], shots: int) -> Iterable[Chart]:
    """One chart per goal: a line per attack, all starting from the clean AUROC."""
    clean = next((v for v in values if v.metric == "auroc" and v.attack is None and v.shots == shots), None)
    names = sorted({v.attack for v in values if v.attack}, key=lambda a: (a != WORST_CASE, a))
    for goal, title in GOALS.items():
        metrics = ("auroc_robust",) if goal == "two_sided" else ("auroc", "auroc_robust")
        budgeted = [v for v in values if v.epsilon and v.epsilon != NO_BUDGET and v.shots == shots]
        rows = [v for v in budgeted if v.goal == goal and v.metric in metrics]
        series = []
        for style, name in enumerate(names):
            points = [_point(v, v.epsilon) for v in rows if v.attack == name and v.value is not None]
            if points:
                start = [_point(clean, None)] if clean and clean.value is not None else []
                ordered = tuple(start + sorted(points, key=lambda p: p.x))
                series.append(Series(attack_name(Condition(name, goal, None)), ordered, style))
        if series:
            levels = sorted({int(p.x) for s in series for p in s.points})
            note = f"{shots_words(shots)}; bands are 95 % intervals; dotted line: chance"
            yield Chart(f"AUROC under attack, {title}", note, curves(f"AUROC under attack, {title}", series, levels))


def _point(value: MetricValue, epsilon: str | None) -> Point:
    level = int(epsilon.split("/")[0]) if epsilon else 0
    return Point(float(level), value.value or 0.0, value.low, value.high)


CALIBRATORS = {
    "minmax": "raw (min-max)",
    "platt": "Platt",
    "temperature": "temperature",
    "isotonic": "isotonic",
    "beta": "beta",
}


def _reliability(result: RunResult, shots: int) -> Iterable[Chart]:
    for diagram in _headline_level(result.reliability, shots):
        where = condition_words(Condition(diagram.attack, "two_sided", diagram.epsilon)) if diagram.attack else "clean"
        title = (
            f"{CALIBRATORS.get(diagram.calibrator, diagram.calibrator)}, {'attacked' if diagram.attack else 'clean'}"
        )
        bins = [(b.predicted, b.observed, b.count) for b in diagram.bins]
        svg = reliability(f"Reliability: {title}", bins, "attacked" if diagram.attack else "clean")
        yield Chart(title, where, svg)


def _headline_level(diagrams: Sequence[Diagram], shots: int) -> list[Diagram]:
    """Clean diagrams and, of every attack (corruptions are none), those at the budget nearest to the headline one."""
    mine = [d for d in diagrams if d.shots == shots and d.epsilon != NO_BUDGET]
    distance = [abs(_level(d.epsilon) - HEADLINE_LEVEL) if d.epsilon else 0 for d in mine]
    nearest: dict[str | None, int] = {}
    for diagram, far in zip(mine, distance, strict=True):
        nearest[diagram.attack] = min(far, nearest.get(diagram.attack, far))
    return [d for d, far in zip(mine, distance, strict=True) if far == nearest[d.attack]]


def _entropy(result: RunResult, shots: int) -> Iterable[Chart]:
    rows = _headline_level(result.entropy, shots)
    clean = next((h.counts for h in rows if h.attack is None), ())
    for attacked in (h for h in rows if h.attack is not None):
        where = condition_words(Condition(attacked.attack, "two_sided", attacked.epsilon))
        svg = histogram(f"Predictive entropy, clean and {where}", clean, attacked.counts)
        yield Chart("Predictive entropy, clean and attacked", where, svg)


def _heat(result: RunResult, shots: int) -> tuple[tuple[str, ...], tuple[HeatRow, ...]]:
    """Category by condition: clean, then the worst case at each budget (or the strongest single attack stored)."""
    values = {v.key: v for v in result.values if v.category is not None and v.shots == shots}
    levels = sorted({v.epsilon for v in values.values() if v.attack == WORST_CASE and v.epsilon}, key=_level)
    if not values:
        return (), ()
    rows = []
    for category in result.dataset.categories:
        keys = [("auroc", category.name, shots, "", "", "")]
        keys += [("auroc_robust", category.name, shots, WORST_CASE, "two_sided", f"{_level(e):03d}") for e in levels]
        cells = tuple(_heat_cell(cell_of(values.get(key))) for key in keys)
        rows.append(HeatRow(category.name, category.normals, category.anomalies, bool(category.warnings), cells))
    return ("clean", *levels), tuple(rows)


def _level(epsilon: str) -> int:
    return int(epsilon.split("/")[0])


def _heat_cell(cell: Cell) -> tuple[str, str, str]:
    if cell.value is None:
        return DASH, heat(cell), cell.note or ""
    return score(cell.value), heat(cell), ""


def heat(cell: Cell) -> str:
    """Colour class of an AUROC: q0 for 0.0 to q9 for 0.9 and above."""
    return "none" if cell.value is None else f"q{min(max(cell.value, 0) * 10 // SCALE, 9)}"


def _numbers(values: list[MetricValue]) -> Iterable[NumberTable]:
    """A pivot per support size."""
    for shots in sorted({v.shots for v in values}):
        rows = [v for v in values if v.shots == shots]
        metrics = tuple(sorted({v.metric for v in rows}))
        table: dict[Condition, dict[str, MetricValue]] = {}
        for v in rows:
            table.setdefault(Condition(v.attack, v.goal, v.epsilon), {})[v.metric] = v
        order = sorted(table, key=lambda c: (c.attack or "", c.goal or "", c.level))
        yield NumberTable(
            shots_words(shots),
            metrics,
            tuple((condition_words(c), Markup("".join(_number_cell(table[c].get(m)) for m in metrics))) for c in order),
        )


def _number_cell(value: MetricValue | None) -> str:
    """A table cell; thousands of them stand on a page, too many for the template's machinery."""
    if value is None:
        return "<td></td>"
    cell = cell_of(value)
    title = f' title="{escape(cell.note)}"' if cell.note else ""
    known = cell.low is not None and cell.high is not None
    bounds = f"<small>{score(cell.low)}–{score(cell.high)}</small>" if known else ""
    return f"<td{title}>{score(cell.value)}{bounds}</td>"
