"""How numbers and names are printed: one place, so that pages, exports and browser agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from benchmark.storage.jsonio import digest_bytes
from leaderboard.columns import Column
from leaderboard.record import WORST_CASE, Cell, Condition, DatasetRecord
from leaderboard.table import TableRow

DASH = "—"
GOALS = {"two_sided": "two-sided", "evasion": "evasion", "false_alarm": "false alarm"}
STEPS = {
    "claimed": "claimed",
    "schema_valid": "schema-valid",
    "recomputed": "recomputed",
    "spot_rerun": "spot re-run",
    "audited": "audited",
    "fully_rerun": "fully re-run",
}
BADGES = {"green": "attack checks passed", "amber": "attack checks need a look", "red": "an attack check failed"}
BADGE_ORDER = ("green", "amber", "red")


def score(value: int | None) -> str:
    """Millionths as three decimals, halves up; a dash for None."""
    if value is None:
        return DASH
    thousandths = (value + 500) // 1000
    sign = "−" if thousandths < 0 else ""
    return f"{sign}{abs(thousandths) // 1000}.{abs(thousandths) % 1000:03d}"


def interval(cell: Cell) -> str:
    """``0.89–0.93``; empty without an interval."""
    if cell.low is None or cell.high is None:
        return ""
    return f"{hundredths(cell.low)}–{hundredths(cell.high)}"


def hundredths(value: int) -> str:
    """Millionths as two decimals, halves up."""
    rounded = (value + 5000) // 10_000
    sign = "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded) // 100}.{abs(rounded) % 100:02d}"


def attack_name(condition: Condition) -> str:
    """Attack of a condition in words."""
    return "clean" if condition.attack is None else attack_title(condition.attack)


def attack_title(name: str) -> str:
    """``worst case`` or the attack's own name; ``blur, severe`` for a member of a family."""
    return "worst case" if name == WORST_CASE else name.replace(":", ", ")


def condition_words(condition: Condition) -> str:
    """``worst case, two-sided, 1/64``; a corruption has no budget."""
    if condition.attack is None:
        return "clean"
    budget = None if condition.natural else condition.budget
    return ", ".join(w for w in (attack_name(condition), GOALS[condition.goal or "two_sided"], budget) if w)


def shots_words(shots: int) -> str:
    """``zero-shot`` or ``4-shot``."""
    return "zero-shot" if shots == 0 else f"{shots}-shot"


def quantity(value: float | None) -> str:
    """A plain number with three significant digits."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def plain_cell(column: Column, row: TableRow, datasets: Sequence[DatasetRecord]) -> tuple[str, float | str | None]:
    """(text, sort value) of a column that is no score, over the data sets of the view that the row has."""
    if column.key == "licence":
        return row.record.submission.licence, row.record.submission.licence
    if column.key == "step":
        step = row.record.step
        return STEPS[step.step] + (" (stale)" if step.stale else ""), list(STEPS).index(step.step) - 0.5 * step.stale
    if not datasets:
        return DASH, None
    if column.key == "validity":
        worst = max((d.badge for d in datasets), key=BADGE_ORDER.index)
        return worst, BADGE_ORDER.index(worst)
    if column.key == "date":
        latest = max(d.finished for d in datasets)[:10]
        return latest, latest
    value = _COSTS[column.key](datasets)
    return quantity(value), value


def _seconds(datasets: Sequence[DatasetRecord]) -> float | None:
    return _mean(d.seconds_per_image for d in datasets)


def _milliseconds(datasets: Sequence[DatasetRecord]) -> float | None:
    return _mean(None if d.seconds_per_pass is None else 1000 * d.seconds_per_pass for d in datasets)


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that were measured."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _passes(datasets: Sequence[DatasetRecord]) -> float | None:
    return max(
        (a.forward_passes + a.backward_passes for d in datasets for a in d.attacks if a.knowledge == "white_box"),
        default=None,
    )


def _memory(datasets: Sequence[DatasetRecord]) -> float | None:
    return max(d.peak_memory_bytes for d in datasets) / 1e9


_COSTS = {"milliseconds": _milliseconds, "seconds": _seconds, "passes": _passes, "memory": _memory}


def place(rank: int | None, *, transductive: bool) -> str:
    """A printed rank; T marks the league of transductive rows."""
    if rank is None:
        return DASH
    return f"T{rank}" if transductive else str(rank)


def file_name(name: str) -> str:
    """A name from a result file as part of a path and an address: nothing in it can leave its folder."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    return safe if safe == name else f"{safe}-{digest_bytes(name.encode())[:8]}"


def traits(row: TableRow) -> tuple[str, ...]:
    """Short marks beside a detector's name."""
    detector = row.track.detector
    marks = (
        (detector.zero_shot and not detector.few_shot, "zero-shot"),
        (detector.transductive, "transductive"),
        (detector.auxiliary_labels, "auxiliary labels"),
        (detector.random_weights, "random weights"),
        (not detector.differentiable, "not differentiable"),
        (row.record.self_attacked, "self-attacked"),
        (row.record.local, "local run"),
        (any(d.lowered for d in row.datasets.values()), "lowered by a counter-claim"),
    )
    return tuple(word for holds, word in marks if holds)
