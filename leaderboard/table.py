"""Records -> tables: columns over rows, macro means over data sets. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from benchmark.metrics.outcome import Floats
from leaderboard.columns import BY_KEY, Column
from leaderboard.means import mean_cell, robust_mean, robust_replicates, with_interval
from leaderboard.record import (
    CLEAN,
    R_CONDITION,
    WORST_CASE,
    AttackRecord,
    Cell,
    Condition,
    DatasetRecord,
    Record,
    TrackRecord,
)

ALL = "all"
HEADLINE_LEVEL = 1 / 64
"""Where one number stands for a curve: the budget nearest to it, in octaves."""


def headline_distance(level: float) -> float:
    """Octaves between a budget in grey levels and `HEADLINE_LEVEL`; infinite for clean."""
    return abs(math.log2(level / HEADLINE_LEVEL)) if level else math.inf


ABSENT = Cell(None, note="not measured in this view")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a track's table: the record and its part on this track, data sets by name.

    ``label`` is its name, with the backbone or the slug where two rows of the table share it.
    """

    record: Record
    track: TrackRecord
    datasets: Mapping[str, DatasetRecord]
    label: str

    @property
    def slug(self) -> str:
        """Permanent address of the row."""
        return self.record.slug


@dataclass(frozen=True, slots=True)
class View:
    """What the board shows: a data set (or ``all``), a support size and a condition for the attacked columns."""

    dataset: str
    shots: int
    condition: Condition


