"""All pages and files that depend on more than one submission."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.metrics import METRICS
from benchmark.results.schema import PROTOCOL_VERSION
from benchmark.storage.jsonio import canonical_json
from leaderboard.board_page import Board, make_board
from leaderboard.dataset_pages import attack_pages, dataset_pages
from leaderboard.export import FORMATS, SUFFIXES, bibtex_release, record_bibtex, sheet
from leaderboard.feed import atom, board_digest, index_json, updated
from leaderboard.read import Problem
from leaderboard.record import Record
from leaderboard.release import Release, changes
from leaderboard.render import page
from leaderboard.reported import ReportedTable, reported_tables
from leaderboard.shards import shard_files
from leaderboard.table import TrackTable
from leaderboard.words import file_name

SCRIPTS = ("store", "model", "table", "state", "controls", "export", "compare", "board")


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to a track's board."""

    key: str
    title: str
    rows: int
    href: str


@dataclass(frozen=True, slots=True)
class ReleaseNote:
    """A release as its page lists it."""

    name: str
    date: str
    digest: str
    rows: int
    before: str
    changes: tuple[str, ...]


def site_files(
    tables: Sequence[TrackTable],
    records: Sequence[Record],
    problems: Sequence[Problem],
    releases: Sequence[Release],
    edition: str,
) -> Iterator[tuple[str, str]]:
    """(path, content) of boards, data files, lists, feed and exports."""
    index = index_json(tables, records, edition)
    yield "index.json", index
    yield "feed.xml", atom(records)
    reported = reported_tables(tables)
    yield from _board_files(tables, reported, edition)
    yield from _bibliography(records, edition)
    yield from _lists(tables, edition)
    versions = [METRICS.get(name) for name in METRICS.names()]
    yield "definitions.html", page("definitions", root="", edition=edition, protocol=PROTOCOL_VERSION, metrics=versions)
    yield "submit.html", page("submit", root="", edition=edition)
    yield "problems.html", page("problems", root="", edition=edition, problems=problems)
    yield "reported.html", page("reported", root="", edition=edition, blocks=reported)
    yield "releases/index.html", _releases_page(releases, index, edition)


def _board_files(
    tables: Sequence[TrackTable], reported: Sequence[ReportedTable], edition: str
) -> Iterator[tuple[str, str]]:
    tabs = [Tab(t.key, t.title, len(t.rows), f"tracks/{t.key}.html") for t in tables]
    home = next((t for t in tables if t.rows), tables[0])
    for table in tables:
        board = make_board(table) if table.rows else None
        if board is not None:
            yield from shard_files(table)
            for name, write in FORMATS.items():
                yield f"exports/{table.key}.{SUFFIXES[name]}", write(sheet(board))
        name = table.key.rsplit("-v", 1)[0]
        values = {
            "edition": edition,
            "key": table.key,
            "summary": table.summary,
            "tabs": tabs,
            "board": board,
            "scripts": board_scripts(board) if board else (),
            "command": f"trustad run --track {name} --data-root DATA\n"
            f"trustad leaderboard build --submissions runs/{name}",
            "reported": [block for block in reported if block.track == name],
        }
        yield (
            f"tracks/{table.key}.html",
            page("board", root="../", home=False, heading=f"{table.title} track", **values),
        )
        if table is home:
            yield "index.html", page("board", root="", home=True, heading="Ranking", **values)


def board_scripts(board: Board) -> tuple[str, ...]:
    """Scripts of a board page: the store first, then the data files of its default view, then the rest."""
    key, view = board.table.key, board.view
    stem = f"data/{key}/{file_name(view.dataset)}-{view.shots}"
    data = [f"data/{key}/base.js", f"{stem}.clean.js"]
    data += [f"{stem}.{file_name(view.condition.attack)}.js"] if view.condition.attack else []
    return ("static/store.js", *data, *(f"static/{name}.js" for name in SCRIPTS[1:]))


def _bibliography(records: Sequence[Record], edition: str) -> Iterator[tuple[str, str]]:
    entries = {record.slug: record_bibtex(record) for record in records}
    year = max((int(updated(record)[:4]) for record in records), default=1970)
    release = bibtex_release(edition, year, board_digest(records)[:12])
    payload = canonical_json({"release": release, "entries": entries})
    yield "data/bibliography.js", f'trustad.put("bibliography",{payload});\n'
    yield "cite/trustad.bib", "\n".join([release, *entries.values()])
    for slug, text in entries.items():
        yield f"cite/{slug}.bib", text


def _lists(tables: Sequence[TrackTable], edition: str) -> Iterator[tuple[str, str]]:
    datasets, attacks = dataset_pages(tables), attack_pages(tables)
    files = {name: file_name(name) for name in [d.name for d in datasets] + [a.name for a in attacks]}
    yield "datasets/index.html", page("datasets", root="../", edition=edition, pages=datasets, files=files)
    for dataset in datasets:
        yield f"datasets/{files[dataset.name]}.html", page("dataset", root="../", edition=edition, page=dataset)
    tracks = [table.key for table in tables if table.rows]
    drops = {a.name: dict.fromkeys(tracks) | {t.table.key: t.drop for t in a.tracks} for a in attacks}
    yield (
        "attacks/index.html",
        page("attacks", root="../", edition=edition, pages=attacks, files=files, tracks=tracks, drops=drops),
    )
    for attack in attacks:
        yield f"attacks/{files[attack.name]}.html", page("attack", root="../", edition=edition, page=attack)


def _releases_page(releases: Sequence[Release], index: str, edition: str) -> str:
    notes = []
    for release, before in zip(releases, [*releases, None][1:], strict=True):
        found = changes(before.index, release.index) if before else []
        notes.append(
            ReleaseNote(
                release.name, release.date, release.digest, release.rows, before.name if before else "", tuple(found)
            )
        )
    pending = changes(releases[0].index, json.loads(index)) if releases else []
    return page("releases", root="../", edition=edition, releases=notes, pending=pending)
