"""Ranks of a view (PROTOCOL.md section 7): by R, with paired rank intervals; some rows are listed but not ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.statistics.ranking import rank_intervals
from leaderboard.columns import BY_KEY
from leaderboard.record import SCALE, Cell
from leaderboard.table import TableRow, TrackTable, View

REPLICATE_SCALE = 10_000


@dataclass(frozen=True, slots=True)
class Rank:
    """A row's place with its interval; ``reason`` where there is none."""

    rank: int | None
    low: int | None = None
    high: int | None = None
    reason: str | None = None


def unranked(table: TrackTable, view: View) -> list[str | None]:
    """Why each row has no rank in a view whatever its R; None = may be ranked."""
    clean = table.cells(BY_KEY["clean"], replace(view, shots=table.ranked_shots))
    return [_excluded(table, view, row) or _at_chance(cell) for row, cell in zip(table.rows, clean, strict=True)]


def _excluded(table: TrackTable, view: View, row: TableRow) -> str | None:
    """What keeps a row from being ranked on some of the view's data sets."""
    reasons: dict[str, str] = {}
    for name in table.names(view.dataset):
        if name not in row.datasets:
            reasons[name] = "not run"
        elif (reason := row.datasets[name].unranked) is not None:
            reasons[name] = reason
    if not reasons:
        return None
    first = next(iter(reasons))
    everywhere = len(reasons) == len(table.names(view.dataset)) and len(set(reasons.values())) == 1
    return reasons[first] if everywhere else f"{table.info[first].title}: {reasons[first]}"


def _at_chance(clean: Cell) -> str | None:
    """A detector that may be at chance on clean images has nothing that could be robust."""
    at_chance = clean.low is not None and clean.low <= SCALE // 2
    return "the interval of clean AUROC includes 0.5" if at_chance else None


def replicates(table: TrackTable, dataset: str, position: int) -> tuple[int, ...]:
    """Replicates of R in 1 / REPLICATE_SCALE; empty where a data set of the view has none."""
    found = table.robust_replicates(dataset, position)
    return () if found is None else tuple(np.floor(found * REPLICATE_SCALE + 0.5).astype(int).tolist())


def ranks(table: TrackTable, view: View) -> list[Rank]:
    """A rank per row; transductive rows, which see the unlabelled test set, are ranked among themselves."""
    scores = table.cells(BY_KEY["r"], view)
    reasons = unranked(table, view)
    found = [_without(table, view, reason, cell) for reason, cell in zip(reasons, scores, strict=True)]
    for league in (False, True):
        members = [
            i for i, row in enumerate(table.rows) if found[i] is None and row.track.detector.transductive is league
        ]
        values = [scores[i].value or 0 for i in members]
        samples = [replicates(table, view.dataset, i) for i in members]
        for i, rank in zip(members, league_ranks(values, samples), strict=True):
            found[i] = rank
    return [rank or Rank(None) for rank in found]


def _without(table: TrackTable, view: View, reason: str | None, cell: Cell) -> Rank | None:
    if reason is None and cell.value is None:
        elsewhere = view.shots != table.ranked_shots
        reason = f"R is defined at {table.ranked_shots} shots" if elsewhere else (cell.note or "no robust score")
    return Rank(None, reason=reason) if reason else None


def league_ranks(values: Sequence[int], samples: Sequence[Sequence[int]]) -> list[Rank]:
    """Ranks of rows that are compared with each other; ties share the better place."""
    places = [1 + sum(other > value for other in values) for value in values]
    if not all(samples) or len({len(s) for s in samples}) > 1:
        return [Rank(place) for place in places]
    scaled = [value * REPLICATE_SCALE / SCALE for value in values]
    intervals = rank_intervals(scaled, [np.array(s, dtype=np.float64) for s in samples])
    return [Rank(p, i.best, i.worst) if i else Rank(p) for p, i in zip(places, intervals, strict=True)]


def order(table: TrackTable, view: View, found: Sequence[Rank]) -> list[int]:
    """Row positions: ranked rows first, by league and R; then the others by R, A and clean AUROC; then by name."""
    columns = [table.cells(BY_KEY[key], view) for key in ("r", "a", "clean")]

    def place(i: int) -> tuple[object, ...]:
        worst_first = tuple(-(cells[i].value if cells[i].value is not None else -SCALE) for cells in columns)  # type: ignore[operator]
        return (
            found[i].rank is None,
            table.rows[i].track.detector.transductive,
            found[i].rank or 0,
            *worst_first,
            table.rows[i].slug,
        )

    return sorted(range(len(table.rows)), key=place)
