"""`trustad leaderboard`: build the static site, freeze a release of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from benchmark.errors import UsageError

app = cyclopts.App(name="leaderboard", help="Build the static leaderboard, freeze releases.")
Folders = Annotated[list[Path] | None, Parameter(negative="")]
SUBMISSIONS = Path("submissions")


@app.command
def build(*, submissions: Folders = None, out: Path = Path("site"), strict: bool = True) -> None:
    """Render the leaderboard from result files alone.

    Parameters
    ----------
    submissions
        Folders with submissions or run folders, repeatable; default submissions/, else the run folders in runs/.
    out
        Folder of the site.
    strict
        A bad file fails the build; with --no-strict it is left out and listed.
    """
    from leaderboard.build import build_site

    report = build_site(submissions or _found(), out, strict=strict)
    if not report.rows:
        print("no results were found: give --submissions with the --out of a `trustad run`", file=sys.stderr)
    print(f"{report.rows} rows, {report.files} files ({report.written} written, {report.removed} removed)")
    for problem in report.problems:
        print(f"left out: {problem}")
    print(f"open {(report.out / 'index.html').resolve().as_uri()}")


def _found() -> list[Path]:
    """The submissions of a checkout, or the run folders of a working folder.

    Raises:
        UsageError: If there are neither.
    """
    if SUBMISSIONS.is_dir():
        return [SUBMISSIONS]
    runs = [folder for folder in sorted(Path("runs").glob("*")) if any(folder.glob("*/results/*.json"))]
    if not runs:
        raise UsageError("neither submissions/ nor results in runs/ here; give --submissions with the --out of a run")
    return runs


@app.command
def freeze(name: str, /, *, submissions: Folders = None) -> None:
    """Keep an immutable, digest-named snapshot under leaderboard/releases/.

    Parameters
    ----------
    name
        Release name such as 2026.11.
    submissions
        Folders with submissions, repeatable; default submissions/.
    """
    from leaderboard.release import freeze as freeze_release

    print(freeze_release(name, submissions=submissions or [SUBMISSIONS]))
