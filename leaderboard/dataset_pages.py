"""Pages by data set (all detectors, hardest categories) and by attack (who resists, strength over budgets)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from leaderboard.attack_kinds import KINDS, AttackText, attack_text, kind
from leaderboard.charts import Point, Series, curves
from leaderboard.columns import BY_KEY
from leaderboard.ranks import Rank, order, ranks
from leaderboard.record import CLEAN, SCALE, WORST_CASE, AttackRecord, Cell, Condition, DatasetRecord, quantum
from leaderboard.table import TableRow, TrackTable, View, headline_distance
from leaderboard.words import attack_title

LINES = 8


@dataclass(frozen=True, slots=True)
class LevelRow:
    """A detector's clean AUROC and A at each budget."""

    row: TableRow
    rank: Rank | None
    robust: Cell | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """A category over all detectors: means, and the detector that does worst on clean images."""

    name: str
    clean: int | None
    robust: int | None
    worst_name: str
    worst: int | None
    warned: bool


@dataclass(frozen=True, slots=True)
class AuditTable:
    """The shortcut audit of a data set: AUROC of trivial statistics by category, and what it warns of."""

    statistics: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatasetTrack:
    """A data set on one track."""

    table: TrackTable
    view: View
    heads: tuple[str, ...]
    rows: tuple[LevelRow, ...]
    categories: tuple[CategoryRow, ...]
    robust_head: str
    audit: AuditTable


@dataclass(frozen=True, slots=True)
class DatasetPage:
    """A data set on all tracks."""

    name: str
    info: DatasetRecord
    tracks: tuple[DatasetTrack, ...]

    @property
    def shortcuts(self) -> int:
        """Categories that a trivial statistic solves."""
        return sum(bool(c.warnings) for c in self.info.categories)


def dataset_pages(tables: Sequence[TrackTable]) -> list[DatasetPage]:
    """One page per data set that any row has, sorted by title."""
    found: dict[str, list[DatasetTrack]] = {}
    info: dict[str, DatasetRecord] = {}
    for table in tables:
        for name in table.datasets:
            info.setdefault(name, table.info[name])
            found.setdefault(name, []).append(_dataset_track(table, name))
    pages = [DatasetPage(name, info[name], tuple(tracks)) for name, tracks in found.items()]
    return sorted(pages, key=lambda page: (page.info.title, page.name))


def _dataset_track(table: TrackTable, name: str) -> DatasetTrack:
    default = table.default_view
    view = View(name, default.shots, default.condition)
    conditions = [c for c in table.conditions(view.shots) if c.attack == WORST_CASE]
    places = ranks(table, view)
    positions = [i for i in order(table, view, places) if name in table.rows[i].datasets]
    robust = table.cells(BY_KEY["r"], view)
    cells = level_cells(table, view, conditions)
    rows = tuple(LevelRow(table.rows[i], places[i], robust[i], cells[i]) for i in positions)
    budget = view.condition.budget or ""
    present = [table.rows[i] for i in positions]
    categories, audit = tuple(_categories(present, name, budget)), _audit([row.datasets[name] for row in present])
    heads = ("clean", *(c.budget or "" for c in conditions))
    return DatasetTrack(table, view, heads, rows, categories, budget, audit)


def _audit(datasets: Sequence[DatasetRecord]) -> AuditTable:
    """Figures belong to the images, not to a detector: those of the first result that has them."""
    found = {c.name: c for d in reversed(datasets) for c in d.categories if c.shortcuts}
    names = tuple(sorted({name for c in found.values() for name in c.shortcuts}))
    rows = tuple((c, tuple(Cell(quantum(found[c].shortcuts.get(n))) for n in names)) for c in sorted(found))
    warnings = dict.fromkeys(w for d in datasets for c in d.categories for w in c.warnings)
    return AuditTable(names, rows, tuple(sorted(warnings)))


def level_cells(table: TrackTable, view: View, conditions: Sequence[Condition]) -> list[tuple[Cell, ...]]:
    """Clean AUROC and A under each condition, per row."""
    columns = [table.cells(BY_KEY["clean"], View(view.dataset, view.shots, CLEAN))]
    columns += [table.cells(BY_KEY["a"], View(view.dataset, view.shots, c)) for c in conditions]
    return list(zip(*columns, strict=True))


