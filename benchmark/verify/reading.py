"""Reading a submission's files strictly: metadata, results, evidence, and every text in them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.errors import ResultError
from benchmark.results.evidence import read_pixels, read_probes, read_scores
from benchmark.results.schema import RunResult, load_result
from benchmark.results.submission import load_gallery, load_submission, load_verification
from benchmark.storage.jsonio import digest_file
from benchmark.verify.subject import Entry, Subject

SUFFIXES = {"scores": "", "pixels": ".pixel", "probes": ".probe"}
READERS = {"scores": read_scores, "pixels": read_pixels, "probes": read_probes}
MARKUP: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("HTML", re.compile(r"<\s*[A-Za-z/!?]|&#|&[a-z]{2,8};")),
    ("a script address", re.compile(r"(?i)\b(javascript|vbscript)\s*:\s*\S|\bdata:[a-z]+/|\bfile://")),
    ("a spreadsheet formula", re.compile(r"^\s*[=@\t\r]|^\s*[+-]\s*[A-Za-z(=@]")),
    ("a LaTeX command", re.compile(r"\\[A-Za-z]+|\$\$|\^\^")),
    ("control or direction characters", re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")),
)
"""What no text of a submission may hold: texts end in HTML, CSV and LaTeX, and escaping once more costs nothing."""


def check_metadata(subject: Subject) -> str:
    """submission.toml, verification.json and the gallery."""
    subject.submission = load_submission(subject.folder)
    load_verification(subject.folder)
    load_gallery(subject.folder)
    return f"{subject.submission.name}, by {subject.submission.authors[0]}"


def check_evidence_files(subject: Subject) -> str:
    """Every parquet file is decoded once in a process of limited memory, which may die of it."""
    folder = subject.folder.resolve()
    files = [*sorted(folder.glob("evidence/*.parquet")), *sorted(folder.glob("counter/*/evidence.parquet"))]
    program = [sys.executable, "-m", "benchmark.verify.sandbox.parquet_guard", *map(str, files)]
    home = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False, cwd=home)
    except subprocess.TimeoutExpired:
        raise ResultError("the evidence takes more than 300 s to read") from None
    if done.returncode:
        reason = done.stdout.strip() or f"the reader ended with status {done.returncode}"
        raise ResultError(f"evidence: {reason}")
    return f"{len(files)} files"


def check_results(subject: Subject) -> str:
    """Result files with their evidence, digests included; fills ``subject.entries``."""
    paths = sorted((subject.folder / "results").glob("*.json"))
    subject.entries = [_entry(subject.folder, path) for path in paths]
    detectors = {(e.result.detector.name, e.result.detector.version) for e in subject.entries}
    if len(detectors) > 1:
        raise ResultError(f"results of {len(detectors)} detectors; a submission holds one")
    named = {f.file for e in subject.entries for f in e.result.evidence}
    for path in sorted((subject.folder / "evidence").glob("*")):
        if path.name not in named:
            raise ResultError(f"evidence/{path.name} belongs to no result")
    return f"{len(paths)} results of {subject.entries[0].result.detector.name}"


def _entry(folder: Path, path: Path) -> Entry:
    result = load_result(path)
    if path.stem != result.stem:
        raise ResultError(f"results/{path.name} holds {result.stem}; name it {result.stem}.json")
    found: dict[str, Path] = {}
    for file in result.evidence:
        wanted = f"{result.stem}{SUFFIXES[file.kind]}.parquet"
        if file.file != wanted or file.kind in found:
            raise ResultError(f"{path.name}: its {file.kind} must be one file {wanted}, not {file.file}")
        found[file.kind] = _digested(folder / "evidence" / file.file, file.sha256)
    if "scores" not in found:
        raise ResultError(f"{path.name}: names no scores file; without evidence there is no row")
    frames = {kind: READERS[kind](path) for kind, path in found.items()}
    for file in result.evidence:
        if len(frames[file.kind]) != file.rows:
            raise ResultError(f"{file.file}: {len(frames[file.kind]):,} rows, the result says {file.rows:,}")
    return Entry(path, result, frames["scores"], frames.get("pixels"), frames.get("probes"))


def _digested(path: Path, sha256: str) -> Path:
    if not path.is_file():
        raise ResultError(f"evidence/{path.name} is missing")
    if (found := digest_file(path)) != sha256:
        raise ResultError(f"evidence/{path.name} has SHA-256 {found[:12]}..., the result says {sha256[:12]}...")
    return path


def check_texts(subject: Subject) -> str:
    """No text holds markup, formulas, commands or hidden characters."""
    assert subject.submission is not None
    count = check_plain("submission.toml", subject.submission.model_dump(mode="json"))
    for entry in subject.entries:
        count += check_plain(entry.path.name, entry.result.model_dump(mode="json"))
    return f"{count:,} texts"


def check_plain(file: str, data: Any) -> int:
    """Number of texts in a file's data.

    Raises:
        ResultError: Naming the first that holds markup, a formula, a command or hidden characters.
    """
    places: dict[str, str] = {}
    _gather(data, "", places)
    for text, where in places.items():
        for what, pattern in MARKUP:
            if pattern.search(text):
                raise ResultError(f"{file}: {where}: holds {what}; write plain text")
    return len(places)


def _gather(data: Any, where: str, places: dict[str, str]) -> None:
    """Every distinct text, keys included, with the place where it stands first."""
    if isinstance(data, str):
        places.setdefault(data, where)
    elif isinstance(data, dict):
        for key, value in data.items():
            places.setdefault(str(key), f"{where} (key)")
            if isinstance(value, str | dict | list | tuple):
                _gather(value, f"{where}.{key}".strip("."), places)
    elif isinstance(data, list | tuple):
        for value in data:
            if isinstance(value, str | dict | list | tuple):
                _gather(value, where, places)


def check_provenance(subject: Subject) -> str:
    """Budget, code and environment are stated and possible."""
    for entry in subject.entries:
        for problem in _implausible(entry.result):
            raise ResultError(f"{entry.path.name}: {problem}")
    return "budget, code and environment are stated"


def _implausible(result: RunResult) -> Iterator[str]:
    timing = result.timing
    if timing.wall_seconds < 0 or (timing.seconds_per_image or 0.0) < 0 or any(v < 0 for v in timing.passes.values()):
        yield "negative times"
    if not re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\+00:00|Z)", timing.started):
        yield f"timing.started {timing.started[:40]!r} is no UTC time"
    if timing.started > timing.finished:
        yield "finished before it started"
    if not result.code.version or not result.environment.packages:
        yield "no program version or package versions"
    for attack in result.attacks:
        if min(attack.forward_passes, attack.backward_passes) < 0:
            yield f"attack {attack.name}: a negative number of passes"
        if attack.knowledge == "white_box" and attack.forward_passes == 0:
            yield f"attack {attack.name}: white box without a single forward pass"
