"""A view as CSV, JSON, LaTeX (booktabs), Markdown and BibTeX. static/export.js writes the same from the browser.

Every text is escaped for its format: a spreadsheet never sees a formula, LaTeX and BibTeX never a command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.results.submission import Submission
from benchmark.storage.jsonio import pretty_json
from leaderboard.board_page import Board, ShownRow
from leaderboard.columns import Column
from leaderboard.record import Record
from leaderboard.words import DASH, condition_words, hundredths, shots_words


@dataclass(frozen=True, slots=True)
class SheetCell:
    """What a cell prints: its text and, for scores with an interval, the limits as printed."""

    text: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True, slots=True)
class SheetColumn:
    """A column: ``kind`` text or number; ``interval`` adds ``_low`` and ``_high`` where a format has room."""

    key: str
    label: str
    kind: str
    interval: bool


@dataclass(frozen=True, slots=True)
class Sheet:
    """A view as printed."""

    track: str
    view: str
    columns: tuple[SheetColumn, ...]
    rows: tuple[tuple[SheetCell, ...], ...]


FIXED = (
    SheetColumn("rank", "Rank", "number", True),
    SheetColumn("detector", "Detector", "text", False),
    SheetColumn("backbone", "Backbone", "text", False),
)


def sheet(board: Board, slugs: frozenset[str] | None = None) -> Sheet:
    """The default view of a board, whole or for some rows."""
    view = board.view
    words = f"{board.table.dataset_title(view.dataset)}; {shots_words(view.shots)}; {condition_words(view.condition)}"
    rows = [shown for shown in board.rows if slugs is None or shown.row.slug in slugs]
    columns = FIXED + tuple(_sheet_column(column) for column in board.columns)
    return Sheet(board.table.key, words, columns, tuple(_sheet_row(shown) for shown in rows))


def _sheet_column(column: Column) -> SheetColumn:
    return SheetColumn(column.key, column.label, "text" if column.unit == "text" else "number", column.interval)


def _sheet_row(shown: ShownRow) -> tuple[SheetCell, ...]:
    rank, record = shown.rank, shown.row.record
    place = SheetCell(shown.place, str(rank.low or ""), str(rank.high or ""))
    fixed = (place, SheetCell(record.submission.name), SheetCell(shown.row.track.detector.backbone or ""))
    return fixed + tuple(
        SheetCell(c.text, "" if c.cell.low is None else hundredths(c.cell.low), hundredths(c.cell.high))
        if c.cell.high is not None
        else SheetCell(c.text)
        for c in shown.cells
    )


def plain_number(text: str) -> str:
    """A printed number for machines: ASCII minus, no thousands separators, nothing for a dash."""
    return "" if text == DASH else text.replace("−", "-").replace(",", "")


# --- CSV and JSON -----------------------------------------------------------------------------------------------------


def csv_text(text: str) -> str:
    """A quoted field; a text that a spreadsheet could take for a formula gets a leading apostrophe."""
    guarded = f"'{text}" if re.match(r"[=+\-@\t\r\n|%]", text) else text
    return '"' + guarded.replace('"', '""') + '"'


def to_csv(sheet: Sheet, *, header: bool = True) -> str:
    """Comma-separated values, one line per row; empty = not measured."""
    names = ["track", "view"]
    for column in sheet.columns:
        names += [column.key, f"{column.key}_low", f"{column.key}_high"] if column.interval else [column.key]
    lines = [",".join(names)] if header else []
    for row in sheet.rows:
        fields = [csv_text(sheet.track), csv_text(sheet.view)]
        for column, cell in zip(sheet.columns, row, strict=True):
            fields.append(plain_number(cell.text) if column.kind == "number" else csv_text(cell.text))
            if column.interval:
                fields += [plain_number(cell.low), plain_number(cell.high)]
        lines.append(",".join(fields))
    return "".join(f"{line}\r\n" for line in lines)


def to_json(sheet: Sheet) -> str:
    """Rows as objects; numbers are numbers, null = not measured."""
    return pretty_json(
        {"track": sheet.track, "view": sheet.view, "rows": [_json_row(sheet, row) for row in sheet.rows]}
    )


def _json_row(sheet: Sheet, row: Sequence[SheetCell]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, cell in zip(sheet.columns, row, strict=True):
        found[column.key] = _json_number(cell.text) if column.kind == "number" else cell.text
        if column.interval:
            found |= {f"{column.key}_low": _json_number(cell.low), f"{column.key}_high": _json_number(cell.high)}
    return found


def _json_number(text: str) -> float | int | str | None:
    plain = plain_number(text)
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", plain):
        return plain or None
    number = float(plain)
    return int(number) if number.is_integer() else number


# --- LaTeX and Markdown -----------------------------------------------------------------------------------------------

_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "—": "--", "−": "$-$", "–": "--", "→": r"$\to$",
    "ε": r"$\varepsilon$", "\n": " ", "\r": " ", '"': "''",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Text that LaTeX prints as it stands: no character keeps a meaning."""
    return "".join(_LATEX.get(c, c) for c in text)


