"""Submissions from disk: strict validation, every problem named with its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from benchmark.errors import ResultError
from benchmark.results.schema import MAX_RESULT_BYTES, RunResult, parse_result
from benchmark.results.submission import (
    CounterRecord,
    Gallery,
    Submission,
    Verification,
    load_gallery,
    load_submission,
    load_verification,
)
from benchmark.storage.jsonio import digest_bytes, digest_file, digest_json
from leaderboard.claims import lowered
from leaderboard.record import DetectorRecord, Record, TrackRecord, dataset_record, step_record


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadedResult:
    """A valid result file: its path relative to the submission, digest and content, lowered by ``claims``."""

    file: str
    sha256: str
    result: RunResult
    claims: tuple[CounterRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A valid submission with all of its valid results, sorted by file name.

    ``local``: a run that nobody submitted; its submission is filled in from the detector.
    """

    folder: Path
    submission: Submission
    local: bool
    verification: Verification | None
    gallery: Gallery | None
    results: tuple[LoadedResult, ...]


def submission_folders(roots: Sequence[Path]) -> tuple[Path, ...]:
    """Folders with a submission.toml or with results under any of ``roots``, sorted by name.

    Raises:
        ResultError: If a root is no folder, or two roots hold a folder of one name.
    """
    found: dict[str, Path] = {}
    for root in roots:
        if not root.is_dir():
            raise ResultError(f"{root} is no folder; name the folder that holds <slug>/submission.toml")
        for folder in root.iterdir():
            if not ((folder / "submission.toml").is_file() or any((folder / "results").glob("*.json"))):
                continue
            if folder.name in found:
                raise ResultError(f"{folder} and {found[folder.name]} claim one slug; rename one of them")
            found[folder.name] = folder
    return tuple(found[name] for name in sorted(found))


def input_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of every file that a build reads from a submission."""
    files = [folder / "submission.toml", folder / "verification.json"]
    files += sorted((folder / "results").glob("*.json")) + sorted((folder / "gallery").glob("*"))
    return digest_json([[str(p.relative_to(folder)), digest_file(p)] for p in files if p.is_file()])


def read_entry(folder: Path) -> tuple[Entry | None, list[Problem]]:
    """Read one submission; invalid parts are left out and named."""
    problems: list[Problem] = []
    local = not (folder / "submission.toml").exists()
    try:
        submission = None if local else load_submission(folder)
        verification = load_verification(folder)
        gallery = load_gallery(folder)
    except ResultError as error:
        return None, [_problem(folder, folder, error)]
    results: list[LoadedResult] = []
    for path in sorted((folder / "results").glob("*.json")):
        try:
            results.append(_load(path, results))
        except ResultError as error:
            problems.append(_problem(folder, path, error))
    if not results:
        problems.append(Problem(folder.name, "no valid result file under results/"))
        return None, problems
    try:
        _check_gallery(folder, gallery, results)
    except ResultError as error:
        problems.append(_problem(folder, folder / "gallery" / "gallery.json", error))
        gallery = None
    if verification is not None and verification.results == {e.result.stem: e.sha256 for e in results}:
        results = [_with_claims(loaded, verification) for loaded in results]
    try:
        stated = submission or _local_submission(folder, results[0].result)
    except ValidationError:
        return None, [*problems, Problem(folder.name, "the folder's name is no slug: use a-z, 0-9 and -")]
    return Entry(folder, stated, local, verification, gallery, tuple(results)), problems


def _local_submission(folder: Path, result: RunResult) -> Submission:
    detector = result.detector
    return Submission(
        schema_version=1,
        slug=folder.name,
        name=detector.title[:300] or detector.name,
        authors=("local run",),
        year=int(result.timing.finished[:4]),
        paper=detector.paper[:300] or None,
        paper_url=detector.url or None,
        licence="not submitted",
        backbone=detector.backbone,
        training_data=detector.training_data,
        attacks_run_by="maintainers",
        notes="A local run that nobody has submitted.",
    )


def _problem(folder: Path, path: Path, error: ResultError) -> Problem:
    name = str(path.relative_to(folder.parent))
    return Problem(name, str(error).replace(f"{folder.parent}/", ""))


def _load(path: Path, earlier: list[LoadedResult]) -> LoadedResult:
    if path.stat().st_size > MAX_RESULT_BYTES:
        raise ResultError(f"{path}: {path.stat().st_size:,} bytes; a result may have {MAX_RESULT_BYTES:,}")
    data = path.read_bytes()
    result = parse_result(data, source=str(path))
    if path.stem != result.stem:
        raise ResultError(f"{path}: holds {result.stem}; name it {result.stem}.json")
    for other in (loaded.result for loaded in earlier):
        same_track = (other.track.name, other.track.version) == (result.track.name, result.track.version)
        if same_track and (other.detector.name, other.detector.version) != (
            result.detector.name,
            result.detector.version,
        ):
            raise ResultError(
                f"{path}: detector {result.detector.name} version {result.detector.version}, but {other.stem}.json has "
                f"{other.detector.name} version {other.detector.version}; one submission is one detector per track"
            )
    return LoadedResult(path.name, digest_bytes(data), result)


def _with_claims(loaded: LoadedResult, verification: Verification) -> LoadedResult:
    """A result whose counter-claims were re-scored, as they leave it."""
    result = loaded.result
    return replace(loaded, result=lowered(result, verification), claims=verification.credits(result.stem))


def _check_gallery(folder: Path, gallery: Gallery | None, results: list[LoadedResult]) -> None:
    redistributable = {e.result.dataset.name: e.result.dataset.redistributable for e in results}
    for item in gallery.items if gallery else ():
        if not redistributable.get(item.dataset, False):
            raise ResultError(
                f"{folder / 'gallery' / item.file}: the licence of {item.dataset} forbids its images here; remove it"
            )


def make_record(entry: Entry) -> Record:
    """Reduce an entry to its record."""
    tracks: dict[tuple[str, int], list[LoadedResult]] = {}
    for loaded in entry.results:
        tracks.setdefault((loaded.result.track.name, loaded.result.track.version), []).append(loaded)
    digests = {loaded.result.stem: loaded.sha256 for loaded in entry.results}
    step = step_record(entry.verification, digests, max(e.result.track.protocol for e in entry.results))
    audited = step.step in ("audited", "fully_rerun") and not step.stale
    return Record(
        submission=entry.submission,
        local=entry.local,
        step=step,
        self_attacked=entry.submission.attacks_run_by == "authors" and not audited,
        gallery=bool(entry.gallery and entry.gallery.items),
        tracks=tuple(_track_record(loaded) for _, loaded in sorted(tracks.items())),
    )


def _track_record(loaded: list[LoadedResult]) -> TrackRecord:
    first = loaded[0].result
    detector = first.detector
    return TrackRecord(
        name=first.track.name,
        version=first.track.version,
        protocol=first.track.protocol,
        detector=DetectorRecord(
            name=detector.name,
            family=detector.family,
            backbone=detector.backbone,
            title=detector.title,
            summary=detector.summary,
            **detector.flags.model_dump(),
        ),
        datasets=tuple(dataset_record(e.result, e.file, e.sha256, e.claims) for e in loaded),
    )
