"""All jobs on this machine: in this process, or one process per CUDA device where there are several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context

import torch

from benchmark.jobs import Job
from benchmark.pass_run import CellFailure
from benchmark.runner import run_job
from benchmark.store import Cell


def execute(jobs: Sequence[Job], known: Mapping[str, Cell]) -> Iterator[Cell | CellFailure]:
    """Run the jobs: in order on one device, else each on the next device that is free."""
    devices = _devices(jobs)
    if len(devices) > 1:
        yield from _spread(jobs, known, devices)
        return
    for job in jobs:
        yield from run_job(job, known)


def _devices(jobs: Sequence[Job]) -> list[str]:
    """Every CUDA device, for jobs that ask for CUDA and name none."""
    if not jobs or jobs[0].device != "cuda":
        return []
    return [f"cuda:{index}" for index in range(min(len(jobs), torch.cuda.device_count()))]


def _spread(jobs: Sequence[Job], known: Mapping[str, Cell], devices: Sequence[str]) -> Iterator[Cell | CellFailure]:
    """One process per device; the cells of a job come when the job is done."""
    waiting, free = list(jobs), list(devices)
    running: dict[Future[list[Cell | CellFailure]], str] = {}
    with ExitStack() as stack:
        pools = {d: stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for d in devices}
        while waiting or running:
            while waiting and free:
                job, device = waiting.pop(0), free.pop(0)
                mine = {address: known[address] for address in job.clean.values() if address in known}
                running[pools[device].submit(_work, replace(job, device=device), mine, torch.get_num_threads())] = (
                    device
                )
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                free.append(running.pop(future))
                yield from future.result()


def _work(job: Job, known: Mapping[str, Cell], threads: int) -> list[Cell | CellFailure]:
    torch.set_num_threads(threads)
    return list(run_job(job, known))