def to_latex(sheet: Sheet) -> str:
    """A booktabs table, shrunk to the text's width; needs ``\\usepackage{booktabs,graphicx}``."""
    align = "".join("l" if column.kind == "text" else "r" for column in sheet.columns)
    head = " & ".join(latex_text(column.label) for column in sheet.columns)
    rows = "".join(" & ".join(_latex_cell(cell) for cell in row) + " \\\\\n" for row in sheet.rows)
    caption = latex_text(f"TrustAD, {sheet.track}: {sheet.view}. Brackets: 95 % intervals.")
    return (
        "% \\usepackage{booktabs,graphicx}\n"
        f"\\begin{{table*}}\n\\centering\n\\caption{{{caption}}}\n\\resizebox{{\\textwidth}}{{!}}{{%\n"
        f"\\begin{{tabular}}{{{align}}}\n\\toprule\n{head} \\\\\n\\midrule\n{rows}\\bottomrule\n"
        "\\end{tabular}}\n\\end{table*}\n"
    )


def _latex_cell(cell: SheetCell) -> str:
    interval = f" {{\\scriptsize [{latex_text(cell.low)}, {latex_text(cell.high)}]}}" if cell.low else ""
    return latex_text(cell.text) + interval


def markdown_text(text: str) -> str:
    """Text without Markdown or HTML meaning, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&-])", r"\\\1", re.sub(r"\s+", " ", text))


def to_markdown(sheet: Sheet) -> str:
    """A pipe table with the view above it."""
    head = "| " + " | ".join(markdown_text(column.label) for column in sheet.columns) + " |\n"
    rule = "|" + "|".join(" --- " if column.kind == "text" else " ---: " for column in sheet.columns) + "|\n"
    rows = "".join(
        "| "
        + " | ".join(_markdown_cell(column, cell) for column, cell in zip(sheet.columns, row, strict=True))
        + " |\n"
        for row in sheet.rows
    )
    return f"TrustAD, {markdown_text(sheet.track)}: {markdown_text(sheet.view)}\n\n{head}{rule}{rows}"


def _markdown_cell(column: SheetColumn, cell: SheetCell) -> str:
    text = markdown_text(cell.text) if column.kind == "text" else cell.text
    return f"{text} [{cell.low}, {cell.high}]" if cell.low else text


# --- BibTeX -----------------------------------------------------------------------------------------------------------


def bibtex_text(text: str) -> str:
    """A field value: braces and every command character are printed, never obeyed."""
    return latex_text(text)


def bibtex_entry(submission: Submission, tracks: Sequence[str]) -> str:
    """A row of the board as @misc; the method's paper is named in the note."""
    fields = {
        "author": " and ".join("{" + bibtex_text(author) + "}" for author in submission.authors),
        "title": "{" + bibtex_text(f"{submission.name} on TrustAD ({', '.join(tracks)})") + "}",
        "year": str(submission.year),
        "doi": submission.doi or "",
        "url": bibtex_text(submission.paper_url or submission.code_url or ""),
        "note": bibtex_text(submission.paper or ""),
    }
    return _entry(f"trustad-{submission.slug}", fields)


def bibtex_release(name: str, year: int, digest: str) -> str:
    """The board itself as @misc: a frozen release, or the present state with its digest."""
    fields = {
        "author": "{TrustAD maintainers}",
        "title": "{TrustAD: robustness and uncertainty of visual anomaly detectors}",
        "year": str(year),
        "note": bibtex_text(f"Leaderboard {name}, digest {digest}"),
    }
    return _entry(f"trustad-{re.sub(r'[^a-z0-9.]+', '-', name.lower())}", fields)


def _entry(key: str, fields: Mapping[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
    return f"@misc{{{key},\n{lines}}}\n"


def record_bibtex(record: Record) -> str:
    """BibTeX of one row."""
    return bibtex_entry(record.submission, [track.key for track in record.tracks])


FORMATS: Mapping[str, Callable[[Sheet], str]] = {
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
    "markdown": to_markdown,
}
SUFFIXES: Mapping[str, str] = {"csv": "csv", "json": "json", "latex": "tex", "markdown": "md"}
