"""One `trustad run`: plan, execute, store, collect, summarise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import ResultError, UsageError
from benchmark.execution.executors import executor
from benchmark.execution.memory import trim_heap
from benchmark.execution.overlap import behind
from benchmark.execution.pass_run import CellFailure
from benchmark.execution.runner import prepare_device
from benchmark.planning.jobs import CellSpec
from benchmark.planning.planner import Plan, Selection, make_plan
from benchmark.planning.workbench import Workbench
from benchmark.results.provenance import peak_memory_bytes
from benchmark.results.schema import Failure, Timing, load_result
from benchmark.runs.collect import Collected, collect, result_path, slug_of
from benchmark.runs.eventlog import EventLog
from benchmark.runs.gallery import withdraw_galleries, write_galleries
from benchmark.runs.gaps import Gap, gaps_of
from benchmark.storage.cachedir import cache_dir
from benchmark.storage.cells import Cell, CellStore, run_lock
from benchmark.storage.jsonio import atomic_write
from benchmark.storage.scratch import sweep
from benchmark.tracks import Track
from benchmark.types.precision import computing_in

if TYPE_CHECKING:
    from benchmark.execution.executors import Executor

Progress = Callable[[int, int, str], None]
SILENT = EventLog()


@dataclass
class Summary:
    """What a run did.

    Attributes:
        done: Cells computed now.
        skipped: Cells found in the store.
        failed: Cells that could not be computed.
        corrupt: Cell files that were damaged and computed again.
        halved: Cells whose batch was halved because memory ran out.
        passes: Streams of images that fed the cells computed now.
        images: Images in them, at every budget.
        seconds: Wall time.
        busy: Wall time of computing cells alone.
        peak_memory: Largest resident set in bytes.
        results: Files written.
        failures: What failed at run time.
        gaps: What was asked for and has no values.
        replaced: What earlier results of the run folder were of, where they were of another part of the track.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    corrupt: int = 0
    halved: int = 0
    passes: int = 0
    images: int = 0
    seconds: float = 0.0
    busy: float = 0.0
    peak_memory: int = 0
    results: list[Collected] = field(default_factory=list)
    failures: dict[tuple[str, str], list[Failure]] = field(default_factory=dict)
    tracebacks: dict[tuple[str, str], Path] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """There is a result, and nothing that was asked for failed."""
        return bool(self.results) and not any(gap.kind == "failed" for gap in self.gaps)

    def figures(self) -> dict[str, float]:
        """The numbers, as the log and ``--json`` carry them."""
        return {
            "cells_done": self.done,
            "cells_skipped": self.skipped,
            "cells_failed": self.failed,
            "corrupt": self.corrupt,
            "halved": self.halved,
            "passes": self.passes,
            "images": self.images,
            "images_per_second": round(self.images / self.busy, 2) if self.busy else 0.0,
            "seconds": round(self.seconds, 1),
            "peak_memory_mb": round(self.peak_memory / 1e6),
        }


def plan_run(track: Track, selection: Selection, out: Path) -> tuple[Plan, Workbench, CellStore]:
    """Plan a run without writing anything."""
    prepare_device(selection.device)
    bench, store = Workbench(), CellStore(out)
    return make_plan(track, selection, store, bench), bench, store


def run_track(
    track: Track, selection: Selection, out: Path, *, executor_name: str, progress: Progress, log: EventLog = SILENT
) -> Summary:
    """Run what is missing and write all results.

    Raises:
        StoreError: If another run holds the folder, or it cannot be written.
        TrustADError: As planning raises them; then no cell was written.
    """
    started, clock = _now(), time.perf_counter()
    run = executor(executor_name)
    with run_lock(out), computing_in(selection.precision):
        for path in (*sweep(out), *sweep(cache_dir())):
            log("removed", {"path": str(path)})
        plan, bench, store = plan_run(track, selection, out)
        log("start", {"track": track.name, "executor": executor_name, "missing": plan.missing, "done": plan.done})
        for what in store.corrupt:
            log("damaged", {"what": what})
        summary = Summary(skipped=plan.done, corrupt=len(store.corrupt), replaced=list(replaced_results(plan, out)))
        folders = {spec.label: out / slug_of(spec.variant) for spec in plan.detectors}
        if plan.missing:
            withdraw_galleries(folders.values())
        _execute(plan, store, run, summary, Report(plan.missing, out, progress, log))
        summary.seconds = time.perf_counter() - clock
        summary.peak_memory = peak_memory_bytes()
        timing = Timing(
            started=started,
            finished=_now(),
            wall_seconds=round(summary.seconds, 3),
            seconds_per_image=None,
            peak_memory_bytes=summary.peak_memory,
        )
        trim_heap()
        summary.results = list(collect(plan, store, bench, out, summary.failures, timing))
        write_galleries(plan, bench, store, {r.detector: folders[r.detector] for r in summary.results})
        summary.gaps = gaps_of(plan, summary.failures, summary.tracebacks)
        log("end", summary.figures())
    return summary


