"""Freed memory goes back to the system although small blocks that live on lie above it in glibc's heap."""

from __future__ import annotations

import mmap
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.execution import memory as heap
from benchmark.execution.memory import beside_heap
from benchmark.execution.runner import JobBench
from benchmark.planning.planner import Selection
from benchmark.runs.session import plan_run
from benchmark.tracks import load_track

MEGABYTE = 1 << 20
CHOSEN = Selection(detectors=("knn@gabor",), categories=("weave",), limit=2, attacks=("sign_noise",))


FRAGMENTED = """
from benchmark.execution.memory import hold_heap, resident_bytes, trim_heap

hold_heap()
blocks = [(bytearray(100_000), bytearray(1000)) for _ in range(1000)]
living = [small for _, small in blocks]
del blocks
before = resident_bytes()
{give_back}
print(before - resident_bytes())
"""


def given_back(call: str) -> int:
    """Bytes that ``call`` gives back in a process of its own: in this one, earlier tests have shaped the heap."""
    done = subprocess.run(
        [sys.executable, "-c", FRAGMENTED.format(give_back=call)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators give memory back by themselves")
def test_freed_memory_below_living_blocks_is_given_back() -> None:
    assert given_back("trim_heap()") > 80 * MEGABYTE
    assert given_back("pass") < MEGABYTE


def test_memory_is_given_back_when_it_grows_beyond_the_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([100, 104, 106, 150, 157, 158])
    trims: list[int] = []
    monkeypatch.setattr(heap, "resident_bytes", lambda: next(held))
    monkeypatch.setattr(heap, "trim_heap", lambda: trims.append(1))
    trim, seen = heap.Trims(), []
    for _ in range(6):
        trim()
        seen.append(len(trims))
    assert seen == [0, 0, 1, 1, 1, 2]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing is kept apart elsewhere")
def test_what_outlives_its_batch_lies_in_no_heap() -> None:
    table = np.arange(3000, dtype=np.int32).reshape(3, 1000)
    kept = beside_heap(table)
    assert kept.dtype == table.dtype
    assert np.array_equal(kept, table)
    assert kept.ctypes.data % mmap.PAGESIZE == 0  # pages of its own; malloc puts its own words first
    assert beside_heap(table[:0]).shape == (0, 1000)


def test_a_pass_looks_at_its_memory_after_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    monkeypatch.setattr("benchmark.execution.runner.TRIMS", lambda: looks.append(None))
    plan, _, _ = plan_run(load_track("demo").model_copy(update={"chunk_size": 1}), CHOSEN, tmp_path)
    (job,) = plan.jobs
    clean = next(spec for spec in job.passes if spec.attack is None)
    (run,) = JobBench(job, {}).run([clean])
    assert run.done
    assert len(looks) == len(clean.samples) == 4
