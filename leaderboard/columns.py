"""The columns of the board, read from columns.toml: what each shows, its direction and its definition."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Literal

from benchmark.results.rows import Strict
from benchmark.storage.jsonio import canonical_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Column(Strict):
    """One column.

    Attributes:
        key: Stable name, used in addresses, exports and definition anchors.
        metrics: Metric names, of which the first one that is stored is shown. Empty = no metric.
        when: Clean scores, scores under the view's attack, or a summary over budgets (R).
        better: Which end is good.
        unit: "score" (three decimals shown) or what else is printed.
        shown: Visible unless the reader chooses otherwise.
        help: Definition in one or two sentences.
    """

    key: str
    label: str
    group: str
    metrics: tuple[str, ...] = ()
    when: Literal["clean", "attacked", "summary"] = "clean"
    better: Literal["higher", "lower", "neither"]
    unit: Literal["score", "number", "text"] = "score"
    interval: bool = False
    shown: bool = False
    help: str

    @property
    def needs(self) -> Literal["has_masks", "has_normals"]:
        """What a data set must have for the column: masks for localisation, else normal images."""
        return "has_masks" if self.metrics and self.metrics[0].startswith(("pixel_", "aupro")) else "has_normals"


class _File(Strict):
    columns: tuple[Column, ...]


def _load() -> tuple[Column, ...]:
    text = (files("leaderboard") / "columns.toml").read_text("utf-8")
    return _File.model_validate_json(canonical_json(tomllib.loads(text))).columns


COLUMNS = _load()
BY_KEY = {column.key: column for column in COLUMNS}
SHOWN_METRICS = frozenset(metric for column in COLUMNS for metric in column.metrics)