def replaced_results(plan: Plan, out: Path) -> Iterator[str]:
    """Earlier results of the run folder that this run will replace although they are of another part of the track.

    Raises:
        UsageError: If a result of the whole track would give way to one of a part of it.
    """
    now = plan.selection.restrictions()
    for planned in plan.datasets:
        for spec in plan.detectors:
            path = result_path(plan, planned, spec, out)
            try:
                before = load_result(path).track.restrictions
            except ResultError:
                continue  # none, or of another version of the program
            if now and not before:
                raise UsageError(
                    f"{path} is a result of the whole track, and this run leaves parts out ({'; '.join(now)}); "
                    "choose another --out"
                )
            if before != now:
                yield f"{path}: was of {'; '.join(before)}"


@dataclass
class Report:
    """Tells the terminal and the log of every outcome."""

    total: int
    out: Path
    progress: Progress
    log: EventLog
    seen: int = 0

    def cell(self, cell: Cell, images: int) -> None:
        """A cell is stored."""
        facts = {"address": cell.address, "images": images, "seconds": round(cell.seconds, 6)}
        batch = {"batch": cell.facts["batch"]} if "batch" in cell.facts else {}
        self.log("cell", facts | batch | _condition(cell.key))
        self._next(1, _words(cell))

    def failure(self, failure: CellFailure) -> Path | None:
        """Cells that there will not be; a traceback goes to a file of its own, which is returned."""
        first, facts = failure.cells[0], {"reason": failure.reason, "not_applicable": failure.not_applicable}
        path = None
        if failure.details:
            path = self.out / "logs" / f"{first.address[:16]}.txt"
            atomic_write(path, failure.details)
            facts["traceback"] = str(path)
        self.log("failed", facts | {"cells": len(failure.cells)} | _condition(first.key))
        self._next(len(failure.cells), f"failed: {failure.reason}")
        return path

    def _next(self, cells: int, words: str) -> None:
        self.seen += cells
        self.progress(self.seen, self.total, words)


def _execute(plan: Plan, store: CellStore, run: Executor, summary: Summary, report: Report) -> None:
    """Compute the missing cells, and store and report them beside."""
    clock = time.perf_counter()
    feeding = {cell.address: part for job in plan.jobs for part in job.passes for cell in part.cells}
    open_passes = {id(part) for part in feeding.values()}

    def take(outcome: Cell | CellFailure) -> None:
        if isinstance(outcome, CellFailure):
            _fail(summary, outcome, report.failure(outcome))
            return
        store.save(outcome)
        part = feeding[outcome.address]
        summary.done += 1
        summary.halved += "batch" in outcome.facts
        if id(part) in open_passes:
            open_passes.remove(id(part))
            summary.passes += 1
            summary.images += len(part.samples) * max(1, len(part.budgets))
        report.cell(outcome, len(part.samples))

    behind(run(plan.jobs, _known_clean(plan, store)), take)
    summary.busy = time.perf_counter() - clock


def _known_clean(plan: Plan, store: CellStore) -> dict[str, Cell]:
    """Stored clean cells that the jobs' attacks build on."""
    wanted = {address for job in plan.jobs for address in job.clean.values()}
    found = {address: store.load(address) for address in sorted(wanted)}
    return {address: cell for address, cell in found.items() if cell is not None}


def _fail(summary: Summary, failure: CellFailure, traceback: Path | None) -> None:
    if not failure.not_applicable:
        summary.failed += len(failure.cells)
    for cell in _distinct(failure.cells):
        place = (cell.detector.label, str(cell.key["dataset"][0]))
        if traceback is not None:
            summary.tracebacks.setdefault(place, traceback)
        summary.failures.setdefault(place, []).append(
            Failure(
                kind="not_applicable" if failure.not_applicable else "failed",
                category=cell.samples[0].category,
                shots=cell.shots,
                seed=cell.seed,
                attack=cell.condition,
                reason=failure.reason,
            )
        )


def _distinct(cells: Iterable[CellSpec]) -> list[CellSpec]:
    """One cell for each (detector, shots, seed, attack): budgets fail together."""
    return list({(c.detector, c.shots, c.seed, c.condition): c for c in cells}.values())


def _words(cell: Cell) -> str:
    at = _condition(cell.key)
    place = f"{at['detector']} {at['dataset']}/{at['category']} {at['shots']}-shot"
    if at["probe"]:
        return f"{place} {at['probe'][0]} {at['probe'][1]:g}"
    return f"{place} {at['attack']} {at['budget']}" if at["attack"] else f"{place} clean"


def _condition(key: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell is of, for people and programs that read the log."""
    attack = key.get("attack")
    return {
        "detector": key["detector"]["name"],
        "dataset": key["dataset"][0],
        "category": key["dataset"][2],
        "shots": key["shots"],
        "seed": key["seed"],
        "attack": attack and attack["name"],
        "budget": key.get("budget"),
        "probe": key.get("probe"),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
