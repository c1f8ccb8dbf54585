"""The ranking page of a track: the default view as plain HTML; the browser takes over from there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from leaderboard.charts import CostPoint, dumbbell
from leaderboard.columns import BY_KEY, COLUMNS, Column
from leaderboard.ranks import Rank, order, ranks
from leaderboard.record import SCALE, Cell
from leaderboard.table import TableRow, TrackTable, View
from leaderboard.words import place, plain_cell, score, traits


@dataclass(frozen=True, slots=True)
class ShownCell:
    """A table cell: text, a second line, and the reason of a dash."""

    column: Column
    text: str
    cell: Cell


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A table row as the template prints it."""

    position: int
    row: TableRow
    rank: Rank
    glyph: Markup
    cells: tuple[ShownCell, ...]
    traits: tuple[str, ...]

    @property
    def place(self) -> str:
        """The printed rank."""
        return place(self.rank.rank, transductive=self.row.track.detector.transductive)


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that the board template needs."""

    table: TrackTable
    view: View
    columns: tuple[Column, ...]
    groups: tuple[tuple[str, int], ...]
    rows: tuple[ShownRow, ...]
    costs: tuple[CostPoint, ...]


def make_board(table: TrackTable) -> Board:
    """The default view of a table that has rows."""
    view = table.default_view
    columns = tuple(column for column in COLUMNS if column.shown)
    measured = {c.key: table.cells(c, view) for c in COLUMNS if c.unit == "score"}
    found = ranks(table, view)
    rows = tuple(
        _shown_row(table, view, i, found[i], {key: cells[i] for key, cells in measured.items()}, columns)
        for i in order(table, view, found)
    )
    groups = tuple((name, len(list(members))) for name, members in groupby(columns, key=lambda c: c.group))
    return Board(table, view, columns, groups, rows, _costs(table, view, measured["r"], found))


def _shown_row(
    table: TrackTable, view: View, position: int, rank: Rank, measured: dict[str, Cell], columns: tuple[Column, ...]
) -> ShownRow:
    row = table.rows[position]
    present = table.present(view.dataset, row)
    cells = []
    for column in columns:
        if column.unit == "score":
            cell = measured[column.key]
            cells.append(ShownCell(column, score(cell.value), cell if column.interval else cell._replace(low=None)))
        else:
            words, _ = plain_cell(column, row, present)
            cells.append(ShownCell(column, words, Cell(None)))
    glyph = dumbbell(measured["clean"].value, measured["a"].value)
    return ShownRow(position, row, rank, glyph, tuple(cells), traits(row))


def _costs(table: TrackTable, view: View, robust: list[Cell], found: list[Rank]) -> tuple[CostPoint, ...]:
    points = []
    for row, cell, rank in zip(table.rows, robust, found, strict=True):
        _, cost = plain_cell(BY_KEY["milliseconds"], row, table.present(view.dataset, row))
        if cell.value is not None and isinstance(cost, float):
            low, high = (None if q is None else q / SCALE for q in (cell.low, cell.high))
            points.append(CostPoint(row.label, row.slug, cost, cell.value / SCALE, low, high, rank.rank is not None))
    return tuple(points)
