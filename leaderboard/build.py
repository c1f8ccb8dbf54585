"""The site builder: submissions in, static files out. Reads JSON only; nothing here imports torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmark.errors import ResultError
from benchmark.results.submission import LADDER
from benchmark.storage.jsonio import digest_file, digest_json
from leaderboard.detector_page import detector_sections
from leaderboard.feed import badge
from leaderboard.output import EntryState, Output
from leaderboard.pages import site_files
from leaderboard.read import Entry, Problem, input_digest, make_record, read_entry, submission_folders
from leaderboard.record import Record
from leaderboard.release import RELEASES, load_releases
from leaderboard.render import HERE, page
from leaderboard.tracks import track_tables

PARALLEL_FROM = 16
LIVE = "live"
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


def build_site(
    submissions: Sequence[Path],
    out: Path,
    *,
    strict: bool,
    releases: Path | None = RELEASES,
    edition: str = LIVE,
) -> BuildReport:
    """Build the static site; a second build writes only what changed, and equal inputs give equal bytes.

    Args:
        submissions: Folders that hold one folder per submission or local run.
        out: New or empty folder, or the site of an earlier build.
        strict: Fail on the first invalid file instead of leaving it out and listing it on ``problems.html``.
        releases: Folder of frozen releases to serve; None = none.
        edition: ``live``, or the name of the release that this site is.

    Raises:
        ResultError: In a strict build, naming every invalid file; in any build, if a frozen release was changed.
        UsageError: If ``out`` holds files of something else.
    """
    output = Output.open(out, _generator_digest(edition))
    frozen = load_releases(releases) if releases is not None else []
    records, problems = _build_entries(submission_folders(submissions), output, edition)
    if strict and problems:
        raise ResultError("; ".join(f"{p.file}: {p.reason}" for p in problems))
    tables = track_tables(records)
    for path, content in site_files(tables, records, problems, frozen, edition):
        output.write(path, content)
    for static in sorted((HERE / "static").iterdir()):
        output.write(f"static/{static.name}", static.read_bytes())
    for release in frozen:
        for name, data in release.files():
            output.write(name, data)
    removed = output.close()
    keys = tuple(t.key for t in tables if t.rows)
    return BuildReport(out, len(records), keys, len(output.files), output.written, removed, tuple(problems))


def _generator_digest(edition: str) -> str:
    """Digest of everything but the submissions that a page depends on."""
    files = sorted(p for p in HERE.glob("*") if p.suffix in {".py", ".toml"})
    files += sorted((HERE / "templates").iterdir()) + sorted((HERE.parent / "benchmark").glob("*.py"))
    files.append(HERE.parent / "attacks" / "cards.py")
    contents = [[p.name, digest_file(p)] for p in files if p.is_file()]
    return digest_json([edition, contents, version("jinja2"), version("markupsafe")])


@dataclass(frozen=True, slots=True)
class _Job:
    folder: Path
    root: Path
    inputs: str
    edition: str


@dataclass(frozen=True, slots=True)
class _Built:
    """Outcome of one submission, sent back from a worker."""

    slug: str
    state: EntryState | None
    written: int
    problems: tuple[Problem, ...]


def _build_entries(folders: Sequence[Path], output: Output, edition: str) -> tuple[list[Record], list[Problem]]:
    jobs = []
    for folder in folders:
        inputs = input_digest(folder)
        if output.unchanged(folder.name, inputs):
            output.keep(folder.name)
        else:
            jobs.append(_Job(folder, output.root, inputs, edition))
    problems: list[Problem] = []
    for built in _run(jobs):
        problems += built.problems
        if built.state is not None:
            output.take(built.slug, built.state, written=built.written)
    rows = [output.root / f"data/rows/{slug}.json" for slug in sorted(output.entries)]
    return [Record.model_validate_json(path.read_bytes()) for path in rows], problems


def _run(jobs: Sequence[_Job]) -> Iterator[_Built]:
    workers = min(os.cpu_count() or 1, len(jobs) // PARALLEL_FROM)
    if workers < 2:
        yield from map(_build_entry, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_build_entry, jobs, chunksize=4)


def _build_entry(job: _Job) -> _Built:
    """Read one submission and write its own files; one with a problem is read again by the next build."""
    entry, problems = read_entry(job.folder)
    if entry is None:
        return _Built(job.folder.name, None, 0, tuple(problems))
    output = Output(job.root, "")
    for path, content in entry_files(entry, job.edition):
        output.write(path, content)
    state = EntryState("" if problems else job.inputs, tuple(sorted(output.files)))
    return _Built(job.folder.name, state, output.written, tuple(problems))


def entry_files(entry: Entry, edition: str) -> Iterator[tuple[str, str | bytes]]:
    """(path, content) of everything that depends on one submission alone."""
    record = make_record(entry)
    yield f"data/rows/{record.slug}.json", record.model_dump_json() + "\n"
    yield f"badges/{record.slug}.svg", badge(record)
    detector = page(
        "detector",
        root="../",
        edition=edition,
        record=record,
        sections=detector_sections(entry, record),
        gallery=entry.gallery,
        panels=PANELS,
        rung=LADDER.index(record.step.step),
        claims=[claim for track in record.tracks for dataset in track.datasets for claim in dataset.counter_claims],
    )
    yield f"detectors/{record.slug}.html", detector
    for item in entry.gallery.items if entry.gallery else ():
        yield f"gallery/{record.slug}/{item.file}", (entry.folder / "gallery" / item.file).read_bytes()
