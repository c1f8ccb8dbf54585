"""How long the paper's grid takes on this device: python -m tests.perf.paper_grid [--device cuda --backbone NAME ...]

MVTec AD and VisA, 5 support sizes, 3 seeds, fgsm_head at 5 budgets, and the track's detectors. Two runs of the harness
on generated images, one with few and one with many query images, give seconds per category and per image; the data
sets' published counts do the rest. Decoding, and collecting cells into results, are not in it.
"""

from __future__ import annotations

import argparse
from typing import get_args

from benchmark.datasets.published import PUBLISHED
from benchmark.execution.runner import run_job
from benchmark.storage.cells import Cell
from benchmark.types.precision import Precision
from detectors import bank
from tests.perf.grid import chosen_grid, command, grid_options, only_job
from tests.perf.measure import Report, options, prepare, seconds

DETECTORS = ("anomalydino", "patchcore", "knn")
DATASETS = ("mvtec_ad", "visa")


def run_seconds(chosen: argparse.Namespace, images: int) -> float:
    """Seconds of the grid on about that many images of one category."""
    track = chosen_grid(chosen, DETECTORS, ["fgsm_head"], images)
    job = only_job(track, chosen.device, chosen.precision)
    bank.CACHE = bank.FeatureCache()

    def work() -> None:
        assert all(isinstance(outcome, Cell) for outcome in run_job(job, {}))

    return seconds(work, chosen.device)


def main() -> None:
    """Measure."""
    parser = options(__doc__)
    grid_options(parser, images=40, chunk=32)
    parser.add_argument("--few", type=int, default=8, help="images of the shorter run")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    chosen = parser.parse_args()
    prepare(chosen)
    few, many = chosen.few, chosen.images
    run_seconds(chosen, 2)  # warms up kernels
    times = {count: run_seconds(chosen, count) for count in (few, many)}
    per_image = (times[many] - times[few]) / (many - few)
    per_category = times[few] - few * per_image
    categories = sum(len(PUBLISHED[name]) for name in DATASETS)
    images = sum(count["good"] + count["bad"] for name in DATASETS for count in PUBLISHED[name].values())
    device = chosen.device.partition(":")[0]
    report = Report(
        f"paper-grid-{device}-{chosen.backbone.replace(':', '-')}-{chosen.precision}",
        f"The paper's grid, {chosen.backbone}, {chosen.edge} pixels, {device}, {chosen.precision}",
        command("paper_grid", chosen, "few", "device", "precision"),
        ("query images", "seconds"),
    )
    for count, spent in times.items():
        report.row(count, spent)
    report.found("seconds per image, every support and budget", per_image)
    report.found("seconds per category for its fits", per_category)
    total = (categories * per_category + images * per_image) / 60
    what = f"projected minutes for {categories} categories with {images:,} images"
    if device == "cuda":
        report.at_most(what, total, 10)
    else:
        report.found(what, total)
    report.save(chosen.device)


if __name__ == "__main__":
    main()
