"""Records -> one table per version of a track, current tracks first, empty ones included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from benchmark.tracks import load_track, track_names
from leaderboard.record import Record, TrackRecord
from leaderboard.table import TableRow, TrackTable

HOME_ORDER = ("few-shot", "zero-shot", "few-shot-672", "embedded", "demo")


def track_tables(records: Sequence[Record]) -> list[TrackTable]:
    """A table per current track, in the order of importance, then one per older version that has rows."""
    found: dict[str, list[tuple[Record, TrackRecord]]] = {}
    for record in records:
        for track in record.tracks:
            found.setdefault(track.key, []).append((record, track))
    rows = {key: _rows(members) for key, members in found.items()}
    names = sorted(track_names(), key=lambda n: (HOME_ORDER.index(n) if n in HOME_ORDER else len(HOME_ORDER), n))
    tables = []
    for current in map(load_track, names):
        key = f"{current.name}-v{current.version}"
        expected = tuple(dataset.name for dataset in current.datasets)
        mine = rows.pop(key, ())
        tables.append(TrackTable(key, current.title, current.summary, expected, current.ranked_shots, mine))
    return tables + [_older(key, rows[key]) for key in sorted(rows)]


def _rows(members: Sequence[tuple[Record, TrackRecord]]) -> tuple[TableRow, ...]:
    kinds: tuple[Callable[[Record, TrackRecord], str], ...] = (
        lambda record, track: record.submission.name,
        lambda record, track: f"{record.submission.name} ({track.detector.backbone or 'no backbone'})",
        lambda record, track: f"{record.submission.name} ({record.slug})",
    )
    counts = [Counter(kind(*member) for member in members) for kind in kinds]
    rows = []
    for record, track in members:
        names = [kind(record, track) for kind in kinds]
        label = next((name for name, count in zip(names, counts, strict=True) if count[name] == 1), names[-1])
        rows.append(TableRow(record, track, {d.name: d for d in track.datasets}, label))
    return tuple(rows)


def _older(key: str, rows: tuple[TableRow, ...]) -> TrackTable:
    ranked = [d.ranked_shots for row in rows for d in row.datasets.values() if d.ranked_shots is not None]
    shots = max(sorted(set(ranked)), key=ranked.count, default=0)
    return TrackTable(key, key, "An earlier version of this track; kept for reference.", (), shots, rows)
