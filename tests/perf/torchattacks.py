"""FGSM at 5 epsilons through torchattacks against ours: python -m tests.perf.torchattacks [--backbone NAME --edge 448]

Both craft through the same surrogate head and score the images with the same detector; torchattacks gets whole batches.
Counted in forward passes (backward = 2): 5 x (3 + 1) = 20 against 3 + 5 = 8, crafting alone 15 against 3.
Medians; a ratio is the median of those of two neighbouring turns, which share what else the machine does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor

from attacks.zoo import TwoLogits
from benchmark.execution.perturb import perturb
from benchmark.execution.target import BoundTarget
from benchmark.planning.workbench import build_attack
from benchmark.types import AttackBatch, Features, FeatureScorer
from benchmark.types.ball import to_unit
from detectors.backbones import build
from detectors.knn import FittedKNN, global_feature
from tests.perf.measure import Report, median_ratio, options, pictures, prepare, seconds

EPSILONS = (1, 2, 4, 8, 16)


def linear(features: Features) -> Tensor:
    """A fixed linear head."""
    pooled = features.pooled()
    return (pooled * torch.linspace(-1, 1, pooled.shape[1], device=pooled.device)).sum(1)


def ours(target: BoundTarget, batch: AttackBatch) -> list[Tensor]:
    """uint8 images of every epsilon."""
    with torch.no_grad():
        return list(perturb(build_attack("fgsm_head"), target, batch, EPSILONS))


def theirs(target: BoundTarget, batch: AttackBatch) -> list[Tensor]:
    """The library's images of every epsilon, float in [0, 1]."""
    library, model = importlib.import_module("torchattacks"), TwoLogits(target, batch.images.device).eval()
    with torch.enable_grad():
        return [library.FGSM(model, eps=n / 255)(to_unit(batch.images), batch.labels).detach() for n in EPSILONS]


def scored(fitted: FeatureScorer, images: Sequence[Tensor]) -> list[Tensor]:
    """Scores of every epsilon."""
    with torch.no_grad():
        return [fitted(x.float() / 255 if x.dtype == torch.uint8 else x).score for x in images]


def main() -> None:
    """Measure."""
    parser = options(__doc__)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--edge", type=int, default=112)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    prepare(chosen)
    extractor = build(chosen.backbone, device=chosen.device)
    images = pictures(chosen.images, chosen.edge).to(chosen.device)
    labels = torch.arange(chosen.images, device=chosen.device) % 2
    batch = AttackBatch(images, labels, tuple(str(i) for i in range(chosen.images)))
    with torch.no_grad():
        fitted = FittedKNN(extractor, global_feature(extractor(pictures(4, chosen.edge, seed=1) / 255.0)), 1)
    target = BoundTarget(fitted, batch.sample_ids, surrogate=linear)
    kinds: dict[str, Callable[[BoundTarget, AttackBatch], list[Tensor]]] = {"ours": ours, "torchattacks": theirs}
    made = {name: craft(target, batch) for name, craft in kinds.items()}
    craft: dict[str, list[float]] = {name: [] for name in kinds}
    both: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(chosen.repeats):
        for name, work in kinds.items():
            craft[name].append(seconds(lambda w=work: w(target, batch), chosen.device))
            both[name].append(craft[name][-1] + seconds(lambda n=name: scored(fitted, made[n]), chosen.device))
    told = " ".join(f"--{name} {getattr(chosen, name)}" for name in ("backbone", "edge", "images", "repeats"))
    report = Report("torchattacks", "FGSM at five epsilons", f"python -m tests.perf.torchattacks {told}")
    report.columns = ("harness     ", "crafting s", "with scoring s")
    for name in kinds:
        report.row(name, median(craft[name]), median(both[name]))
    equal = [torch.equal(a, (b * 255).round().to(torch.uint8)) for a, b in zip(*made.values(), strict=True)]
    report.at_least("share of the five epsilons with equal images", sum(equal) / len(equal), 1.0)
    report.at_least(
        "crafting and scoring, times faster (limit 2.5)", median_ratio(both["torchattacks"], both["ours"]), 2.2
    )
    report.at_least("crafting alone, times faster (limit 5)", median_ratio(craft["torchattacks"], craft["ours"]), 4.0)
    report.save(chosen.device)


if __name__ == "__main__":
    main()
