"""How much faster two Ray workers at one thread each are than one. Needs an idle machine with two cores.

    python -m tests.perf.ray_workers [--record]

Runs the same part of the demo track on local Ray clusters of one and of two nodes of one CPU, each with fresh output
folders and a warm image cache, after a first run that starts everything once. Times are of computing cells alone
(`Summary.busy`): starting Ray, planning and scoring are the same for both. Writes part of docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from benchmark.planning.planner import Selection
from benchmark.runs.session import run_track
from benchmark.tracks import load_track
from tests.perf.doc_part import write_part

SELECTION = Selection(detectors=("knn", "patchcore"), categories=("weave", "nut"), attacks=("pgd_score_10",))
ROUNDS = 3


def busy(out: Path, workers: int) -> float:
    """Seconds of computing the cells on so many workers."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
        summary = run_track(load_track("demo"), SELECTION, out, executor_name="ray", progress=lambda *_: None)
    finally:
        ray.shutdown()
        cluster.shutdown()
    return summary.busy


def results(out: Path) -> dict[str, object]:
    """Result files without their timing, by name."""
    found = {path.relative_to(out): json.loads(path.read_bytes()) for path in sorted(out.glob("*/results/*.json"))}
    return {str(path): data | {"timing": None} for path, data in found.items()}


def measure(base: Path) -> Iterator[str]:
    """Compare, and report in words."""
    os.environ["TRUSTAD_THREADS"] = "1"
    busy(base / "warm", 2)
    times: dict[int, list[float]] = {1: [], 2: []}
    for place in range(ROUNDS):
        for workers in times:
            times[workers].append(busy(base / f"{place}-{workers}", workers))
            assert results(base / f"{place}-{workers}") == results(base / "warm")
    one, two = min(times[1]), min(times[2])
    yield f"Two categories of the demo track under `pgd_score_10`, best of {ROUNDS}: {one:.1f} s on one Ray worker"
    yield f"with one thread, {two:.1f} s on two: {one / two:.2f} times as fast. Results are equal, `timing` apart."


def main() -> None:
    """Measure, print and perhaps record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = list(measure(Path(scratch)))
    if options.record:
        write_part("scale.md", "ray-workers", lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
