"""All jobs in this process, one after the other, on one device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmark.execution.pass_run import CellFailure
from benchmark.execution.runner import run_job
from benchmark.planning.jobs import Job
from benchmark.storage.cells import Cell


def execute(jobs: Sequence[Job], known: Mapping[str, Cell]) -> Iterator[Cell | CellFailure]:
    """Run the jobs in order."""
    for job in jobs:
        yield from run_job(job, known)
