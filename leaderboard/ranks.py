"""Ranks of a view (PROTOCOL.md section 7): by R, with paired rank intervals; some rows are listed but not ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.statistics.ranking import rank_intervals
from leaderboard.columns import BY_KEY
from leaderboard.record import SCALE, Cell
from leaderboard.table import TrackTable, View, round_half_up

REPLICATE_SCALE = 10_000


@dataclass(frozen=True, slots=True)
class Rank:
    """A row's place with its interval; ``reason`` where there is none."""

    rank: int | None
    low: int | None = None
    high: int | None = None
    reason: str | None = None


def unranked(table: TrackTable, view: View, position: int) -> str | None:
    """Why a row has no rank in a view whatever its R; None = may be ranked."""
    row = table.rows[position]
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


def replicates(table: TrackTable, dataset: str, position: int) -> tuple[int, ...]:
    """Replicates of R in 1 / REPLICATE_SCALE, averaged over data sets; empty where a data set has none."""
    row = table.rows[position]
    names = [n for n in table.names(dataset) if table.info[n].has_normals]
    stored = [row.datasets[n].replicates for n in names if n in row.datasets]
    if len(stored) < len(names) or not names or len({len(v) for v in stored} | {0}) != 2:
        return ()
    return tuple(round_half_up(m * REPLICATE_SCALE) for m in np.mean(np.array(stored), axis=0).tolist())


def ranks(table: TrackTable, view: View) -> list[Rank]:
    """A rank per row; transductive rows, which see the unlabelled test set, are ranked among themselves."""
    scores = table.cells(BY_KEY["r"], view)
    found = [_without(table, view, i, cell) for i, cell in enumerate(scores)]
    for league in (False, True):
        members = [
            i for i, row in enumerate(table.rows) if found[i] is None and row.track.detector.transductive is league
        ]
        values = [scores[i].value or 0 for i in members]
        samples = [replicates(table, view.dataset, i) for i in members]
        for i, rank in zip(members, league_ranks(values, samples), strict=True):
            found[i] = rank
    return [rank or Rank(None) for rank in found]


def _without(table: TrackTable, view: View, position: int, cell: Cell) -> Rank | None:
    reason = unranked(table, view, position)
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
