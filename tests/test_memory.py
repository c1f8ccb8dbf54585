"""Freed memory goes back to the system although small blocks that live on lie above it in glibc's heap."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from benchmark.heap import trim_heap
from benchmark.planner import Selection
from benchmark.runner import JobBench
from benchmark.session import plan_run
from benchmark.tracks import load_track

MEGABYTE = 1 << 20
CHOSEN = Selection(detectors=("knn@gabor",), categories=("weave",), limit=2, attacks=("sign_noise",))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators give memory back by themselves")
def test_freed_memory_below_living_blocks_is_given_back() -> None:
    large, small = [], []
    for _ in range(1000):
        large.append(bytearray(100_000))  # below the size that is mapped and unmapped by itself
        small.append(bytearray(1000))
    large.clear()
    before = resident()
    trim_heap()
    assert resident() < before - 50 * MEGABYTE
    assert len(small) == 1000


def test_a_long_pass_gives_memory_back_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trims: list[None] = []
    monkeypatch.setattr("benchmark.heap.trim_heap", lambda: trims.append(None))
    monkeypatch.setattr("benchmark.heap.TRIM_SECONDS", 0.0)
    plan, _, _ = plan_run(load_track("demo").model_copy(update={"chunk_size": 1}), CHOSEN, tmp_path)
    (job,) = plan.jobs
    clean = next(spec for spec in job.passes if spec.attack is None)
    (run,) = JobBench(job, {}).run([clean])
    assert run.done
    assert len(trims) == len(clean.samples) == 4
