"""One `trustad run`: plan, execute, store, collect, summarise."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from benchmark.collect import Collected, collect
from benchmark.environment import peak_memory_bytes
from benchmark.executors import executor
from benchmark.gallery import write_galleries
from benchmark.jobs import CellSpec
from benchmark.jsonio import atomic_write
from benchmark.pass_run import CellFailure
from benchmark.planner import Plan, Selection, make_plan
from benchmark.results import Failure, Timing
from benchmark.runner import prepare_device
from benchmark.store import Cell, CellStore, run_lock
from benchmark.tracks import Track
from benchmark.workbench import Workbench

Progress = Callable[[int, int, str], None]


@dataclass
class Summary:
    """What a run did.

    Attributes:
        done: Cells computed now.
        skipped: Cells found in the store.
        failed: Cells that could not be computed.
        corrupt: Cell files that were damaged and computed again.
        seconds: Wall time.
        peak_memory: Largest resident set in bytes.
        results: Files written.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    corrupt: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    results: list[Collected] = field(default_factory=list)
    failures: dict[str, list[Failure]] = field(default_factory=dict)


def plan_run(track: Track, selection: Selection, out: Path) -> tuple[Plan, Workbench, CellStore]:
    """Plan a run without writing anything."""
    prepare_device(selection.device)
    bench, store = Workbench(), CellStore(out)
    return make_plan(track, selection, store, bench), bench, store


def run_track(track: Track, selection: Selection, out: Path, *, executor_name: str, progress: Progress) -> Summary:
    """Run what is missing and write all results.

    Raises:
        StoreError: If another run holds the folder, or it cannot be written.
        TrustADError: As planning raises them; then nothing was written.
    """
    started, clock = _now(), time.perf_counter()
    run = executor(executor_name)
    plan, bench, store = plan_run(track, selection, out)
    summary = Summary(skipped=plan.done, corrupt=len(store.corrupt))
    with run_lock(out):
        known = _known_clean(plan, store)
        for outcome in run(plan.jobs, known):
            if isinstance(outcome, Cell):
                store.save(outcome)
                summary.done += 1
                progress(summary.done + summary.failed, plan.missing, _words(outcome))
            else:
                _fail(summary, outcome, out)
        summary.seconds = time.perf_counter() - clock
        summary.peak_memory = peak_memory_bytes()
        timing = Timing(
            started=started,
            finished=_now(),
            wall_seconds=round(summary.seconds, 3),
            seconds_per_image=None,
            peak_memory_bytes=summary.peak_memory,
        )
        summary.results = list(collect(plan, store, bench, out, summary.failures, timing))
        if summary.done:
            write_galleries(plan, bench, {r.detector: r.path.parents[1] for r in summary.results})
    return summary


def _known_clean(plan: Plan, store: CellStore) -> dict[str, Cell]:
    """Stored clean cells that the jobs' attacks build on."""
    wanted = {address for job in plan.jobs for address in job.clean.values()}
    found = {address: store.load(address) for address in sorted(wanted)}
    return {address: cell for address, cell in found.items() if cell is not None}


def _fail(summary: Summary, failure: CellFailure, out: Path) -> None:
    if not failure.not_applicable:
        summary.failed += len(failure.cells)
    if failure.details:
        log = out / "logs" / f"{failure.cells[0].address[:16]}.txt"
        atomic_write(log, failure.details)
    for cell in _distinct(failure.cells):
        summary.failures.setdefault(cell.detector.label, []).append(
            Failure(
                kind="not_applicable" if failure.not_applicable else "failed",
                category=cell.samples[0].category,
                shots=cell.shots,
                seed=cell.seed,
                attack=cell.attack,
                reason=failure.reason,
            )
        )


def _distinct(cells: Iterable[CellSpec]) -> list[CellSpec]:
    """One cell for each (detector, shots, seed, attack): budgets fail together."""
    return list({(c.detector, c.shots, c.seed, c.attack): c for c in cells}.values())


def _words(cell: Cell) -> str:
    key = cell.key
    attack = key["attack"]["name"] + f" {key['epsilon']}/255" if key["attack"] else "clean"
    return f"{key['detector']['name']} {'/'.join(map(str, key['dataset'][::2]))} {key['shots']}-shot {attack}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def summary_line(summary: Summary) -> str:
    """The one line that ends a run, as JSON-able text."""
    return json.dumps(
        {
            "cells_done": summary.done,
            "cells_skipped": summary.skipped,
            "cells_failed": summary.failed,
            "corrupt": summary.corrupt,
            "seconds": round(summary.seconds, 1),
            "peak_memory_mb": round(summary.peak_memory / 1e6),
        }
    )
