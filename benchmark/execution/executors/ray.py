"""Jobs on a Ray cluster (extra ``ray``): the same plan, cells and bytes as `local`, on many machines.

Ray schedules, retries and moves the data; cells stream back to the driver, which alone writes the run folder.
A job that is retried after a node was lost yields the same cells again, because everything in it is keyed by
sample. Address: ``RAY_ADDRESS``, else a cluster of this machine alone. Threads per job: ``TRUSTAD_THREADS``
(default: this process's). A job on CUDA takes one of the cluster's GPUs for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import ray

from benchmark.errors import UsageError
from benchmark.execution.pass_run import CellFailure
from benchmark.execution.runner import run_job
from benchmark.planning.jobs import Job
from benchmark.storage.cells import Cell

RETRIES = 3
AHEAD = 64
"""Cells that a job may finish before the driver has taken them; bounds the memory of a slow driver."""


def execute(jobs: Sequence[Job], known: Mapping[str, Cell]) -> Iterator[Cell | CellFailure]:
    """Run the jobs on the cluster; results come in the order of completion.

    Raises:
        UsageError: If the jobs need GPUs and the cluster has none.
        TrustADError: As a job raises it.
    """
    if not ray.is_initialized():
        ray.init(log_to_driver=False, configure_logging=False)
    if any(map(_gpus, jobs)) and not ray.cluster_resources().get("GPU"):
        raise UsageError("--device cuda: no node of the Ray cluster has a GPU; add one or use --device cpu")
    streams = [_submit(job, known) for job in jobs]
    waiting = list(streams)
    while waiting:
        ready, _ = ray.wait(waiting, num_returns=1, fetch_local=False)
        for stream in ready:
            try:
                yield ray.get(next(stream))
            except StopIteration:
                waiting.remove(stream)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error


def _submit(job: Job, known: Mapping[str, Cell]) -> ray.ObjectRefGenerator:
    mine = {address: known[address] for address in job.clean.values() if address in known}
    threads = _threads()
    needs = {"num_cpus": threads, "num_gpus": _gpus(job)}
    task = _work.options(**needs, max_retries=RETRIES, _generator_backpressure_num_objects=AHEAD)
    return task.remote(job, mine, threads, dict(_settings()))


@ray.remote(num_returns="streaming")  # type: ignore[untyped-decorator]
def _work(
    job: Job, known: Mapping[str, Cell], threads: int, settings: Mapping[str, str]
) -> Iterator[Cell | CellFailure]:
    import torch

    os.environ.update(settings)
    torch.set_num_threads(threads)
    # Ray sends values into its generators, which `yield from` would hand on to the lists inside `run_job`.
    for cell in run_job(job, known):  # noqa: UP028
        yield cell


def _gpus(job: Job) -> int:
    return 1 if job.device.startswith("cuda") else 0


def _threads() -> int:
    import torch

    return int(os.environ.get("TRUSTAD_THREADS", torch.get_num_threads()))


def _settings() -> Iterator[tuple[str, str]]:
    """Environment that a job reads: folders of caches and weights."""
    for name in ("TRUSTAD_CACHE", "TRUSTAD_WEIGHTS_DIR", "HF_HUB_OFFLINE"):
        if name in os.environ:
            yield name, os.environ[name]