@dataclass(frozen=True)
class TrackTable:
    """All rows of one version of a track.

    Attributes:
        key, title, summary: ``<track>-v<N>`` and its words.
        expected: Data sets of the track file; more may appear in results of older versions.
    """

    key: str
    title: str
    summary: str
    expected: tuple[str, ...]
    ranked_shots: int
    rows: tuple[TableRow, ...]
    _cells: dict[tuple[str, int], dict[tuple[str, Condition], list[Cell | None]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for position, row in enumerate(self.rows):
            for name, dataset in row.datasets.items():
                self._add(position, name, dataset)

    def _add(self, position: int, name: str, dataset: DatasetRecord) -> None:
        """Index a result's values; those on a subset of the images that the metric usually has are marked."""
        stored = list(dataset.cells())
        whole: dict[tuple[int, str, str | None], int] = {}
        for shots, metric, condition, cell in stored:
            key = (shots, metric, condition.goal)
            whole[key] = max(whole.get(key, 0), cell.n)
        for shots, metric, condition, cell in stored:
            n = whole[shots, metric, condition.goal]
            marked = cell if cell.value is None or cell.n == n else cell._replace(note=f"on {cell.n} of {n} images")
            table = self._cells.setdefault((name, shots), {})
            table.setdefault((metric, condition), [None] * len(self.rows))[position] = marked

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Data sets that some row has, in the track's order."""
        present = {name for row in self.rows for name in row.datasets}
        return tuple(n for n in self.expected if n in present) + tuple(sorted(present - set(self.expected)))

    @cached_property
    def info(self) -> dict[str, DatasetRecord]:
        """One record per data set, for its title, licence and address."""
        return {name: dataset for row in self.rows for name, dataset in row.datasets.items()}

    @cached_property
    def attacks(self) -> dict[str, AttackRecord]:
        """Attacks that were run, by name; the newest version of each."""
        runs = [a for row in self.rows for dataset in row.datasets.values() for a in dataset.attacks]
        return {a.name: a for a in sorted(runs, key=lambda a: a.version)}

    @cached_property
    def views(self) -> tuple[str, ...]:
        """Choices for the data set: ``all`` first where there are several."""
        return (ALL, *self.datasets) if len(self.datasets) > 1 else self.datasets

    @cached_property
    def shots(self) -> tuple[int, ...]:
        """Support sizes that occur."""
        return tuple(sorted({shots for _, shots in self._cells}))

    def dataset_title(self, dataset: str) -> str:
        """A view's data set in words."""
        return f"mean of {len(self.datasets)} data sets" if dataset == ALL else self.info[dataset].title

    def names(self, dataset: str) -> tuple[str, ...]:
        """The data sets behind a view's choice."""
        return self.datasets if dataset == ALL else (dataset,)

    def present(self, dataset: str, row: TableRow) -> list[DatasetRecord]:
        """Those of them that a row has."""
        return [row.datasets[name] for name in self.names(dataset) if name in row.datasets]

    def conditions(self, shots: int) -> tuple[Condition, ...]:
        """Attacked conditions at a support size: worst case, attacks, corruptions; by name, goal and budget."""
        found = {c for (_, s), table in self._cells.items() if s == shots for _, c in table if c.budget}
        goals = ("two_sided", "evasion", "false_alarm")

        def place(c: Condition) -> tuple[bool, bool, str, int, float]:
            return c.attack != WORST_CASE, c.natural, c.attack or "", goals.index(c.goal or "two_sided"), c.level

        return tuple(sorted(found, key=place))

    @cached_property
    def default_view(self) -> View:
        """All data sets if any row is complete, ranked shots, worst case at the budget nearest to `HEADLINE_LEVEL`."""
        counts = {n: sum(n in row.datasets for row in self.rows) for n in self.datasets}
        complete = any(set(self.datasets) <= set(row.datasets) for row in self.rows)
        dataset = self.views[0] if complete else max(self.datasets, key=counts.__getitem__)
        shots = self.ranked_shots if self.ranked_shots in self.shots else self.shots[0]
        conditions = self.conditions(shots)
        worst = [c for c in conditions if c.attack == WORST_CASE] or list(conditions)
        condition = min(worst, key=lambda c: (headline_distance(c.level), c), default=CLEAN)
        return View(dataset, shots, condition)

    def cells(self, column: Column, view: View) -> list[Cell]:
        """A score column of a view, one cell per row."""
        if column.key == "drop":
            pairs = zip(self.cells(BY_KEY["clean"], view), self.cells(BY_KEY["a"], view), strict=True)
            return [_drop(clean, attacked) for clean, attacked in pairs]
        if column.key == "r" and len(self._with_normals(view.dataset)) > 1:
            return self._robust(column, view)
        if column.key == "corruptions":
            return self._corruptions(column, view)
        condition = {"clean": CLEAN, "summary": R_CONDITION, "attacked": view.condition}[column.when]
        metric = self._metric(column, condition, view)
        if metric is None and column.when == "attacked" and condition.attack == WORST_CASE:
            return self._worst_attack(column, view)
        return self._means(column, metric, condition, view)

    def _metric(self, column: Column, condition: Condition, view: View) -> str | None:
        """The first of a column's metrics that is stored under a condition."""
        tables = [self._cells.get((n, view.shots), {}) for n in self.names(view.dataset)]
        return next((m for m in column.metrics if any((m, condition) in table for table in tables)), None)

    def _means(self, column: Column, metric: str | None, condition: Condition, view: View) -> list[Cell]:
        """Image columns need normal images and pixel columns masks: other data sets do not enter the mean."""
        names = [n for n in self.names(view.dataset) if getattr(self.info[n], column.needs)]
        if metric is None or not names:
            return [ABSENT] * len(self.rows)
        blank: list[Cell | None] = [None] * len(self.rows)
        stored = [self._cells.get((n, view.shots), {}).get((metric, condition), blank) for n in names]
        titles = [self.info[n].title for n in names]
        sampled = column.key == "clean" and view.shots == self.ranked_shots and len(names) > 1
        return [
            mean_cell(
                [(title, cells[i] or ABSENT) for title, cells in zip(titles, stored, strict=True)],
                [row.datasets[n].clean_replicates for n in names if n in row.datasets] if sampled else (),
            )
            for i, row in enumerate(self.rows)
        ]

    def _corruptions(self, column: Column, view: View) -> list[Cell]:
        """Mean over the natural corruptions of the view; null as soon as a row lacks one. They share their images."""
        natural = [c for c in self.conditions(view.shots) if c.natural and c.goal == "two_sided"]
        metrics = [(c, self._metric(column, c, view)) for c in natural]
        found = [(c.attack or "", self._means(column, metric, c, view)) for c, metric in metrics if metric is not None]
        if not found:
            return [ABSENT] * len(self.rows)
        return [
            mean_cell([(name, cells[i]) for name, cells in found])._replace(low=None, high=None)
            for i in range(len(self.rows))
        ]

    def _with_normals(self, dataset: str) -> list[str]:
        return [n for n in self.names(dataset) if self.info[n].has_normals]

    def _robust(self, column: Column, view: View) -> list[Cell]:
        """R over several data sets: not the mean of their R, but R of their mean AUROCs (PROTOCOL.md section 7)."""
        means = self._means(column, column.metrics[0], R_CONDITION, view)
        return [
            mean if mean.value is None else self._robust_cell(view.dataset, i, mean) for i, mean in enumerate(means)
        ]

    def _robust_cell(self, dataset: str, position: int, mean: Cell) -> Cell:
        row = self.rows[position]
        value = robust_mean([row.datasets[n].budgets for n in self._with_normals(dataset)])
        if value is None:
            return Cell(None, note="its results lack AUROCs at some budget; run `trustad rescore --write` on them")
        found = self.robust_replicates(dataset, position)
        cell = mean._replace(value=value, low=None, high=None)
        lowered = any(row.datasets[n].lowered for n in self._with_normals(dataset))
        return cell if found is None or lowered else with_interval(cell, found)

    def robust_replicates(self, dataset: str, position: int) -> Floats | None:
        """Replicates of a row's R over a view's data sets; None where one of them has none."""
        row, names = self.rows[position], self._with_normals(dataset)
        if not all(n in row.datasets for n in names):
            return None
        return robust_replicates([row.datasets[n].budgets for n in names])

    def _worst_attack(self, column: Column, view: View) -> list[Cell]:
        """Metrics without a per-image worst case: the worst single attack of the same budget on all images, named."""
        worst = [ABSENT] * len(self.rows)
        sign = -1 if column.better == "lower" else 1
        for condition in self.conditions(view.shots):
            if condition.attack == WORST_CASE or condition[1:] != view.condition[1:]:
                continue
            metric = self._metric(column, condition, view)
            for i, cell in enumerate(self._means(column, metric, condition, view)):
                known = worst[i].value
                if cell.value is None:
                    worst[i] = cell if worst[i] == ABSENT else worst[i]
                elif not cell.note and (known is None or sign * cell.value < sign * known):
                    worst[i] = cell._replace(note=f"worst single attack: {condition.attack}")
        return worst


def _drop(clean: Cell, attacked: Cell) -> Cell:
    if clean.value is None or attacked.value is None:
        return Cell(None, note=clean.note if clean.value is None else attacked.note)
    return Cell(clean.value - attacked.value)
