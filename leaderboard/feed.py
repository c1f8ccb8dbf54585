"""Small machine-readable outputs: Atom feed, badges, index.json."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup

from benchmark.storage.jsonio import digest_json, pretty_json
from leaderboard.columns import BY_KEY
from leaderboard.ranks import order, ranks
from leaderboard.record import SCALE, Cell, Record
from leaderboard.svg import number, tag, text
from leaderboard.table import TrackTable
from leaderboard.words import BADGE_ORDER, score

ATOM = "http://www.w3.org/2005/Atom"
SITE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:trustad")
NEVER = "1970-01-01T00:00:00Z"
ENTRIES = 100


def updated(record: Record) -> str:
    """When the last run of a row finished, RFC 3339 in UTC; 1970 if its date cannot be read."""
    return max((_timestamp(d.finished) for t in record.tracks for d in t.datasets), default=NEVER)


def _timestamp(words: str) -> str:
    try:
        moment = datetime.fromisoformat(words.replace("Z", "+00:00"))
    except ValueError:
        return NEVER
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return aware.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_digest(record: Record) -> str:
    """Digest of the result files of a row: another one is another state of it."""
    return digest_json([[d.file, d.sha256] for t in record.tracks for d in t.datasets])


def board_digest(records: Sequence[Record]) -> str:
    """Digest of the state of the whole board."""
    return digest_json([[r.slug, record_digest(r)] for r in sorted(records, key=lambda r: r.slug)])


def atom(records: Sequence[Record]) -> str:
    """The newest rows first; an entry's id changes with its result files."""
    newest = sorted(records, key=lambda r: (updated(r), r.slug), reverse=True)[:ENTRIES]
    head = [
        tag("title", "TrustAD leaderboard"),
        tag("id", f"urn:uuid:{SITE}"),
        tag("updated", updated(newest[0]) if newest else NEVER),
        tag("author", tag("name", "TrustAD")),
    ]
    body = Markup("\n").join([*head, *map(_entry, newest)])
    return f'<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="{ATOM}">\n{body}\n</feed>\n'


def _entry(record: Record) -> Markup:
    stated = record.submission
    tracks = ", ".join(track.key for track in record.tracks)
    return tag(
        "entry",
        tag("title", f"{stated.name} on {tracks}"),
        tag("id", f"urn:uuid:{uuid.uuid5(SITE, f'{record.slug}/{record_digest(record)}')}"),
        tag("updated", updated(record)),
        tag("link", href=f"detectors/{record.slug}.html"),
        tag("summary", "; ".join(_summary(record))),
    )


def _summary(record: Record) -> list[str]:
    return [
        f"{track.key} / {dataset.name}: R {score(cell.value)}"
        for track in record.tracks
        for dataset in track.datasets
        for _, metric, _, cell in dataset.cells()
        if metric == "robust_score"
    ]


def badge(record: Record) -> str:
    """An SVG badge: R on the first track of the row, with its validity as a word (never as colour alone)."""
    track = record.tracks[0]
    scores = [cell.value for d in track.datasets for _, m, _, cell in d.cells() if m == "robust_score"]
    known = [value for value in scores if value is not None]
    value = score(round(sum(known) / len(known))) if known and len(known) == len(scores) else "no R"
    validity = max((d.badge for d in track.datasets), key=BADGE_ORDER.index)
    left, right = "TrustAD", f"R {value} · {validity}"
    split, width = 12 + 7.0 * len(left), 24 + 7.0 * (len(left) + len(right))
    words = f"TrustAD {track.key}: robust score {value}, validity {validity}"
    fills = {"green": "#1c6b47", "amber": "#8a5a00", "red": "#a8243a"}
    parts = [
        tag("title", words),
        tag("rect", width=width, height=22, rx=4, fill="#2a2d33"),
        tag("path", d=f"M{number(split)} 0h{number(width - split - 4)}a4 4 0 0 1 4 4v14a4 4 0 0 1-4 4H{number(split)}z",
            fill=fills[validity]),
        tag("g", text(left, 7, 15, class_=""), text(right, split + 6, 15, class_=""),
            fill="#fff", font_family="Verdana,DejaVu Sans,sans-serif", font_size=11),
    ]  # fmt: skip
    return str(
        tag("svg", *parts, xmlns="http://www.w3.org/2000/svg", width=width, height=22, role="img", aria_label=words)
    )


def index_json(tables: Sequence[TrackTable], records: Sequence[Record], edition: str) -> str:
    """All rows with rank, R, A and clean AUROC in the default view of their track."""
    data = {
        "format": 1,
        "edition": edition,
        "digest": board_digest(records),
        "tracks": [_track_json(table) for table in tables if table.rows],
    }
    return pretty_json(data)


def _track_json(table: TrackTable) -> dict[str, Any]:
    view = table.default_view
    found = ranks(table, view)
    columns = {key: table.cells(BY_KEY[key], view) for key in ("r", "a", "clean")}
    rows = [
        {
            "slug": table.rows[i].slug,
            "name": table.rows[i].record.submission.name,
            "detector": table.rows[i].track.detector.name,
            "rank": found[i].rank,
            "rank_interval": [found[i].low, found[i].high] if found[i].low else None,
            "not_ranked": found[i].reason,
            "page": f"detectors/{table.rows[i].slug}.html",
            "data": f"data/rows/{table.rows[i].slug}.json",
        }
        | {key: _cell_json(cells[i]) for key, cells in columns.items()}
        for i in order(table, view, found)
    ]
    return {
        "key": table.key,
        "title": table.title,
        "datasets": list(table.datasets),
        "view": {"dataset": view.dataset, "shots": view.shots, **view.condition._asdict()},
        "rows": rows,
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    if cell.value is None:
        return {"value": None, "reason": cell.note}
    low, high = (None if q is None else q / SCALE for q in (cell.low, cell.high))
    return {"value": cell.value / SCALE, "low": low, "high": high}
