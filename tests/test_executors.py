"""Executors give the same bytes; a missing extra is one clear line."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import TrustADError, UnknownNameError, UsageError
from benchmark.execution.executors import executor
from benchmark.planning.planner import Selection
from benchmark.runs.session import plan_run, run_track
from benchmark.tracks import load_track

SELECTION = Selection(detectors=("knn@gabor",), categories=("weave", "nut"), limit=2, attacks=("sign_noise",))


def content(out: Path) -> dict[str, object]:
    (path,) = out.glob("*/results/*.json")
    found: dict[str, object] = json.loads(path.read_bytes())
    found.pop("timing")
    return found


def run(out: Path, name: str) -> None:
    run_track(load_track("demo"), SELECTION, out, executor_name=name, progress=lambda *_: None)


@pytest.fixture
def with_ray() -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")


@contextmanager
def cluster(*nodes: dict[str, int]) -> Iterator[tuple[Any, list[Any]]]:
    """A Ray cluster of a head that computes nothing and the given nodes, all on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        workers = [made.add_node(**node) for node in nodes]
        ray.init(address=made.address, log_to_driver=False, configure_logging=False)
        yield made, workers
    finally:
        ray.shutdown()
        made.shutdown()


def workers_at_work() -> list[int]:
    """Processes that run a job now; Ray names them after the task."""
    commands = {path.parent: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(folder.name) for folder, command in commands.items() if command.startswith(b"ray::_work")]


@pytest.mark.usefixtures("with_ray")
def test_ray_gives_the_bytes_of_local_although_a_worker_and_a_node_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers wait for the driver after every cell, so that both kills come while jobs are running."""
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("TRUSTAD_THREADS", str(torch.get_num_threads()))
    monkeypatch.setattr("benchmark.execution.executors.ray.AHEAD", 1, raising=False)
    node = {"num_cpus": torch.get_num_threads()}
    killed: list[int] = []

    with cluster(node, node) as (made, nodes):

        def kill(done: int, total: int, what: str) -> None:
            if done == 1:
                killed.extend(workers_at_work()[:1])
                os.kill(killed[0], signal.SIGKILL)
            if done == 3:
                made.remove_node(nodes[0], allow_graceful=False)

        ray_run = run_track(load_track("demo"), SELECTION, tmp_path / "ray", executor_name="ray", progress=kill)
    assert killed
    run(tmp_path / "local", "local")
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    cells = {path.name for path in (tmp_path / "local" / "cells").rglob("*.safetensors")}
    assert {path.name for path in (tmp_path / "ray" / "cells").rglob("*.safetensors")} == cells
    assert ray_run.done == len(cells)


@pytest.mark.usefixtures("with_ray")
def test_ray_starts_by_itself_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a workstation with several GPUs: no cluster, no address."""
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("TRUSTAD_THREADS", "1")
    assert not ray.is_initialized()
    try:
        run(tmp_path / "ray", "ray")
        assert len(ray.nodes()) == 1
    finally:
        ray.shutdown()
    assert content(tmp_path / "ray")


@pytest.mark.usefixtures("with_ray")
def test_jobs_on_cuda_ask_the_cluster_for_a_gpu(tmp_path: Path) -> None:
    """Without one they are refused; with one they are placed there, and find that this machine has none."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("the node's GPU is invented")
    plan, _, _ = plan_run(load_track("demo"), SELECTION, tmp_path)
    jobs = [replace(job, device="cuda") for job in plan.jobs]
    with cluster({"num_cpus": torch.get_num_threads()}) as (made, _):
        execute = executor("ray")
        with pytest.raises(UsageError, match="no node of the Ray cluster has a GPU"):
            list(execute(jobs, {}))
        made.add_node(num_cpus=torch.get_num_threads(), num_gpus=1)
        made.wait_for_nodes()
        with pytest.raises(TrustADError, match="no CUDA device here"):
            list(execute(jobs, {}))


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "benchmark.execution.executors.ray", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'trustad\[ray\]'"):
        executor("ray")


def test_an_unknown_executor_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown executor 'slurm'"):
        executor("slurm")
