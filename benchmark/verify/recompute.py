"""Every number again from the evidence, and compared (PROTOCOL.md section 8)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from benchmark.errors import ResultError
from benchmark.results.rows import Scored, Strict
from benchmark.results.schema import RunResult, Validity
from benchmark.scoring.score import score_evidence
from benchmark.scoring.validity import validity_of
from benchmark.verify.subject import Entry, Subject

RANK = frozenset({"auroc", "auroc_robust", "average_precision", "robust_score"})
RANK_TOLERANCE = 1e-9
TOLERANCE = 1e-6
PARALLEL_FROM = 200_000
"""Rows of evidence from which starting processes costs less than it saves."""
TABLES = tuple(Scored.model_fields)


@dataclass(frozen=True, slots=True)
class Difference:
    """One number that is not what the evidence gives."""

    where: str
    claimed: object
    computed: object

    def __str__(self) -> str:
        return f"{self.where}: {_figure(self.claimed)} claimed, {_figure(self.computed)} computed"


def check_numbers(subject: Subject) -> str:
    """All values, intervals, replicates and curves.

    Raises:
        ResultError: Naming the first difference and how many there are.
    """
    for entry, differences in zip(subject.entries, _all_differences(subject.entries), strict=True):
        if differences:
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            raise ResultError(f"{entry.path.name}: {differences[0]}{more}")
    count = sum(len(entry.result.scored.values) for entry in subject.entries)
    return f"{count:,} values, their intervals, replicates and curves"


def _all_differences(entries: Sequence[Entry]) -> list[list[Difference]]:
    """Differences of each entry; large submissions are recomputed in several processes, the longest result first."""
    rows = [len(entry.scores) for entry in entries]
    workers = min(os.cpu_count() or 1, len(entries))
    if workers < 2 or sum(rows) < PARALLEL_FROM:
        return [_differences(entry) for entry in entries]
    order = sorted(range(len(entries)), key=lambda i: -rows[i])
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending = {i: pool.submit(_differences, entries[i]) for i in order}
        return [pending[i].result() for i in range(len(entries))]


def _differences(entry: Entry) -> list[Difference]:
    return list(compare(entry.result, score_evidence(entry.scores, entry.pixels, entry.rules, entry.probes)))


def compare(result: RunResult, scored: Scored) -> Iterator[Difference]:
    """Differences beyond the tolerances, in the order of the file."""
    for table in TABLES:
        claimed, computed = _keyed(getattr(result.scored, table)), _keyed(getattr(scored, table))
        for key in sorted(claimed.keys() | computed.keys()):
            if key not in claimed or key not in computed:
                yield Difference(
                    f"{table} {key}", "a row" if key in claimed else None, "a row" if key in computed else None
                )
                continue
            yield from _fields(f"{table} {key}", claimed[key], computed[key])


def _keyed(rows: Sequence[Strict]) -> dict[str, dict[str, Any]]:
    """Rows by the words of their conditions; a condition that stands twice keeps its place in the key."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        data = row.model_dump(mode="python")
        names = (
            "probe",
            "parameter",
            "radius",
            "metric",
            "calibrator",
            "category",
            "shots",
            "attack",
            "goal",
            "budget",
        )
        key = " ".join(str(data[name]) for name in names if data.get(name) is not None)
        found[key if key not in found else f"{key} #{len(found)}"] = data
    return found


def _fields(where: str, claimed: Mapping[str, Any], computed: Mapping[str, Any]) -> Iterator[Difference]:
    for name in claimed:
        tolerance = RANK_TOLERANCE if name == "value" and claimed.get("metric") in RANK else TOLERANCE
        if not _close(claimed[name], computed[name], tolerance):
            yield Difference(f"{where}: {name}", claimed[name], computed[name])


def _close(first: Any, second: Any, tolerance: float) -> bool:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_close(first[k], second[k], tolerance) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(_close(a, b, tolerance) for a, b in zip(first, second, strict=True))
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= tolerance * max(1.0, abs(second))
    return bool(first == second)


def _figure(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return f"{value:.9g}" if isinstance(value, float) else "nothing" if value is None else str(value)[:60]


def check_validity(subject: Subject) -> str:
    """Every validity check from the evidence, the flags and the run's facts again; the badge is the worst of all.

    The facts themselves (gradients, repeated calls) stand until a re-run.
    """
    for entry in subject.entries:
        if differences := list(compare_validity(entry.result.validity, recomputed_validity(entry))):
            raise ResultError(f"{entry.path.name}: {differences[0]}")
    return "badges: " + ", ".join(e.result.validity.badge for e in subject.entries)


def compare_validity(claimed: Validity, computed: Validity) -> Iterator[Difference]:
    """Badge and statuses that differ; the words of a finding may."""
    statuses = [{check.name: check.status for check in validity.checks} for validity in (claimed, computed)]
    for name in sorted(statuses[0].keys() | statuses[1].keys()):
        pair = [found.get(name) for found in statuses]
        if pair[0] != pair[1]:
            yield Difference(f"validity {name}", *pair)
    if claimed.badge != computed.badge:
        yield Difference("validity badge", claimed.badge, computed.badge)


def recomputed_validity(entry: Entry) -> Validity:
    """The badge by the function that the runner uses."""
    result = entry.result
    return validity_of(entry.scores, result.attacks, result.validity.facts, result.detector.flags)
