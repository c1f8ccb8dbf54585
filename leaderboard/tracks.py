"""Records -> one table per version of a track, current tracks first, empty ones included."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.tracks import load_track, track_names
from leaderboard.record import Record
from leaderboard.table import TableRow, TrackTable

HOME_ORDER = ("few-shot", "zero-shot", "few-shot-672", "embedded", "demo")


def track_tables(records: Sequence[Record]) -> list[TrackTable]:
    """A table per current track, in the order of importance, then one per older version that has rows."""
    rows: dict[str, list[TableRow]] = {}
    for record in records:
        for track in record.tracks:
            rows.setdefault(track.key, []).append(TableRow(record, track, {d.name: d for d in track.datasets}))
    names = sorted(track_names(), key=lambda n: (HOME_ORDER.index(n) if n in HOME_ORDER else len(HOME_ORDER), n))
    tables = []
    for current in map(load_track, names):
        key = f"{current.name}-v{current.version}"
        expected = tuple(dataset.name for dataset in current.datasets)
        mine = tuple(rows.pop(key, ()))
        tables.append(TrackTable(key, current.title, current.summary, expected, current.ranked_shots, mine))
    return tables + [_older(key, tuple(rows[key])) for key in sorted(rows)]


def _older(key: str, rows: tuple[TableRow, ...]) -> TrackTable:
    ranked = [d.ranked_shots for row in rows for d in row.datasets.values() if d.ranked_shots is not None]
    shots = max(sorted(set(ranked)), key=ranked.count, default=0)
    return TrackTable(key, key, "An earlier version of this track; kept for reference.", (), shots, rows)
