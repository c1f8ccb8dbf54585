"""The site builder: submissions in, static files out. Reads JSON only; nothing here imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmark.errors import ResultError
from benchmark.jsonio import digest_file, digest_json
from benchmark.results import PROTOCOL_VERSION
from benchmark.submission import LADDER
from benchmark.tracks import load_track, track_names
from leaderboard.board_page import HOME_ORDER, make_board, make_table
from leaderboard.detector_page import detector_sections
from leaderboard.output import EntryState, Output
from leaderboard.read import Entry, Problem, input_digest, make_record, read_entry, submission_folders
from leaderboard.record import Record
from leaderboard.render import HERE, page
from leaderboard.table import TableRow, TrackTable

PARALLEL_FROM = 16
PANELS = {
    "clean": "clean image",
    "mask": "defect mask",
    "perturbation": "perturbation",
    "attacked": "attacked image",
    "map_clean": "map before",
    "map_attacked": "map after",
}


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did. ``problems`` lists the files that were left out (never any in a strict build)."""

    out: Path
    rows: int
    tracks: tuple[str, ...]
    files: int
    written: int
    removed: int
    problems: tuple[Problem, ...]


def build_site(submissions: Sequence[Path], out: Path, *, strict: bool) -> BuildReport:
    """Build the static site; a second build writes only what changed, and equal inputs give equal bytes.

    Args:
        submissions: Folders that hold one folder per submission or local run.
        out: New or empty folder, or the site of an earlier build.
        strict: Fail on the first invalid file instead of leaving it out and listing it on ``problems.html``.

    Raises:
        ResultError: In a strict build, naming every invalid file.
        UsageError: If ``out`` holds files of something else.
    """
    output = Output.open(out, _generator_digest())
    records, problems = _build_entries(submission_folders(submissions), output)
    if strict and problems:
        raise ResultError("; ".join(f"{p.file}: {p.reason}" for p in problems))
    tables = track_tables(records)
    _build_boards(tables, output)
    output.write("definitions.html", page("definitions", root="", protocol=PROTOCOL_VERSION))
    for path in sorted((HERE / "static").iterdir()):
        output.write(f"static/{path.name}", path.read_bytes())
    removed = output.close()
    keys = tuple(t.key for t in tables if t.rows)
    return BuildReport(out, len(records), keys, len(output.files), output.written, removed, tuple(problems))


def _generator_digest() -> str:
    """Digest of everything but the submissions that a page depends on."""
    files = sorted(p for p in HERE.rglob("*") if p.suffix in {".py", ".j2", ".css", ".js", ".svg", ".toml"})
    files += sorted((HERE.parent / "benchmark").glob("*.py")) + sorted((HERE.parent / "benchmark" / "tracks").glob("*"))
    contents = [[p.name, digest_file(p)] for p in files if p.is_file()]
    return digest_json([contents, version("jinja2"), version("markupsafe")])


# --- one submission ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Built:
    """Outcome of one submission, sent back from a worker."""

    folder: Path
    state: EntryState | None
    written: int
    problems: tuple[Problem, ...]


def _build_entries(folders: tuple[Path, ...], output: Output) -> tuple[list[Record], list[Problem]]:
    digests = {folder: input_digest(folder) for folder in folders}
    pending = [folder for folder in folders if not output.unchanged(folder.name, digests[folder])]
    problems: list[Problem] = []
    for folder in folders:
        if folder not in pending:
            output.keep(folder.name)
    for built in _run([(folder, output.root, digests[folder]) for folder in pending]):
        problems += built.problems
        if built.state is not None:
            output.take(built.folder.name, built.state, written=built.written)
    records = [
        Record.model_validate_json((output.root / f"data/rows/{slug}.json").read_bytes())
        for slug in sorted(output.entries)
    ]
    return records, problems


def _run(jobs: list[tuple[Path, Path, str]]) -> Iterator[_Built]:
    workers = min(os.cpu_count() or 1, len(jobs) // PARALLEL_FROM)
    if workers < 2:
        yield from map(_build_entry, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_build_entry, jobs, chunksize=4)


def _build_entry(job: tuple[Path, Path, str]) -> _Built:
    """Read one submission and write its own files; a submission with a problem is read again by the next build."""
    folder, root, inputs = job
    entry, problems = read_entry(folder)
    if entry is None:
        return _Built(folder, None, 0, tuple(problems))
    output = Output(root, "")
    for path, content in entry_files(entry):
        output.write(path, content)
    state = EntryState("" if problems else inputs, tuple(sorted(output.files)))
    return _Built(folder, state, output.written, tuple(problems))


def entry_files(entry: Entry) -> Iterator[tuple[str, str | bytes]]:
    """(path, content) of everything that depends on one submission alone."""
    record = make_record(entry)
    yield f"data/rows/{record.slug}.json", record.model_dump_json() + "\n"
    yield (
        f"detectors/{record.slug}.html",
        page(
            "detector",
            root="../",
            record=record,
            sections=detector_sections(entry, record),
            gallery=entry.gallery,
            panels=PANELS,
            rung=LADDER.index(record.step.step),
        ),
    )
    for item in entry.gallery.items if entry.gallery else ():
        yield f"gallery/{record.slug}/{item.file}", (entry.folder / "gallery" / item.file).read_bytes()


# --- all submissions --------------------------------------------------------------------------------------------------


def track_tables(records: list[Record]) -> list[TrackTable]:
    """A table per current track, in the order of importance, then one per older version that has rows."""
    rows: dict[str, list[TableRow]] = {}
    for record in records:
        for track in record.tracks:
            rows.setdefault(track.key, []).append(TableRow(record, track, {d.name: d for d in track.datasets}))
    names = sorted(track_names(), key=lambda n: (HOME_ORDER.index(n) if n in HOME_ORDER else len(HOME_ORDER), n))
    current = [load_track(name) for name in names]
    tables = [make_table(t, f"{t.name}-v{t.version}", tuple(rows.pop(f"{t.name}-v{t.version}", ()))) for t in current]
    return tables + [make_table(None, key, tuple(rows[key])) for key in sorted(rows)]


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to a track's board."""

    key: str
    title: str
    rows: int
    href: str


def _build_boards(tables: list[TrackTable], output: Output) -> None:
    tabs = [Tab(t.key, t.title, len(t.rows), f"tracks/{t.key}.html") for t in tables]
    home = next((t for t in tables if t.rows), tables[0])
    for table in tables:
        output.write(f"tracks/{table.key}.html", board_html(table, tabs, root="../", home=False))
    output.write("index.html", board_html(home, tabs, root="", home=True))


def board_html(table: TrackTable, tabs: list[Tab], *, root: str, home: bool) -> str:
    """The board page of a track."""
    return page(
        "board",
        root=root,
        home=home,
        heading="Ranking" if home else f"{table.title} track",
        key=table.key,
        summary=table.summary,
        tabs=tabs,
        board=make_board(table, root=root) if table.rows else None,
        scripts=(),
        command=f"trustad run --track {table.key.rsplit('-v', 1)[0]} --data-root DATA && trustad leaderboard build",
        reported=True,
    )
