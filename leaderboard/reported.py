"""Literature values (reported.toml) beside measured ones. They never enter the ranking."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from benchmark.results.rows import Strict
from benchmark.storage.jsonio import canonical_json
from leaderboard.record import CLEAN, Cell, quantum
from leaderboard.table import TrackTable
from leaderboard.words import DASH, score, shots_words

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ReportedValue(Strict):
    """One printed figure, in percent."""

    metric: str
    shots: int
    percent: float
    spread: float | None = None


class ReportedBlock(Strict):
    """Figures of one method on one data set from one source."""

    detector: str
    label: str
    dataset: str
    track: str
    source: str
    provenance: str
    note: str = ""
    values: tuple[ReportedValue, ...]


class _Source(Strict):
    key: str
    citation: str
    url: str = ""


class _File(Strict):
    sources: tuple[_Source, ...]
    blocks: tuple[ReportedBlock, ...]


METRICS = ("auroc", "average_precision", "f1_max", "pixel_auroc", "pixel_f1_max", "aupro")
"""The order of the columns; other metrics follow by name."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A reported figure and the row of the board that measured the same, if any."""

    reported: str
    measured: str
    slug: str
    difference: str


@dataclass(frozen=True, slots=True)
class ReportedRow:
    """All figures of one method on one data set at one support size, by metric."""

    label: str
    dataset: str
    shots: str
    provenance: str
    figures: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class ReportedTable:
    """All figures of one method and track from one source."""

    label: str
    track: str
    citation: str
    url: str
    note: str
    rows: tuple[ReportedRow, ...]

    @property
    def measured(self) -> bool:
        """Whether the board has any of its figures."""
        return any(figure.slug for row in self.rows for figure in row.figures.values())


def metrics_of(rows: Sequence[ReportedRow]) -> list[str]:
    """Metrics of which any row has a figure, in the order of the columns."""
    found = {metric for row in rows for metric in row.figures}
    return [m for m in METRICS if m in found] + sorted(found - set(METRICS))


def load_reported() -> _File:
    """Read reported.toml."""
    text = (files("leaderboard") / "reported.toml").read_text("utf-8")
    return _File.model_validate_json(canonical_json(tomllib.loads(text)))


def reported_tables(tables: Sequence[TrackTable]) -> list[ReportedTable]:
    """All figures, each beside the measured one of the same method, data set, support size and track."""
    data = load_reported()
    sources = {source.key: source for source in data.sources}
    measured = {table.key.rsplit("-v", 1)[0]: table for table in tables if table.expected}
    groups: dict[tuple[str, str, str, str], list[ReportedRow]] = {}
    for block in data.blocks:
        key = (block.label, block.track, block.source, block.note)
        groups.setdefault(key, []).extend(_rows(block, measured.get(block.track)))
    return [
        ReportedTable(label, track, sources[source].citation, sources[source].url, note, tuple(rows))
        for (label, track, source, note), rows in groups.items()
    ]


def _rows(block: ReportedBlock, table: TrackTable | None) -> Iterator[ReportedRow]:
    for shots in dict.fromkeys(value.shots for value in block.values):
        figures = {value.metric: _figure(block, value, table) for value in block.values if value.shots == shots}
        yield ReportedRow(block.label, block.dataset, shots_words(shots), block.provenance, figures)


def _figure(block: ReportedBlock, value: ReportedValue, table: TrackTable | None) -> Figure:
    printed = f"{value.percent / 100:.3f}" + (f" ± {value.spread / 100:.3f}" if value.spread is not None else "")
    slug, cell = _measured(block, value, table)
    reported = quantum(value.percent / 100)
    difference = DASH if cell.value is None or reported is None else score(cell.value - reported)
    return Figure(printed, score(cell.value), slug, difference)


def _measured(block: ReportedBlock, value: ReportedValue, table: TrackTable | None) -> tuple[str, Cell]:
    for row in table.rows if table else ():
        dataset = row.datasets.get(block.dataset)
        if row.track.detector.family != block.detector or dataset is None:
            continue
        for shots, metric, condition, cell in dataset.cells():
            if (shots, metric, condition) == (value.shots, value.metric, CLEAN) and cell.value is not None:
                return row.slug, cell
    return "", Cell(None)
