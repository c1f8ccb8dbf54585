"""Figures that a measuring script writes into a page of docs, between two comments that name the part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmark.storage.jsonio import atomic_write

DOCS = Path(__file__).parents[2] / "docs"


def write_part(page: str, part: str, lines: Iterable[str]) -> None:
    """Replace what stands between ``<!-- part: begin -->`` and ``<!-- part: end -->`` in docs/``page``."""
    path = DOCS / page
    head, begin, rest = path.read_text("utf-8").partition(f"<!-- {part}: begin -->\n")
    _, end, tail = rest.partition(f"<!-- {part}: end -->\n")
    if not begin or not end:
        raise SystemExit(f"{path} has no part {part!r}")
    text = "\n".join(lines)
    print(text)
    atomic_write(path, f"{head}{begin}{text}\n{end}{tail}")
