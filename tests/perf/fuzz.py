"""Fuzzes every reader of files and writes the count into docs/reliability.md.

    python -m tests.perf.fuzz [--cases 100000] [--seed 0] [--record]

Stops at the first fault with hypothesis' smallest example of it.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.perf.doc_part import write_part

SHARES = {
    "results schema": 0.25,
    "evidence reader": 0.15,
    "submission.toml": 0.25,
    "images": 0.2,
    "data set indexers": 0.04,
    "names of files": 0.01,
    "split file of VisA": 0.02,
    "split file of Real-IAD": 0.02,
    "predictions": 0.03,
    "cards and configs": 0.02,
    "messages": 0.01,
}
MEMORY = 8 << 30
"""Bytes of address space, so that a bomb is an error of its own."""
ROUND = 2000


def count(name: str, cases: int, start: int, folder: Path) -> tuple[int, int]:
    """Try at least so many cases; how many there were, and how many were refused."""
    from fuzzing import TARGETS, attempt
    from fuzzing_plugins import TARGETS as PLUGINS

    tried = refused = 0
    while tried < cases:

        @seed(start + tried)
        @settings(
            max_examples=min(ROUND, cases - tried),
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def one(data: st.DataObject) -> None:
            nonlocal tried, refused
            tried += 1
            refused += attempt((TARGETS | PLUGINS)[name], data.draw, folder)

        one()
    return tried, refused


def main() -> None:
    """Fuzz, print and perhaps record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    lines, total, used = ["| reader | cases | refused | read |", "|---|---:|---:|---:|"], 0, time.process_time()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        os.environ["TRUSTAD_CACHE"] = str(Path(scratch, "cache"))
        for name, share in SHARES.items():
            tried, refused = count(name, round(options.cases * share), options.seed, Path(scratch))
            lines.append(f"| {name} | {tried:,} | {refused:,} | {tried - refused:,} |")
            print(lines[-1], flush=True)
            total += tried
    minutes = (time.process_time() - used) / 60
    lines += ["", f"{total:,} cases, seed {options.seed}, {minutes:.0f} CPU minutes: no other error, crash or hang."]
    if options.record:
        write_part("reliability.md", "fuzz", lines)
    else:
        print(lines[-1])


if __name__ == "__main__":
    main()
