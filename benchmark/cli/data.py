"""``trustad data``: list, prepare, verify, audit and show data sets. Results go to stdout, progress to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from benchmark.cli.listing import rows_of
from benchmark.cli.progress import reporter
from benchmark.errors import DataError, UsageError
from benchmark.registry import DATASETS
from benchmark.types.data import Dataset

app = App(name="data", help="List, prepare, verify, audit and show data sets.")

Root = Annotated[
    Path | None, Parameter(name="--root", help="Folder that contains the data set, or the data set itself.")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
Categories = Annotated[
    tuple[str, ...] | None, Parameter(name="--category", negative="", help="Only this category; may be given again.")
]


@app.command(name="list")
def list_(*, root: Root = None, json: Json = False) -> None:
    """Every data set: categories, licence, page and, with --root, whether it is there."""
    rows = rows_of(DATASETS, lambda name: _listed(name, root))
    if json:
        _print_json(rows)
    else:
        _print_table(["name", "title", "categories", "images", "licence", "url", "prepared"], rows)


@app.command
def prepare(
    name: str,
    /,
    *,
    root: Annotated[Path, Parameter(name="--root", help="Folder to put the data set into.")],
    accept_licence: Annotated[bool, Parameter(negative="", help="Accept the licence without being asked.")] = False,
) -> None:
    """Download, check and extract a data set where that is allowed; otherwise print the exact manual steps."""
    from benchmark.data.download import fetch
    from benchmark.datasets.sources import ARCHIVES, STEPS

    info = DATASETS.get(name)(None).info
    archive = ARCHIVES.get(name)
    if archive is None:
        steps = STEPS.get(name, "Nothing to prepare: the images are generated or belong to a third party's package.")
        print(f"{info.title} cannot be downloaded by a program.\n{info.url}\n{steps}")
        print(f"Put it below {root / name}, then run `trustad data verify {name} --root {root}`.")
        return
    size = f", {info.size_bytes / 1e9:.1f} GB" if info.size_bytes else ""
    _accept(f"{info.title} ({info.licence}, {info.url}{size})", accept_licence)
    with reporter("auto") as report:
        target = fetch(
            name,
            archive,
            root,
            lambda done, total: report(done >> 20, max(total >> 20, 1), f"MiB of {archive.filename}"),
        )
    print(f"{target}\nNow run `trustad data verify {name} --root {root}`.")


@app.command
def verify(name: str, /, *, root: Root = None, category: Categories = None, json: Json = False) -> int:
    """Decode every file, compare counts with the published ones, look for leaks. Exits 1 when something is off."""
    from benchmark.data.integrity import verify as verify_dataset

    reports = verify_dataset(DATASETS.get(name)(root), category)
    if json:
        _print_json([asdict(report) for report in reports])
    else:
        rows = [
            {"category": r.category, **r.found, "problems": len(r.problems) or "", "": "off" if r.problems else "ok"}
            for r in reports
        ]
        _print_table(list(dict.fromkeys(key for row in rows for key in row)), rows)
        for problem in (problem for report in reports for problem in report.problems):
            print(f"{problem.category}: {problem.path + ': ' if problem.path else ''}{problem.what}")
    return int(any(report.problems for report in reports))


@app.command
def audit(name: str, /, *, root: Root = None, category: Categories = None, json: Json = False) -> int:
    """AUROC of trivial statistics per category. Exit status 1 when one separates the classes, or files are damaged."""
    from benchmark.data.shortcuts import audit as audit_dataset

    dataset: Dataset = DATASETS.get(name)(root)
    manifest = dataset.index(category)
    audits = audit_dataset(dataset, manifest)
    if json:
        _print_json([{**asdict(row), "warning": row.warning} for row in audits])
    else:
        rows = [{"category": row.category, **{k: f"{v:.3f}" for k, v in row.auroc.items()}} for row in audits]
        _print_table(list(dict.fromkeys(key for row in rows for key in row)), rows)
        for line in (row.warning or row.reason for row in audits):
            if line:
                print(line)
    broken = {problem.category for problem in manifest.problems}
    return int(any(row.warning or row.category in broken for row in audits))


@app.command
def show(name: str, category: str, /, *, root: Root = None, out: Path | None = None) -> None:
    """Write a contact sheet of a category as PNG, masks outlined in red, and print its path."""
    from benchmark.data.contact_sheet import contact_sheet
    from benchmark.storage.jsonio import atomic_write_with

    dataset: Dataset = DATASETS.get(name)(root)
    sheet = contact_sheet(dataset, dataset.index([category]), category)
    path = out or Path(f"{name}-{category}.png")
    atomic_write_with(path, lambda temp: sheet.save(temp, format="PNG"))
    print(path)


def _listed(name: str, root: Path | None) -> dict[str, Any]:
    from benchmark.datasets.published import PUBLISHED

    info = DATASETS.get(name)(None).info
    counts = [n for row in PUBLISHED.get(name, {}).values() for key, n in row.items() if key != "empty_masks"]
    return {
        "name": name,
        "title": info.title,
        "categories": len(info.categories),
        "images": sum(counts) or None,
        "licence": info.licence,
        "url": info.url,
        "prepared": _prepared(name, root),
    }


def _prepared(name: str, root: Path | None) -> str:
    """How many categories lie below the root; "always" for data sets that are made or shipped."""
    from benchmark.datasets.files import FileDataset

    dataset = DATASETS.get(name)(None)
    if not isinstance(dataset, FileDataset) or dataset.root is not None:
        return "always"
    if root is None:
        return ""
    try:
        found = DATASETS.get(name)(root)
    except DataError:
        return "no"
    return f"{len(found.present())} of {len(found.info.categories)} categories"


def _accept(what: str, accepted: bool) -> None:
    if accepted:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{what}: read the licence and give --accept-licence")
    print(f"{what}\nDo you accept the licence? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError("licence not accepted; nothing was downloaded")


def _print_json(rows: Sequence[Any]) -> None:
    from benchmark.storage.jsonio import pretty_json

    print(pretty_json(rows), end="")


def _print_table(columns: Iterable[str], rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = list(columns)
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row.get(name, "")) if row.get(name) is not None else "" for name in names))
    console = Console(width=None if sys.stdout.isatty() else 240, highlight=False)
    console.print(table)
