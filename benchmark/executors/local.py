"""All jobs in this process, one after the other, on one device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmark.jobs import Job
from benchmark.pass_run import CellFailure
from benchmark.runner import run_job
from benchmark.store import Cell


def execute(jobs: Sequence[Job], known: Mapping[str, Cell]) -> Iterator[Cell | CellFailure]:
    """Run the jobs in order."""
    for job in jobs:
        yield from run_job(job, known)
