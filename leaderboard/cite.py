"""`trustad cite`: a row as the site exports it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from benchmark.errors import ResultError, UnknownNameError
from leaderboard.board_page import make_board
from leaderboard.export import FORMATS, record_bibtex, sheet, to_csv
from leaderboard.read import make_record, read_entry, submission_folders
from leaderboard.tracks import track_tables

Format = Literal["bibtex", "csv", "json", "latex", "markdown"]


def cite(slug: str, format: Format, *, submissions: Sequence[Path]) -> str:
    """The row of ``slug`` on every track it was run on, ranked among all valid submissions.

    Raises:
        UnknownNameError: If no submission has that slug.
        ResultError: If that submission is invalid.
    """
    records, reasons = [], []
    folders = submission_folders(submissions)
    for folder in folders:
        entry, problems = read_entry(folder)
        if entry is not None:
            records.append(make_record(entry))
        if folder.name == slug:
            reasons = [f"{p.file}: {p.reason}" for p in problems]
    record = next((r for r in records if r.slug == slug), None)
    if record is None:
        if reasons:
            raise ResultError("; ".join(reasons))
        raise UnknownNameError("submission", slug, [f.name for f in folders])
    if format == "bibtex":
        return record_bibtex(record)
    tables = [table for table in track_tables(records) if any(row.slug == slug for row in table.rows)]
    sheets = [sheet(make_board(table), frozenset({slug})) for table in tables]
    if format == "csv":
        return "".join(to_csv(s, header=i == 0) for i, s in enumerate(sheets))
    return "\n".join(FORMATS[format](s) for s in sheets)
