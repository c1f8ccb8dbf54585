"""The page of one submission: every number with its interval, curves, calibration, categories, gallery."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from markupsafe import Markup, escape

from benchmark.results.rows import NO_BUDGET, MetricValue
from benchmark.results.schema import RunResult
from benchmark.types.condition import parse_budget
from leaderboard.beside import CorruptionTable, Experiment, cell_of, corruption_table, experiments
from leaderboard.charts import INK, Point, Series, curves
from leaderboard.read import Entry
from leaderboard.record import SCALE, WORST_CASE, Cell, Condition, DatasetRecord, Record, level_of
from leaderboard.uncertainty import Chart, Uncertainty, uncertainty
from leaderboard.words import DASH, GOALS, attack_name, condition_words, score, shots_words


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
    reduced: DatasetRecord
    headline: tuple[tuple[str, Cell, str], ...]
    curves: tuple[Chart, ...]
    uncertainty: Uncertainty
    heat_heads: tuple[str, ...]
    heat: tuple[HeatRow, ...]
    corruptions: CorruptionTable
    experiments: tuple[Experiment, ...]
    numbers: tuple[NumberTable, ...]


def detector_sections(entry: Entry, record: Record) -> tuple[Section, ...]:
    """One section per result file."""
    reduced = {d.file: d for track in record.tracks for d in track.datasets}
    return tuple(_section(e.result, reduced[e.file]) for e in entry.results)


def _section(result: RunResult, reduced: DatasetRecord) -> Section:
    shots = (
        reduced.ranked_shots
        if reduced.ranked_shots is not None
        else max((v.shots for v in result.scored.values), default=0)
    )
    whole = [v for v in result.scored.values if v.category is None]
    heads, heat = _heat(result, shots)
    corruptions = corruption_table(whole, shots)
    return Section(
        result=result,
        reduced=reduced,
        headline=_headline(result, shots, corruptions),
        curves=tuple(_curves(whole, shots)),
        uncertainty=uncertainty(result, shots),
        heat_heads=heads,
        heat=heat,
        corruptions=corruptions,
        experiments=tuple(experiments(result.scored.probes)),
        numbers=tuple(_numbers(whole)),
    )


def _headline(result: RunResult, shots: int, corruptions: CorruptionTable) -> tuple[tuple[str, Cell, str], ...]:
    worst = {"attack": WORST_CASE, "goal": "two_sided"}
    robust = next((v for v in result.scored.values if v.metric == "robust_score" and v.category is None), None)
    return (
        ("Robust score R", cell_of(robust), "r"),
        ("Clean AUROC", cell_of(result.scored.find("auroc", shots=shots)), "clean"),
        (
            "A(2), worst case",
            cell_of(result.scored.find("auroc_robust", shots=shots, budget="2", **worst)),
            "a",
        ),
        ("ECE raw", cell_of(result.scored.find("ece_minmax", shots=shots)), "ece_raw"),
        ("ECE after Platt", cell_of(result.scored.find("ece", shots=shots)), "ece"),
        ("AUPRO", cell_of(result.scored.find("aupro", shots=shots)), "aupro"),
        ("Corruptions", corruptions.mean, "corruptions"),
    )


def _curves(values: list[MetricValue], shots: int) -> Iterable[Chart]:
    """One chart per goal: a line per attack that covers all images, all starting from the clean AUROC."""
    clean = next((v for v in values if v.metric == "auroc" and v.attack is None and v.shots == shots), None)
    start = [_point(clean, None)] if clean and clean.value is not None else []
    budgeted = [v for v in values if v.budget and v.budget != NO_BUDGET and v.shots == shots]
    for goal, title in GOALS.items():
        metrics = ("auroc_robust",) if goal == "two_sided" else ("auroc", "auroc_robust")
        rows = [v for v in budgeted if v.goal == goal and v.metric in metrics]
        images = max((v.n for v in rows), default=0)
        lines: dict[str, list[Point]] = {}
        for v in rows:
            if v.value is not None and v.n == images:
                lines.setdefault(v.attack or "", []).append(_point(v, v.budget))
        series = [
            Series(attack_name(Condition(name, goal, None)), tuple(start + sorted(points, key=lambda p: p.x)), style)
            for style, (name, points) in enumerate(sorted(lines.items()))
            if name != WORST_CASE
        ]
        if WORST_CASE in lines:
            points = tuple(start + sorted(lines[WORST_CASE], key=lambda p: p.x))
            series.append(Series("worst case", points, INK, band=True))
        if series:
            levels = sorted({p.x for s in series for p in s.points})
            words = "; band: 95 % interval of the worst case" if WORST_CASE in lines else ""
            svg = curves(f"AUROC under attack, {title}", series, levels)
            yield Chart(f"AUROC under attack, {title}", f"{shots_words(shots)}; attacks on all images{words}", svg)


def _point(value: MetricValue, budget: str | None) -> Point:
    return Point(level_of(budget), value.value or 0.0, value.low, value.high)


def _heat(result: RunResult, shots: int) -> tuple[tuple[str, ...], tuple[HeatRow, ...]]:
    """Category by condition: clean, then the worst case at each budget (or the strongest single attack stored)."""
    values = {v.key: v for v in result.scored.values if v.category is not None and v.shots == shots}
    levels = sorted({v.budget for v in values.values() if v.attack == WORST_CASE and v.budget}, key=level_of)
    if not values:
        return (), ()
    rows = []
    for category in result.dataset.categories:
        keys = [("auroc", category.name, shots, "", "", Fraction(0))]
        keys += [("auroc_robust", category.name, shots, WORST_CASE, "two_sided", parse_budget(e)) for e in levels]
        cells = tuple(_heat_cell(cell_of(values.get(key))) for key in keys)
        rows.append(HeatRow(category.name, category.normals, category.anomalies, bool(category.warnings), cells))
    return ("clean", *levels), tuple(rows)


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
            table.setdefault(Condition(v.attack, v.goal, v.budget), {})[v.metric] = v
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
