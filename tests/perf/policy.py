"""What would make the CPU faster, and what it does to the results: python -m tests.perf.policy [--backbone NAME ...]

A backbone's forward pass in float32 against bfloat16 (autocast), channels-last and `torch.compile` (compiling not
timed), and one-shot AnomalyDINO's AUROC on a generated category with each. The target is the margin within which
bfloat16 might be offered.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.metrics.ranking import auroc_value
from benchmark.runner import JobBench
from benchmark.types import Features
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


def main() -> None:
    """Measure."""
    parser = options(__doc__)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--edge", type=int, default=112)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    prepare(chosen)
    words = f"--backbone {chosen.backbone} --edge {chosen.edge} --batch {chosen.batch} --images {chosen.images}"
    name = f"policy-{chosen.backbone.replace(':', '-')}"
    report = Report(name, f"Precision and layout, {chosen.backbone}", f"python -m tests.perf.policy {words}")
    report.columns = ("variant      ", "s a batch", "times faster", "AUROC")
    sizes = {"backbone": chosen.backbone, "edge": chosen.edge, "chunk": chosen.batch, "images": chosen.images}
    job = only_job(grid(["knn"], (), shots=(1,), seeds=(0,), **sizes), "cpu")
    bench, images = JobBench(job, {}), pictures(chosen.batch, chosen.edge) / 255.0
    speed, quality = dict[str, float](), dict[str, float]()
    for variant, make in VARIANTS.items():
        extractor = make(build(chosen.backbone))
        with torch.no_grad():
            extractor(images)
            speed[variant] = seconds(lambda e=extractor: e(images), repeats=chosen.repeats)
        quality[variant] = auroc(extractor, bench)
        report.row(variant, speed[variant], speed["float32"] / speed[variant], f"{quality[variant]:.4f}")
    gap = abs(quality["bfloat16"] - quality["float32"])
    report.at_most("bfloat16, difference of AUROC", gap, 1e-3)
    report.save()


if __name__ == "__main__":
    main()