def _categories(rows: Sequence[TableRow], name: str, budget: str) -> Iterable[CategoryRow]:
    """Hardest first, by the mean clean AUROC over detectors."""
    values: dict[str, list[tuple[float, float | None, str]]] = {}
    for row in rows:
        for category in row.datasets[name].categories:
            if category.clean is not None:
                entry = (category.clean, category.robust.get(budget), row.label)
                values.setdefault(category.name, []).append(entry)
    warned = {c.name for row in rows for c in row.datasets[name].categories if c.warnings}
    means = {category: fmean(clean for clean, _, _ in entries) for category, entries in values.items()}
    for hardest in sorted(means, key=lambda c: (means[c], c)):
        clean, _, worst_name = min(values[hardest], key=lambda v: (v[0], v[2]))
        robust = [r for _, r, _ in values[hardest] if r is not None]
        mean = quantum(means[hardest])
        left = quantum(fmean(robust)) if robust else None
        yield CategoryRow(hardest, mean, left, worst_name, quantum(clean), hardest in warned)


@dataclass(frozen=True, slots=True)
class AttackTrack:
    """An attack on one track."""

    table: TrackTable
    view: View
    heads: tuple[str, ...]
    rows: tuple[LevelRow, ...]
    chart: Markup | None
    drop: int | None


@dataclass(frozen=True, slots=True)
class AttackPage:
    """An attack on all tracks; ``info`` is None for the derived worst case."""

    name: str
    title: str
    kind: str
    info: AttackRecord | None
    text: AttackText
    tracks: tuple[AttackTrack, ...]


def attack_pages(tables: Sequence[TrackTable]) -> list[AttackPage]:
    """One page per attack: the worst case, attacks, controls, corruptions."""
    found: dict[str, list[AttackTrack]] = {}
    info: dict[str, AttackRecord] = {}
    kinds: dict[str, str] = {}
    for table in tables:
        info = table.attacks | info
        first = {c.attack: c for c in reversed(table.conditions(table.default_view.shots))} if table.rows else {}
        for name, condition in first.items():
            if name is not None:
                kinds.setdefault(name, kind(condition, info.get(name)))
                found.setdefault(name, []).append(_attack_track(table, name))
    order = list(KINDS)
    return [
        AttackPage(n, attack_title(n), kinds[n], info.get(n), attack_text(n), tuple(found[n]))
        for n in sorted(found, key=lambda n: (order.index(kinds[n]), n))
    ]


def _attack_track(table: TrackTable, name: str) -> AttackTrack:
    default = table.default_view
    conditions = [c for c in table.conditions(default.shots) if c.attack == name and c.goal == "two_sided"]
    levels = [c.level for c in conditions]
    cells = level_cells(table, default, conditions)
    nearest = min(range(len(levels)), key=lambda i: headline_distance(levels[i]), default=-1) + 1
    positions = sorted(range(len(table.rows)), key=lambda i: (-_known(cells[i][nearest]), table.rows[i].slug))
    rows = tuple(LevelRow(table.rows[i], None, None, cells[i]) for i in positions)
    drops = [
        clean - left
        for clean, left in ((c[0].value, c[nearest].value) for c in cells)
        if clean is not None and left is not None
    ]
    heads = ("clean", *("corrupted" if c.natural else c.budget or "" for c in conditions))
    natural = any(c.natural for c in conditions)
    chart = None if natural else _attack_chart(f"{name}, {table.title}", rows, [0.0, *levels])
    return AttackTrack(table, default, heads, rows, chart, round(fmean(drops)) if drops else None)


def _known(cell: Cell) -> int:
    return -SCALE if cell.value is None else cell.value


def _attack_chart(title: str, rows: Sequence[LevelRow], levels: Sequence[float]) -> Markup:
    """The most resistant detectors by name, all others together as their mean."""
    series = [_series(row.row.label, row.cells, levels, i) for i, row in enumerate(rows[: LINES - 1])]
    rest = rows[LINES - 1 :]
    if rest:
        means = tuple(_mean([row.cells[i] for row in rest]) for i in range(len(levels)))
        series.append(_series(f"mean of {len(rest)} others", means, levels, LINES - 1))
    return curves(title, [s for s in series if s.points], levels, width=620)


def _mean(cells: Sequence[Cell]) -> Cell:
    values = [cell.value for cell in cells if cell.value is not None]
    return Cell(round(fmean(values)) if values else None)


def _series(name: str, cells: Sequence[Cell], levels: Sequence[float], style: int) -> Series:
    points = tuple(
        Point(float(level), cell.value / SCALE)
        for level, cell in zip(levels, cells, strict=True)
        if cell.value is not None
    )
    return Series(name, points, style)
