"""From a run folder to submissions/<slug>, ready for a pull request."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from benchmark.errors import ResultError, StoreError, UsageError
from benchmark.planning.jobs import REDUCED
from benchmark.results.schema import DetectorRef, RunResult, load_result
from benchmark.results.submission import Gallery, load_gallery, load_submission
from benchmark.storage.jsonio import pretty_json
from benchmark.verify.layout import check_slug

TODO = "TODO"


@dataclass(frozen=True, slots=True)
class About:
    """What a run cannot know; None = taken from the detector's card, or a placeholder to fill in."""

    name: str | None = None
    author: tuple[str, ...] = ()
    paper: str | None = None
    paper_url: str | None = None
    code_url: str | None = None
    code_commit: str | None = None
    licence: str | None = None


def make_submission(
    run: Path, slug: str, root: Path, about: About, *, detector: str | None, code: Path | None, update: bool
) -> Path:
    """Write submissions/<slug> in one step: it is there as a whole, or not at all.

    Args:
        run: Run folder of `trustad run`, or one detector's folder in it.
        slug: Name of the submission.
        root: The submissions folder.
        about: For submission.toml; with ``update`` an existing submission.toml is kept.
        detector: NAME@BACKBONE, where the run has several.
        code: A detector.py to hand in.
        update: Replace an existing submission of this slug.

    Raises:
        UsageError: If the run has no results, several detectors, or the slug is taken.
        ResultError: If a result is invalid or the slug malformed.
        StoreError: If the folder cannot be written.
    """
    source = _source(run, detector)
    results = [load_result(path) for path in sorted((source / "results").glob("*.json"))]
    if any(REDUCED in result.track.restrictions for result in results):
        raise UsageError(f"{source} was computed in {REDUCED}, which nobody can check; run it without --precision")
    target = root / slug
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".submit-", dir=root) as work:
            made = Path(work) / slug
            made.mkdir(mode=0o755)
            check_slug_free(made, root)
            _fill(made, source, results, about, code, target)
            if target.exists() and not _same(made, target) and not update:
                raise UsageError(f"{target} exists with other content; choose another --slug, or --update it")
            _swap(made, target, Path(work))
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def partial(submission: Path) -> list[str]:
    """What is partial in a submission: one line for each result that leaves out a part of its track."""
    results = [load_result(path) for path in sorted((submission / "results").glob("*.json"))]
    lines = []
    for result in results:
        failed = sum(failure.kind == "failed" for failure in result.failures)
        reasons = [*result.track.restrictions, *([f"{failed} parts failed"] if failed else [])]
        if not result.track.complete:
            lines.append(f"{result.stem}: {'; '.join(reasons)}: it will be listed, never ranked")
    return lines


def check_slug_free(made: Path, root: Path) -> None:
    """The slug's form, and that no other submission's name differs from it in case only.

    Raises:
        ResultError: If it is malformed or collides.
    """
    check_slug(made)
    for other in root.iterdir():
        if other.name != made.name and other.name.casefold() == made.name.casefold():
            raise ResultError(f"slug {made.name!r} differs from {other.name!r} in case only; choose another")


def _source(run: Path, detector: str | None) -> Path:
    """The folder of one detector's results."""
    found = {}
    for folder in (run, *sorted(p for p in run.glob("*") if p.is_dir())):
        for path in sorted((folder / "results").glob("*.json")):
            found[load_result(path).detector.name] = folder
    if not found:
        raise UsageError(f"{run} holds no results; run `trustad run --out {run}` first")
    names = ", ".join(sorted(found))
    if detector is None and len(found) > 1:
        raise UsageError(f"{run} holds results of {names}; choose one with --detector")
    chosen = detector or next(iter(found))
    if chosen not in found:
        raise UsageError(f"{run} has no results of {chosen!r}; it has {names}")
    return found[chosen]


