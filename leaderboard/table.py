"""Records -> tables: columns over rows, macro means over data sets, ranks of a view. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from leaderboard.columns import COLUMNS, Column
from leaderboard.ranking import rank_intervals
from leaderboard.record import (
    CLEAN,
    R_CONDITION,
    ROBUST_SCORE,
    SCALE,
    WORST_CASE,
    Cell,
    Condition,
    DatasetRecord,
    Record,
    TrackRecord,
)

ALL = "all"
HEADLINE_LEVEL = 2


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a track's table: the record and its part on this track."""

    record: Record
    track: TrackRecord
    datasets: Mapping[str, DatasetRecord]

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


@dataclass(frozen=True, slots=True)
class Rank:
    """A row's place; ``reason`` where there is none. ``league`` keeps transductive rows apart."""

    rank: int | None
    low: int | None = None
    high: int | None = None
    reason: str | None = None


def mean_cell(cells: Sequence[tuple[str, Cell]]) -> Cell:
    """Macro mean over data sets, given as (title, cell); null as soon as one is null.

    The interval combines independent data sets by the method of variance estimates recovery (Zou & Donner 2008):
    low = mean - sqrt(sum (value - low)^2) / D, and likewise above.
    """
    values, below, above = [], 0.0, 0.0
    has_interval = bool(cells)
    for title, cell in cells:
        if cell.value is None:
            return Cell(None, reason=f"{title}: {cell.reason}" if len(cells) > 1 else cell.reason)
        values.append(cell.value)
        if cell.low is None or cell.high is None:
            has_interval = False
        else:
            below += (cell.value - cell.low) ** 2
            above += (cell.high - cell.value) ** 2
    if not values:
        return Cell(None, reason="no data set of this track has what the column needs")
    mean = sum(values) / len(values)
    if not has_interval:
        return Cell(round_half_up(mean))
    low, high = mean - math.sqrt(below) / len(values), mean + math.sqrt(above) / len(values)
    return Cell(round_half_up(mean), round_half_up(low), round_half_up(high))


def round_half_up(value: float) -> int:
    """Nearest whole number, halves up, as the browser's Math.round."""
    return math.floor(value + 0.5)


ABSENT = "not measured in this view"


