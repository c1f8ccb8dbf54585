"""What would make the CPU faster, and what it does to the results: python -m tests.perf.policy [--backbone NAME ...]

A backbone's forward pass in float32 against `--precision reduced`, bfloat16 throughout (autocast), channels-last and
`torch.compile` (compiling not timed), and one-shot AnomalyDINO's AUROC on a generated category with each. The target
is the margin within which a precision may be offered. ``--attacked`` images are attacked in both precisions, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.execution.runner import JobBench, run_job
from benchmark.metrics.ranking import auroc_value
from benchmark.storage.cells import Cell
from benchmark.types import Features
from benchmark.types.precision import Precision, computing_in
from detectors import bank
from detectors.anomalydino import AnomalyDINO
from detectors.backbones import build
from detectors.backbones.extractor import FrozenExtractor
from tests.perf.grid import grid, only_job
from tests.perf.measure import Report, options, pictures, prepare, seconds


class Variant:
    """An extractor whose network runs in another way; features come back in float32."""

    def __init__(self, inner: FrozenExtractor, dtype: torch.dtype = torch.float32) -> None:
        self.id, self.weights, self.random_weights = inner.id, inner.weights, inner.random_weights
        self._inner, self._dtype = inner, dtype

    def __call__(self, images: Tensor) -> Features:
        low = torch.autocast("cpu", self._dtype) if self._dtype != torch.float32 else nullcontext()
        with low:
            found = self._inner(images)
        return Features(
            tuple(x.float() for x in found.maps), None if found.cls is None else found.cls.float(), found.region
        )

    def to(self, device: str) -> Variant:
        return self


def channels_last(inner: FrozenExtractor) -> Variant:
    """Weights and images with the channel innermost."""
    assert isinstance(inner.network, nn.Module)
    inner.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Variant(inner)


def compiled(inner: FrozenExtractor) -> Variant:
    """The network through TorchInductor."""
    return Variant(replace(inner, network=torch.compile(inner.network)))  # type: ignore[arg-type]


VARIANTS: dict[str, Callable[[FrozenExtractor], Variant]] = {
    "float32": Variant,
    "reduced": Variant,
    "bfloat16": lambda inner: Variant(inner, torch.bfloat16),
    "torch.compile": compiled,
    "channels-last": channels_last,
}


@torch.no_grad()
def auroc(extractor: Variant, bench: JobBench) -> float:
    """Of one-shot AnomalyDINO with these features on the job's query images."""
    bank.CACHE = bank.FeatureCache()
    detector = AnomalyDINO("embedded")
    detector.extractor = extractor
    fitted = detector.fit(bench.fits.support(1, 0), seed=0)
    scores = {}
    for chunk in bench.chunks(bench.job.query):
        scores.update(zip(chunk.ids, fitted(chunk.batch.images / 255.0).score.tolist(), strict=True))
    sides = [np.array([scores[s.id] for s in bench.job.query if s.label == label]) for label in (1, 0)]
    return auroc_value(*sides)


def attacked(precision: Precision, backbone: str, edge: int, chunk: int, images: int) -> dict[str, float]:
    """AUROC of one-shot AnomalyDINO by condition, everything computed in one precision."""
    names = ("fgsm_head", "pgd_score_10")
    track = grid(
        ["anomalydino"], names, backbone=backbone, edge=edge, chunk=chunk, shots=(1,), seeds=(0,), images=images
    )
    job = only_job(track, "cpu", precision)
    labels = np.array([sample.label for sample in job.query])
    found = {}
    for cell in run_job(job, {}):
        assert isinstance(cell, Cell), cell
        attack = cell.key["attack"]
        name = f"{attack['name']} {cell.key['budget']}" if attack else "clean"
        found[name] = auroc_value(cell.scores[labels == 1], cell.scores[labels == 0])
    return found


def main() -> None:
    """Measure."""
    parser = options(__doc__)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--edge", type=int, default=112)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--attacked", type=int, default=0, help="images to attack in both precisions")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    prepare(chosen)
    words = f"--backbone {chosen.backbone} --edge {chosen.edge} --batch {chosen.batch} --images {chosen.images}"
    words += f" --attacked {chosen.attacked}" if chosen.attacked else ""
    name = f"policy-{chosen.backbone.replace(':', '-')}"
    report = Report(name, f"Precision and layout, {chosen.backbone}", f"python -m tests.perf.policy {words}")
    report.columns = ("variant      ", "s a batch", "times faster", "AUROC")
    if chosen.attacked:
        whole, rounded = (
            attacked(p, chosen.backbone, chosen.edge, chosen.batch, chosen.attacked) for p in get_args(Precision)
        )
        pairs = "; ".join(f"{name} {value:.4f} / {rounded[name]:.4f}" for name, value in whole.items())
        report.notes.append(f"AUROC of {chosen.attacked} images in float32 / reduced: {pairs}.")
    sizes = {"backbone": chosen.backbone, "edge": chosen.edge, "chunk": chosen.batch, "images": chosen.images}
    job = only_job(grid(["knn"], (), shots=(1,), seeds=(0,), **sizes), "cpu")
    bench, images = JobBench(job, {}), pictures(chosen.batch, chosen.edge) / 255.0
    speed, quality = dict[str, float](), dict[str, float]()
    for variant, make in VARIANTS.items():
        extractor = make(build(chosen.backbone))
        with computing_in("reduced" if variant == "reduced" else "float32"), torch.no_grad():
            extractor(images)
            speed[variant] = seconds(lambda e=extractor: e(images), repeats=chosen.repeats)
            quality[variant] = auroc(extractor, bench)
        report.row(variant, speed[variant], speed["float32"] / speed[variant], f"{quality[variant]:.4f}")
    for variant in ("reduced", "bfloat16"):
        report.at_most(f"{variant}, difference of AUROC", abs(quality[variant] - quality["float32"]), 1e-3)
    report.save()


if __name__ == "__main__":
    main()
