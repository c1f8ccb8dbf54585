"""What a run could not fill, and why: one entry for each detector, data set and reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.planning.planner import Plan, PlannedDataset
from benchmark.results.schema import Failure
from benchmark.runs.collect import RunFailures

ELSEWHERE = "the track runs it with other shots, seeds, budgets or categories than those that were chosen"


@dataclass(frozen=True, slots=True)
class Gap:
    """Parts of the grid without values.

    Attributes:
        kind: ``failed``: one entry for a detector and data set, with the first cause; ``not_applicable``: one for each
            reason.
        parts: How many parts of the grid (category, support, attack).
        first: The first of them, in words.
        reason: Why that one has no values.
        traceback: File with the traceback, where the fault was not foreseen.
    """

    detector: str
    dataset: str
    kind: Literal["failed", "not_applicable"]
    parts: int
    first: str
    reason: str
    traceback: str | None = None

    def line(self) -> str:
        """The entry in words."""
        count = f"{self.parts} parts, first " if self.parts > 1 else ""
        where = f" (traceback: {self.traceback})" if self.traceback else ""
        return (
            f"{self.kind.replace('_', ' ')}: {self.detector} {self.dataset}: {count}{self.first}: {self.reason}{where}"
        )


def gaps_of(plan: Plan, failures: RunFailures, tracebacks: Mapping[tuple[str, str], Path]) -> list[Gap]:
    """Everything that a plan asked for and that has no values.

    Args:
        plan: What was asked for.
        failures: What failed at run time.
        tracebacks: File of the first traceback of a (detector label, data set).
    """
    found: list[Gap] = []
    for planned in plan.datasets:
        name = planned.dataset.info.name
        for attack in _unmatched(plan, planned):
            found.append(Gap("all detectors", name, "not_applicable", 1, attack, ELSEWHERE))
        for spec in plan.detectors:
            place = (spec.label, name)
            own = [failure for owner, failure in planned.failures if owner in (None, spec)]
            groups = _by_reason([*own, *failures.get(place, ())]).values()
            found += [_gap(place, group, tracebacks.get(place)) for group in groups]
    return found


def _unmatched(plan: Plan, planned: PlannedDataset) -> list[str]:
    """Attacks that were asked for by name and have neither a cell nor a reason."""
    known = {cell.condition for cell in planned.cells} | {failure.attack for _, failure in planned.failures}
    return [attack for attack in plan.selection.attacks if attack not in known]


def _gap(place: tuple[str, str], group: list[Failure], traceback: Path | None) -> Gap:
    first = group[0]
    log = str(traceback) if traceback is not None and first.kind == "failed" else None
    return Gap(*place, first.kind, len(group), _words(first), first.reason, log)


def _by_reason(failures: Iterable[Failure]) -> dict[str, list[Failure]]:
    """All failed parts together, under the empty reason; those that do not apply by their reason."""
    grouped: dict[str, list[Failure]] = {}
    for failure in failures:
        grouped.setdefault("" if failure.kind == "failed" else failure.reason, []).append(failure)
    return grouped


def _words(failure: Failure) -> str:
    support = [] if failure.shots is None else [f"{failure.shots}-shot seed {failure.seed}"]
    return " ".join([failure.category, *support, *([failure.attack] if failure.attack else [])])
