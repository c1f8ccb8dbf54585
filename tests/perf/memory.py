"""Peak memory of a run over few and over many images: python -m tests.perf.memory [--few 200 --many 2000]

Each run is a process of its own: clean scores, fgsm_head and sign_noise at five budgets, AnomalyDINO and knn, collected
into results with all intervals.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.planning.planner import Selection
from benchmark.results.provenance import peak_memory_bytes
from benchmark.runs.session import run_track
from tests.perf.grid import grid
from tests.perf.measure import Report, options, prepare

EDGE = 128


def make_tree(root: Path, count: int) -> None:
    """A category in MVTec layout: 8 training and ``count`` test images of noise, a tenth of them anomalous."""
    rng = np.random.default_rng(0)
    base = rng.integers(40, 216, (EDGE, EDGE, 3), dtype=np.int16)
    kinds = {"train/good": 8, "test/good": count - count // 10, "test/spot": count // 10}
    for kind, images in kinds.items():
        folder, masks = root / "thing" / kind, root / "thing" / "ground_truth" / "spot"
        folder.mkdir(parents=True)
        masks.mkdir(parents=True, exist_ok=True)
        for number in range(images):
            pixels = base + rng.integers(-30, 31, base.shape, dtype=np.int16)
            if kind == "test/spot":
                pixels[40:60, 40:60] = 0
                mask = np.zeros((EDGE, EDGE), np.uint8)
                mask[40:60, 40:60] = 255
                Image.fromarray(mask).save(masks / f"{number:04}_mask.png")
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:04}.png", compress_level=1)


def child(root: Path, images: int, device: str) -> None:
    """Run the grid and print the peak resident set in bytes."""
    track = grid(
        ["knn", "anomalydino"],
        ["fgsm_head", "sign_noise"],
        backbone="embedded",
        edge=112,
        chunk=20,
        shots=(1,),
        seeds=(0,),
        images=2 * images,
        dataset="folder",
        category="thing",
    )
    selection = Selection(data_root=root, device=device)
    summary = run_track(track, selection, root / "run", executor_name="local", progress=lambda done, total, what: None)
    assert summary.failed == 0, summary.failures
    print(peak_memory_bytes())


def peak(images: int, device: str, threads: int) -> int:
    """Peak resident set of a run over that many images, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder), images)
        words = ["--child", folder, "--few", str(images), "--device", device, "--threads", str(threads)]
        environment = os.environ | {"TRUSTAD_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-m", "tests.perf.memory", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return int(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure."""
    parser = options(__doc__)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--child", type=Path)
    chosen = parser.parse_args()
    prepare(chosen)
    if chosen.child is not None:
        child(chosen.child, chosen.few, chosen.device)
        return
    command = f"python -m tests.perf.memory --few {chosen.few} --many {chosen.many}"
    report = Report("memory", "Peak memory", command, ("images", "peak MB"))
    few, many = (peak(count, chosen.device, chosen.threads) for count in (chosen.few, chosen.many))
    report.row(chosen.few, round(few / 1e6))
    report.row(chosen.many, round(many / 1e6))
    report.at_most(f"growth of peak memory from {chosen.few} to {chosen.many} images, %", 100 * (many / few - 1), 10)
    report.save(chosen.device)


if __name__ == "__main__":
    main()