@dataclass(frozen=True)
class TrackTable:
    """All rows of one version of a track.

    Attributes:
        key, title, summary: ``<track>-v<N>`` and its words.
        expected: Data sets of the track file; more may appear in results of older versions.
        ranked_epsilons: Grey levels that enter R.
    """

    key: str
    title: str
    summary: str
    expected: tuple[str, ...]
    ranked_shots: int
    rows: tuple[TableRow, ...]
    ranked_epsilons: tuple[int, ...] = ()
    columns: tuple[Column, ...] = COLUMNS
    _index: dict[tuple[str, int], dict[tuple[str, Condition], list[Cell | None]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for position, row in enumerate(self.rows):
            for name, dataset in row.datasets.items():
                for shots, metric, condition, cell in dataset.cells():
                    table = self._index.setdefault((name, shots), {})
                    table.setdefault((metric, condition), [None] * len(self.rows))[position] = cell

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Data sets that some row has, in the track's order."""
        present = {name for row in self.rows for name in row.datasets}
        return tuple(n for n in self.expected if n in present) + tuple(sorted(present - set(self.expected)))

    @cached_property
    def dataset_info(self) -> dict[str, DatasetRecord]:
        """One record per data set, for its title, licence and address."""
        return {name: dataset for row in self.rows for name, dataset in row.datasets.items()}

    @cached_property
    def views(self) -> tuple[str, ...]:
        """Choices for the data set: ``all`` first where there are several."""
        return ((ALL, *self.datasets)) if len(self.datasets) > 1 else self.datasets

    @cached_property
    def shots(self) -> tuple[int, ...]:
        """Support sizes that occur."""
        return tuple(sorted({shots for _, shots in self._index}))

    def conditions(self, shots: int) -> tuple[Condition, ...]:
        """Attacked conditions at a support size: worst case first, then by attack, goal and budget."""
        found = {c for (_, s), table in self._index.items() if s == shots for _, c in table if c.epsilon}
        order = {"two_sided": 0, "evasion": 1, "false_alarm": 2}
        return tuple(
            sorted(found, key=lambda c: (c.attack != WORST_CASE, c.attack or "", order[c.goal or "two_sided"], c.level))
        )

    @cached_property
    def default_view(self) -> View:
        """All data sets if any row is complete, ranked shots, worst case at the budget nearest to 2/255."""
        complete = any(set(self.datasets) <= set(row.datasets) for row in self.rows)
        by_rows = sorted(
            self.datasets, key=lambda n: (-sum(n in row.datasets for row in self.rows), self.datasets.index(n))
        )
        dataset = self.views[0] if complete else by_rows[0]
        shots = self.ranked_shots if self.ranked_shots in self.shots else self.shots[0]
        conditions = self.conditions(shots)
        worst = [c for c in conditions if c.attack == WORST_CASE] or list(conditions)
        condition = min(worst, key=lambda c: (abs(c.level - HEADLINE_LEVEL), c), default=CLEAN)
        return View(dataset, shots, condition)

    def needed(self, column: Column, dataset: str) -> tuple[str, ...]:
        """Data sets that a column averages over: image columns need normal images, pixel columns masks."""
        names = self.datasets if dataset == ALL else (dataset,)
        info = self.dataset_info
        return tuple(n for n in names if (info[n].has_masks if column.pixel else info[n].has_normals))

    def metric_cells(self, column: Column, metric: str, dataset: str, shots: int, condition: Condition) -> list[Cell]:
        """One cell per row."""
        names = self.needed(column, dataset)
        stored = [self._index.get((n, shots), {}).get((metric, condition)) for n in names]
        if all(cells is None for cells in stored):
            return [Cell(None, reason=ABSENT)] * len(self.rows)
        titles = [self.dataset_info[n].title for n in names]
        blank: list[Cell | None] = [None] * len(self.rows)
        columns = [cells if cells is not None else blank for cells in stored]
        absent = Cell(None, reason=ABSENT)
        return [
            mean_cell([(title, cells[i] or absent) for title, cells in zip(titles, columns, strict=True)])
            for i in range(len(self.rows))
        ]

    def metric_for(self, column: Column, condition: Condition) -> str:
        """AUROC under attack counts ties for the attacker where the goal is two-sided; the views use midranks."""
        return column.metrics[-1] if condition.goal in ("evasion", "false_alarm") else column.metrics[0]

    def condition_for(self, column: Column, condition: Condition) -> Condition:
        """The stored condition that a column shows in a view."""
        if column.when == "clean":
            return CLEAN
        return R_CONDITION if column.when == "summary" else condition

    def cells(self, column: Column, view: View) -> list[Cell]:
        """A measured or derived score column of a view, one cell per row."""
        if column.key == "drop":
            return [_drop(c, a) for c, a in zip(*(self.cells(k, view) for k in self._drop_columns()), strict=True)]
        condition = self.condition_for(column, view.condition)
        metric = self.metric_for(column, condition)
        stored = any((metric, condition) in self._index.get((n, view.shots), {}) for n in self.datasets)
        if condition.attack == WORST_CASE and not stored and column.when == "attacked":
            return self._worst_attack(column, metric, view)
        return self.metric_cells(column, metric, view.dataset, view.shots, condition)

    def _worst_attack(self, column: Column, metric: str, view: View) -> list[Cell]:
        """Metrics without a per-image worst case: the worst single attack of the same goal and budget, named."""
        worst = [Cell(None, reason=ABSENT)] * len(self.rows)
        sign = -1 if column.better == "lower" else 1
        for condition in self.conditions(view.shots):
            if condition.attack == WORST_CASE or condition[1:] != view.condition[1:]:
                continue
            for i, cell in enumerate(self.metric_cells(column, metric, view.dataset, view.shots, condition)):
                best = worst[i].value
                if best is None and cell.value is None and worst[i].reason == ABSENT:
                    worst[i] = cell
                elif cell.value is not None and (best is None or sign * cell.value < sign * best):
                    worst[i] = cell._replace(note=f"worst single attack: {condition.attack}")
        return worst

    def _drop_columns(self) -> tuple[Column, Column]:
        by_key = {column.key: column for column in self.columns}
        return by_key["clean"], by_key["a"]

    def robust_scores(self, view: View) -> list[Cell]:
        """R of every row."""
        column = next(c for c in self.columns if c.metrics == (ROBUST_SCORE,))
        return self.cells(column, view)

    def replicates(self, dataset: str, position: int) -> tuple[int, ...]:
        """Replicates of R in ten-thousandths, averaged over data sets; empty where a data set has none."""
        names = self.datasets if dataset == ALL else (dataset,)
        info = self.dataset_info
        stored = [self.rows[position].datasets.get(n) for n in names if info[n].has_normals]
        values = [d.replicates if d else () for d in stored]
        if not values or not all(values) or len({len(v) for v in values}) != 1:
            return ()
        return tuple(round_half_up(m * SCALE) for m in np.mean(np.array(values), axis=0).tolist())

    def unranked(self, view: View, position: int) -> str | None:
        """Why a row has no rank in a view; None = ranked."""
        row = self.rows[position]
        for name in self.datasets if view.dataset == ALL else (view.dataset,):
            dataset = row.datasets.get(name)
            title = self.dataset_info[name].title
            if dataset is None:
                return f"not run on {title}"
            if dataset.unranked:
                return f"{title}: {dataset.unranked}"
        return None

    def ranks(self, view: View) -> list[Rank]:
        """Ranks by R with paired Holm intervals; transductive rows are ranked among themselves."""
        scores = self.robust_scores(view)
        ranks = [self._no_rank(view, i, cell) for i, cell in enumerate(scores)]
        for league in (False, True):
            members = [
                i for i, row in enumerate(self.rows) if ranks[i] is None and row.track.detector.transductive is league
            ]
            for i, rank in zip(members, self._league(view, members, scores), strict=True):
                ranks[i] = rank
        return [rank or Rank(None) for rank in ranks]

    def _no_rank(self, view: View, position: int, cell: Cell) -> Rank | None:
        reason = self.unranked(view, position)
        if reason is None and cell.value is None:
            reason = f"R is defined at {self.ranked_shots} shots" if view.shots != self.ranked_shots else cell.reason
        return Rank(None, reason=reason) if reason else None

    def _league(self, view: View, members: Sequence[int], scores: Sequence[Cell]) -> Iterable[Rank]:
        values = [scores[i].value or 0 for i in members]
        places = [1 + sum(other > value for other in values) for value in values]
        replicates = [self.replicates(view.dataset, i) for i in members]
        if not all(replicates) or len({len(r) for r in replicates}) != 1:
            return [Rank(place) for place in places]
        intervals = rank_intervals(values, np.array(replicates, dtype=np.float64))
        return [Rank(place, low, high) for place, (low, high) in zip(places, intervals, strict=True)]

    def order(self, view: View) -> list[int]:
        """Row positions: by rank, then unranked rows by R, A and clean AUROC, then by name."""
        ranks = self.ranks(view)
        by_key = {column.key: column for column in self.columns}
        keys = [[cell.value for cell in self.cells(by_key[k], view)] for k in ("r", "a", "clean")]

        def position(i: int) -> tuple[object, ...]:
            rank = ranks[i].rank
            worst = tuple(-(values[i] if values[i] is not None else -1) for values in keys)  # type: ignore[operator]
            return (rank is None, self.rows[i].track.detector.transductive, rank or 0, *worst, self.rows[i].slug)

        return sorted(range(len(self.rows)), key=position)


def _drop(clean: Cell, attacked: Cell) -> Cell:
    if clean.value is None or attacked.value is None:
        return Cell(None, reason=clean.reason or attacked.reason)
    return Cell(clean.value - attacked.value)
