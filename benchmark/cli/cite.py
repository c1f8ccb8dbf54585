"""`trustad cite`: a row of the leaderboard for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def cite(
    slug: str,
    /,
    *,
    format: Literal["bibtex", "csv", "json", "latex", "markdown"] = "bibtex",
    submissions: Annotated[list[Path] | None, Parameter(negative="")] = None,
) -> None:
    """Print a submission as a citation or a table row, exactly as the site exports it.

    Parameters
    ----------
    slug
        Folder name of the submission.
    format
        Output format.
    submissions
        Folders with submissions, repeatable; default submissions/.
    """
    from leaderboard.cite import cite as row

    print(row(slug, format, submissions=submissions or [Path("submissions")]), end="")
