"""The few-shot grid against the same grid cell by cell: python -m tests.perf.naive [--backbone NAME --edge 224 ...]

Grid: shots x seeds x fgsm_head x 5 budgets x detectors. Naive: every cell runs the backbone for itself: clean 1 pass,
attacked 1 forward and 1 backward to craft and 1 forward to score. Both sides get fitted detectors and heads and decoded
images; the shared fits are timed apart. The naive side takes one number of shots after the other; the whole shared grid
runs before, between and after and gets the mean, so that other load on the machine hits both.
Counted in forward passes (backward = 2), h = shots x seeds: naive 21 h detectors, shared 2 + 7 h. With a backward of b
and a detector's own scoring of s forwards, as measured: naive h detectors (11 + 5 b + 6 s), shared
2 + h (5 + b) + 6 h detectors s.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from statistics import mean

import numpy as np
import torch

from benchmark.execution.perturb import perturb
from benchmark.execution.runner import JobBench
from benchmark.execution.target import BoundTarget
from benchmark.planning.jobs import CellSpec, Job
from benchmark.planning.passes import streams
from benchmark.planning.workbench import build_attack
from benchmark.types import AttackBatch, Features, FeatureScorer
from tests.perf import floor
from tests.perf.grid import chosen_grid, command, grid_options, only_job
from tests.perf.measure import Report, options, prepare, seconds

Scores = dict[str, np.ndarray]


def naive_cell(bench: JobBench, cell: CellSpec, batches: list[AttackBatch]) -> np.ndarray:
    """The scores of one cell, nothing shared."""
    fitted, scores = bench.fits.fitted(cell.detector, cell.shots, cell.seed), {}
    logit = bench.fits.surrogate(cell.detector, cell.shots, cell.seed) if cell.attack else None
    for batch in batches:
        images = batch.images
        if cell.attack is not None:
            assert cell.budget is not None
            target = BoundTarget(fitted, batch.sample_ids, surrogate=logit)
            images = next(perturb(build_attack(cell.attack), target, batch, [cell.budget]))
        scores.update(zip(batch.sample_ids, fitted(images.float() / 255.0).score.tolist(), strict=True))
    return np.array([scores[s.id] for s in cell.samples], np.float32)


def fit(bench: JobBench, job: Job) -> None:
    """Fit every detector and head of the grid."""
    for spec in {p.extractor_of for p in job.passes if p.extractor_of}:
        for episode in job.episodes:
            bench.fits.surrogate(spec, episode.shots, episode.seed)
    for detector in {c.detector for p in job.passes for c in p.cells}:
        for episode in job.episodes:
            bench.fits.fitted(detector, episode.shots, episode.seed)


def run_shared(bench: JobBench, job: Job, into: Scores) -> None:
    """The passes as the runner runs them."""
    for passes in streams(job.passes):
        into.update((cell.address, cell.scores) for run in bench.run(passes) for cell in run.done)


@torch.no_grad()
def run_naive(bench: JobBench, cells: Iterable[CellSpec], batches: list[AttackBatch], into: Scores) -> None:
    """Every cell for itself."""
    into.update((cell.address, naive_cell(bench, cell, batches)) for cell in cells)


def timed(bench: JobBench, job: Job, batches: list[AttackBatch], device: str) -> tuple[float, float, float]:
    """Seconds of the shared grid, of the naive one, and the largest difference of their scores."""
    together, alone = Scores(), Scores()
    cells = [cell for part in job.passes for cell in part.cells]
    shared, naive = [seconds(lambda: run_shared(bench, job, together), device)], 0.0
    for shots in sorted({cell.shots for cell in cells}):
        some = [cell for cell in cells if cell.shots == shots]
        naive += seconds(lambda chosen=some: run_naive(bench, chosen, batches, alone), device)
        shared.append(seconds(lambda: run_shared(bench, job, together), device))
    worst = max(float(np.abs(together[cell.address] - alone[cell.address]).max()) for cell in cells)
    return mean(shared), naive, worst


@torch.no_grad()
def costs(bench: JobBench, job: Job, batch: AttackBatch, device: str) -> tuple[float, float]:
    """Mean time of a backward and of a detector's own scoring, in forward passes; the three in turn."""
    heads = [bench.fits.fitted(c.detector, c.shots, c.seed) for c in job.passes[0].cells]
    found = [head for head in heads if isinstance(head, FeatureScorer)]
    images, extractor = batch.images.float() / 255.0, found[0].extractor
    forward, both, own = 0.0, 0.0, 0.0
    features: list[Features] = []  # new ones for each: they carry what another head's search found
    for head in found:
        forward += seconds(lambda: features.append(extractor(images)), device)
        both += seconds(lambda: floor.backward(extractor, images), device)
        own += seconds(lambda scorer=head: scorer.score(features.pop()), device)
    return both / forward - 1, own / forward


def counted(heads: int, detectors: int, backward: float, own: float) -> float:
    """The ratio by counting alone; a backward and a detector's own scoring in forward passes."""
    scoring = 6 * heads * detectors * own
    return (heads * detectors * (11 + 5 * backward) + scoring) / (2 + heads * (5 + backward) + scoring)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = options(__doc__)
    grid_options(parser, images=8, chunk=4)
    return parser.parse_args()


def main() -> None:
    """Measure."""
    chosen = parsed()
    prepare(chosen)
    detectors = chosen.detector or ["knn", "padim", "anomalydino"]
    job = only_job(chosen_grid(chosen, detectors, ["fgsm_head"]), chosen.device)
    bench = JobBench(job, {})
    fits = seconds(lambda: fit(bench, job), chosen.device)
    batches = [chunk.batch for chunk in bench.chunks(job.query)]
    backward, own = costs(bench, job, batches[0], chosen.device)
    fast, slow, worst = timed(bench, job, batches, chosen.device)
    heads = len(chosen.shots) * len(chosen.seeds)
    name, title = f"naive-{chosen.backbone.replace(':', '-')}", f"Shared against naive execution, {chosen.backbone}"
    report = Report(name, title, command("naive", chosen))
    report.columns = ("grid  ", "cells", "seconds")
    size = sum(len(part.cells) for part in job.passes)
    report.row("shared", size, fast)
    report.row("naive", size, slow)
    report.found("heads' own scoring over a forward pass, mean", own)
    limit = counted(heads, len(detectors), 2, 0)
    report.at_least(
        f"times faster (limit by counting {limit:.1f})", slow / fast, 6 if "anomalydino" in detectors else 8
    )
    report.found("a backward over a forward pass, mean", backward)
    report.found("times faster, counted with these two", counted(heads, len(detectors), backward, own))
    report.at_most("largest difference of a score", worst, 1e-6)
    report.found("seconds to fit all detectors and heads, shared, not in the above", fits)
    report.notes.append(f"{', '.join(detectors)}; {len(job.query)} images.")
    report.save(chosen.device)


if __name__ == "__main__":
    main()
