"""`trustad runs`: show, verify and clean up run folders."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

app = cyclopts.App(name="runs", help="Show, verify and clean up run folders.")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]


@app.command
def show(run: Path, /, *, as_json: Json = False) -> None:
    """Cells of a run folder by detector, data set and attack.

    Parameters
    ----------
    run
        Output folder of `trustad run`.
    """
    from benchmark.runs.run_folder import contents, open_store

    rows = contents(open_store(run))
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    for row in rows:
        cells = sum(row.conditions.values())
        print(f"{row.detector:32s} {row.dataset:12s} {cells:6d} cells {row.images:9,d} scores {row.seconds:9.1f} s")
        print("  " + ", ".join(f"{name} {count}" for name, count in sorted(row.conditions.items())))


@app.command
def verify(run: Path, /) -> int:
    """Check the digest of every cell, every result, and every evidence file. Exit status 1 if one does not hold.

    Parameters
    ----------
    run
        Output folder of `trustad run`.
    """
    from benchmark.runs.run_folder import faults, open_store

    found = list(faults(run))
    for fault in found:
        print(fault)
    cells = sum(1 for _ in open_store(run).addresses())
    print(f"{cells} cells, {len(found)} faults" + ("; `trustad run` computes damaged cells again" if found else ""))
    return 1 if found else 0


@app.command
def gc(run: Path, /, *, dry_run: bool = False) -> None:
    """Remove damaged cells, cells of older versions of a detector, attack or data set, and leftovers of killed runs.

    Parameters
    ----------
    run
        Output folder of `trustad run`.
    dry_run
        Only list the cells that would go.
    """
    from benchmark.runs.run_folder import collect_garbage

    count = 0
    for path, reason in collect_garbage(run, dry_run=dry_run):
        count += 1
        print(f"{path.relative_to(run)}: {reason}")
    print(f"{count} {'would be removed' if dry_run else 'removed'}", file=sys.stderr)
