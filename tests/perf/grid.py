"""A one-category grid for the performance scripts, planned as `trustad run` plans it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from benchmark.planning.jobs import Job
from benchmark.planning.planner import Selection
from benchmark.runs.session import plan_run
from benchmark.tracks import Tier, Track, TrackDataset
from benchmark.types.precision import Precision

EPSILONS = (1, 2, 4, 8, 16)


def integers(text: str) -> tuple[int, ...]:
    """``1,2,4`` -> (1, 2, 4), for options."""
    return tuple(map(int, text.split(",")))


def grid_options(
    parser: argparse.ArgumentParser,
    *,
    images: int,
    chunk: int,
    shots: tuple[int, ...] = (1, 2, 4, 8, 16),
    seeds: tuple[int, ...] = (0, 1, 2),
) -> None:
    """The options of a grid, with these defaults."""
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--edge", type=int, default=112)
    parser.add_argument("--images", type=int, default=images)
    parser.add_argument("--chunk", type=int, default=chunk)
    parser.add_argument("--shots", type=integers, default=shots)
    parser.add_argument("--seeds", type=integers, default=seeds)
    parser.add_argument("--detector", action="append", help="repeatable")


def chosen_grid(chosen: argparse.Namespace, detectors: Sequence[str], attacks: Sequence[str], images: int = 0) -> Track:
    """The grid of `grid_options`, of other detectors where some are chosen; ``images``: instead of the chosen."""
    return grid(
        chosen.detector or detectors,
        attacks,
        backbone=chosen.backbone,
        edge=chosen.edge,
        chunk=chosen.chunk,
        shots=chosen.shots,
        seeds=chosen.seeds,
        images=images or chosen.images,
    )


def command(script: str, chosen: argparse.Namespace, *names: str) -> str:
    """The command that measures with these options; ``names``: of a script's own options."""
    words = [f"python -m tests.perf.{script}"]
    for name in ("backbone", "edge", "images", "chunk", "shots", "seeds", *names):
        value = getattr(chosen, name)
        words.append(f"--{name} {','.join(map(str, value)) if isinstance(value, tuple) else value}")
    return " ".join([*words, *(f"--detector {detector}" for detector in chosen.detector or ())])


def grid(
    detectors: Sequence[str],
    attacks: Sequence[str],
    *,
    backbone: str,
    edge: int,
    chunk: int,
    shots: tuple[int, ...],
    seeds: tuple[int, ...],
    images: int,
    dataset: str = "procedural",
    category: str = "weave",
) -> Track:
    """Clean scores and attacks at five budgets of about ``images`` query images, half of them normal."""
    attacked = Tier(name="cheap", shots=shots, seeds=seeds, attacks=tuple(attacks), budgets=EPSILONS)
    return Track(
        name="few-shot",
        version=1,
        title="",
        summary="",
        canonical_edge=edge,
        chunk_size=chunk,
        backbone=backbone,
        ranked_shots=shots[0],
        ranked_budgets=(Fraction(2),),
        detectors=tuple(detectors),
        datasets=(TrackDataset(name=dataset, categories=(category,), limit=max(1, images // 2)),),
        tiers=(Tier(name="clean", shots=shots, seeds=seeds), *([attacked] if attacks else [])),
    )


def only_job(track: Track, device: str, precision: Precision = "float32") -> Job:
    """The plan of a grid whose cells are all missing."""
    with tempfile.TemporaryDirectory() as folder:
        plan, _, _ = plan_run(track, Selection(device=device, precision=precision), Path(folder))
    (job,) = plan.jobs
    return job
