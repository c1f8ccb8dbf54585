"""A long run in one process: does it keep memory, open files or child processes?

    python -m tests.perf.long_run [--images 20000] [--categories 40] [--keep DIR] [--record]

Makes that many small images in MVTec AD layout, runs a clean pass and a noise pass over all of them on the embedded
backbone through `run_track`, and looks at its own process after every cell. ``--record`` writes the figures into
docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.execution.memory import resident_bytes
from benchmark.planning.planner import Selection
from benchmark.results.provenance import peak_memory_bytes
from benchmark.runs.session import run_track
from benchmark.tracks import Tier, Track, TrackDataset
from tests.perf.doc_part import write_part

EDGE = 112


@dataclass(frozen=True)
class State:
    """This process after some cells."""

    cells: int
    resident: float
    files: int
    children: int
    threads: int


def state(cells: int) -> State:
    """Memory in MB, open file descriptors, child processes and threads, as Linux counts them."""
    children = sum(len(task.read_text().split()) for task in Path("/proc/self/task").glob("*/children"))
    files = len(os.listdir("/proc/self/fd"))
    return State(cells, resident_bytes() / 1e6, files, children, threading.active_count())


def make_images(root: Path, categories: int, per_category: int) -> None:
    """Blurred noise; anomalies have an inverted square."""
    random = np.random.default_rng(0)
    for category in range(categories):
        half = per_category // 2
        for part, count in (("train/good", 1), ("test/good", half), ("test/bad", half)):
            folder = root / f"category_{category:02d}" / part
            folder.mkdir(parents=True)
            for place in range(count):
                coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                image = np.array(Image.fromarray(coarse).resize((EDGE, EDGE), Image.Resampling.BILINEAR))
                if part == "test/bad":
                    top, left = random.integers(0, EDGE - 24, 2)
                    image[top : top + 24, left : left + 24] ^= 255
                Image.fromarray(image).save(folder / f"{place:05d}.png", compress_level=1)


def track(chunk: int = 50) -> Track:
    """Clean and noise, one shot."""
    once = {"shots": (1,), "seeds": (0,)}
    return Track(
        name="long-run",
        version=1,
        title="Long run",
        summary="",
        canonical_edge=EDGE,
        chunk_size=chunk,
        backbone="embedded",
        ranked_shots=1,
        ranked_budgets=(Fraction(2),),
        detectors=("knn",),
        datasets=(TrackDataset(name="folder"),),
        tiers=(Tier(name="clean", **once), Tier(name="noise", **once, attacks=("sign_noise",), budgets=(Fraction(2),))),
    )


def measure(base: Path, images: int, categories: int) -> Iterator[str]:
    """Make the images, run, and report in words."""
    os.environ["TRUSTAD_CACHE"] = str(base / "cache")
    make_images(base / "images", categories, images // categories)
    states = [state(0)]
    clock, used = time.perf_counter(), time.process_time()
    summary = run_track(
        track(),
        Selection(data_root=base / "images"),
        base / "run",
        executor_name="local",
        progress=lambda done, total, what: states.append(state(done)),
    )
    minutes, cpu = (time.perf_counter() - clock) / 60, (time.process_time() - used) / 60
    scored = images * 2
    quarter = len(states) // 4
    early, late = states[quarter : 2 * quarter], states[-quarter:]
    before, after = (float(np.mean([s.resident for s in part])) for part in (early, late))
    slope = np.polyfit([s.cells for s in states[quarter:]], [s.resident for s in states[quarter:]], 1)[0]
    per_image = slope * summary.done / scored
    left = [path for folder in ("run", "cache") for path in (base / folder).rglob("*.tmp")]
    yield f"- {images:,} images in {categories} categories, clean and with noise: {scored:,} images scored by "
    yield f"  `knn@embedded` at {EDGE} px in {minutes:.1f} minutes on a shared machine, {cpu:.1f} CPU minutes."
    yield f"- Resident memory: mean {before:.0f} MB in the second quarter of the run, {after:.0f} MB in the last"
    yield f"  ({(after / before - 1) * 100:+.1f} %); fitted slope {per_image * 1e4:+.2f} MB per 10,000 images. Peak "
    yield f"  {peak_memory_bytes() / 1e6:.0f} MB, with the scoring at the end."
    for name in ("files", "children", "threads"):
        values = [getattr(s, name) for s in (states[1], states[len(states) // 2], state(summary.done))]
        word = {"files": "Open files", "children": "Child processes", "threads": "Python threads"}[name]
        yield f"- {word} after the first cell, half-way and at the end: {', '.join(map(str, values))}."
    yield f"- Temporary files left in the run folder and the cache: {len(left)}. Cells failed: {summary.failed}."


def main() -> None:
    """Measure, print and perhaps record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--categories", type=int, default=40)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = list(measure(options.keep or Path(scratch), options.images, options.categories))
    if options.record:
        write_part("reliability.md", "long-run", lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
