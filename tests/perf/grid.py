"""A one-category grid for the performance scripts, planned as `trustad run` plans it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmark.jobs import Job
from benchmark.planner import Selection
from benchmark.session import plan_run
from benchmark.tracks import Tier, Track, TrackDataset
from benchmark.types.precision import Precision

EPSILONS = (1, 2, 4, 8, 16)


def integers(text: str) -> tuple[int, ...]:
    """``1,2,4`` -> (1, 2, 4), for options."""
    return tuple(map(int, text.split(",")))


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
    attacked = Tier(name="cheap", shots=shots, seeds=seeds, attacks=tuple(attacks), epsilons=EPSILONS)
    return Track(
        name="few-shot",
        version=1,
        title="",
        summary="",
        canonical_edge=edge,
        chunk_size=chunk,
        backbone=backbone,
        ranked_shots=shots[0],
        ranked_epsilons=(2,),
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