def _fill(made: Path, source: Path, results: list[RunResult], about: About, code: Path | None, target: Path) -> None:
    for result in results:
        _copy(source / "results" / f"{result.stem}.json", made / "results")
        for file in result.evidence:
            _copy(source / "evidence" / file.file, made / "evidence")
    if code is not None:
        _check_code(code)
        shutil.copyfile(code, made / "detector.py")
    elif (target / "detector.py").is_file():
        shutil.copyfile(target / "detector.py", made / "detector.py")
    for folder in ("weights", "counter"):
        if (target / folder).is_dir():
            shutil.copytree(target / folder, made / folder)
    _copy_gallery(source if (source / "gallery").is_dir() else target, made, results)
    if (target / "submission.toml").is_file():
        shutil.copyfile(target / "submission.toml", made / "submission.toml")
    else:
        (made / "submission.toml").write_text(_toml(_fields(made.name, results[0], about)), "utf-8")
    load_submission(made)


def _check_code(code: Path) -> None:
    """The file says what makes the detector; nothing is executed.

    Raises:
        UsageError: If it is not Python, or nothing in it is called ``detector``.
    """
    import ast

    try:
        body = ast.parse(code.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"--code {code}: not Python ({error})") from error
    names = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assigned = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    names |= {target.id for target in assigned if isinstance(target, ast.Name)}
    names |= {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    if "detector" not in names:
        raise UsageError(
            f"--code {code}: nothing in it is called `detector`; add a line such as `detector = MyDetector`"
        )


def _copy_gallery(source: Path, made: Path, results: list[RunResult]) -> None:
    """The strips of data sets whose licence allows it; their number and size are checked as they are read."""
    gallery = load_gallery(source)
    allowed = {result.dataset.name for result in results if result.dataset.redistributable}
    items = tuple(item for item in gallery.items if item.dataset in allowed) if gallery else ()
    if not items:
        return
    for item in items:
        _copy(source / "gallery" / item.file, made / "gallery")
    kept = Gallery(schema_version=1, items=items)
    (made / "gallery" / "gallery.json").write_text(pretty_json(kept.model_dump(mode="json")), "utf-8")


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(mode=0o755, exist_ok=True)
    shutil.copyfile(path, folder / path.name)


def _fields(slug: str, result: RunResult, about: About) -> dict[str, object]:
    card = result.detector
    given = {key: value for key, value in asdict(about).items() if value and key != "author"}
    fields: dict[str, object] = {
        "schema_version": 1,
        "slug": slug,
        "name": card.title or card.name,
        "authors": list(about.author) or [f"{TODO}: your names"],
        "year": date.fromisoformat(result.timing.finished[:10]).year,
        "licence": f"{TODO}: licence of these numbers, e.g. CC0-1.0",
        "training_data": _seen(card),
        "attacks_run_by": "authors",
    }
    stated = {"backbone": card.backbone, "paper": card.paper, "paper_url": card.url}
    return fields | {key: value for key, value in stated.items() if value} | given


def _seen(card: DetectorRef) -> str:
    if card.flags.random_weights:
        return "none: seeded random weights"
    return card.training_data or f"{TODO}: what weights, prompts and settings have seen"


def _toml(fields: Mapping[str, object]) -> str:
    """TOML of texts, whole numbers and lists of texts."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in fields.items())


def _value(value: object) -> str:
    import json

    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _same(made: Path, target: Path) -> bool:
    """Same results and evidence, byte for byte."""
    for folder in ("results", "evidence"):
        names = [sorted(p.name for p in (base / folder).glob("*")) for base in (made, target)]
        if names[0] != names[1] or filecmp.cmpfiles(made / folder, target / folder, names[0], shallow=False)[1:] != (
            [],
            [],
        ):
            return False
    return True


def _swap(made: Path, target: Path, work: Path) -> None:
    """Rename the new folder into place; the old one goes with the work folder."""
    old = work / ".old"
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
