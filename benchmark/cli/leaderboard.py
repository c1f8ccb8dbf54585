"""`trustad leaderboard`: build the static site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

app = cyclopts.App(name="leaderboard", help="Build the static leaderboard.")


@app.command
def build(
    *,
    submissions: Annotated[list[Path] | None, Parameter(negative="")] = None,
    out: Path = Path("site"),
    strict: bool = True,
) -> int:
    """Render the leaderboard from result files alone.

    Parameters
    ----------
    submissions
        Folders with submissions, repeatable; default submissions/.
    out
        Folder of the site.
    strict
        A bad file fails the build; with --no-strict it is left out and listed.
    """
    from leaderboard.build import build_site

    report = build_site([Path("submissions")] if submissions is None else submissions, out, strict=strict)
    print(report)
    return 0
