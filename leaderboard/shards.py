"""Data for the browser as script files: fetch() does not work from file://, script elements do.

    data/<track>/base.js                               rows, columns, choices: `base_payload`
    data/<track>/<data set>-<shots>.clean.js           columns that no attack changes, and who is not ranked
    data/<track>/<data set>-<shots>.<attack>.js        attacked columns by "goal budget"
    data/<track>/<data set>.replicates.js              replicates of R for rank intervals

A cell is a value in millionths, or [value, low, high], or either with the index of a note in ``texts`` at the end:
[value, note], [value, low, high, note]. The value of a missing number is null and its note the reason.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmark.results.rows import NO_BUDGET
from benchmark.results.submission import Submission
from benchmark.storage.jsonio import canonical_json
from leaderboard.attack_kinds import KINDS, kind
from leaderboard.columns import COLUMNS, Column
from leaderboard.ranks import order, ranks, replicates, unranked
from leaderboard.record import CLEAN, Cell
from leaderboard.table import ABSENT, ALL, TableRow, TrackTable, View
from leaderboard.words import GOALS, STEPS, attack_title, file_name, plain_cell, traits


def shard_files(table: TrackTable) -> Iterator[tuple[str, str]]:
    """(path, content) of all data files of a track that has rows."""
    yield _file(table, "base", base_payload(table))
    for dataset in table.views:
        yield _file(table, f"{file_name(dataset)}.replicates", _replicates_payload(table, dataset))
        for shots in table.shots:
            stem = f"{file_name(dataset)}-{shots}"
            yield _file(table, f"{stem}.clean", _clean_payload(table, dataset, shots))
            for attack in dict.fromkeys(c.attack for c in table.conditions(shots)):
                payload = _attack_payload(table, dataset, shots, attack)
                yield _file(table, f"{stem}.{file_name(attack or '')}", payload)


def _file(table: TrackTable, name: str, payload: object) -> tuple[str, str]:
    key = f"{table.key}/{name}"
    return f"data/{key}.js", f"trustad.put({canonical_json(key)},{canonical_json(payload)});\n"


def base_payload(table: TrackTable) -> dict[str, Any]:
    """Everything that does not depend on the view."""
    view = table.default_view
    found = ranks(table, view)
    return {
        "track": table.key,
        "columns": [c.model_dump(exclude={"metrics"}) for c in COLUMNS],
        "rows": [_row(row) for row in table.rows],
        "datasets": [{"name": n, "file": file_name(n), "title": _title(table, n)} for n in table.views],
        "views": {n: table.dataset_title(n) for n in table.views},
        "shots": {str(k): _conditions(table, k) for k in table.shots},
        "ranked_shots": table.ranked_shots,
        "attacks": _attacks(table),
        "kinds": [[key, words.split(":")[0]] for key, words in KINDS.items()],
        "no_budget": NO_BUDGET,
        "goals": GOALS,
        "default": {
            "dataset": view.dataset,
            "shots": view.shots,
            "attack": view.condition.attack,
            "goal": view.condition.goal,
            "budget": view.condition.budget,
        },
        "ranks": [[r.rank, r.low, r.high] for r in found],
        "order": order(table, view, found),
    }


def _title(table: TrackTable, dataset: str) -> str:
    return "All data sets" if dataset == ALL else table.info[dataset].title


def _attacks(table: TrackTable) -> dict[str, Any]:
    found = {c.attack: c for shots in table.shots for c in table.conditions(shots) if c.attack}
    return {
        name: {"file": file_name(name), "title": attack_title(name), "kind": kind(c, table.attacks.get(name))}
        for name, c in found.items()
    }


def _conditions(table: TrackTable, shots: int) -> list[list[str | None]]:
    return [[c.attack, c.goal, c.budget] for c in table.conditions(shots)]


def _row(row: TableRow) -> dict[str, Any]:
    detector, stated = row.track.detector, row.record.submission
    return {
        "slug": row.slug,
        "name": stated.name,
        "label": row.label,
        "backbone": detector.backbone,
        "find": " ".join([stated.name, row.slug, detector.name, detector.title, *stated.authors]).lower(),
        "kind": "zero" if detector.zero_shot and not detector.few_shot else "few",
        "transductive": detector.transductive,
        "auxiliary": detector.auxiliary_labels,
        "code": has_code(stated),
        "traits": traits(row),
        "step": STEPS[row.record.step.step],
        "stale": row.record.step.stale,
    }


def has_code(submission: Submission) -> bool:
    """Public code at a fixed commit."""
    return submission.code_url is not None and submission.code_commit is not None


class _Texts:
    """Notes, each stored once."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def encode(self, cells: Iterable[Cell], *, interval: bool) -> list[Any]:
        """Cells as the browser reads them."""
        return [self._cell(cell, interval) for cell in cells]

    def _cell(self, cell: Cell, interval: bool) -> Any:
        limits = [cell.low, cell.high] if interval and cell.low is not None else []
        notes = [self.index.setdefault(cell.note, len(self.index))] if cell.note else []
        return [cell.value, *limits, *notes] if limits or notes else cell.value


def _clean_payload(table: TrackTable, dataset: str, shots: int) -> dict[str, Any]:
    view, texts = View(dataset, shots, CLEAN), _Texts()
    measured = [c for c in COLUMNS if c.unit == "score" and c.when != "attacked" and c.key != "drop"]
    columns = {c.key: texts.encode(table.cells(c, view), interval=c.interval) for c in measured}
    for column in (c for c in COLUMNS if c.unit != "score"):
        columns[column.key] = [plain_cell(column, row, table.present(dataset, row)) for row in table.rows]
    return {"columns": columns, "unranked": unranked(table, view), "texts": list(texts.index)}


def _attack_payload(table: TrackTable, dataset: str, shots: int, attack: str | None) -> dict[str, Any]:
    texts = _Texts()
    attacked: Sequence[Column] = [c for c in COLUMNS if c.when == "attacked"]
    found: dict[str, Any] = {}
    for condition in (c for c in table.conditions(shots) if c.attack == attack):
        view = View(dataset, shots, condition)
        cells = {c.key: table.cells(c, view) for c in attacked}
        found[f"{condition.goal} {condition.budget}"] = {
            key: texts.encode(values, interval=key == "a")
            for key, values in cells.items()
            if any(cell.value is not None or cell != ABSENT for cell in values)
        }
    return {"conditions": found, "texts": list(texts.index)}


def _replicates_payload(table: TrackTable, dataset: str) -> list[str | None]:
    """Little-endian 16-bit ten-thousandths in base64, per row."""
    stored = [replicates(table, dataset, i) for i in range(len(table.rows))]
    return [base64.b64encode(struct.pack(f"<{len(v)}h", *v)).decode() if v else None for v in stored]
