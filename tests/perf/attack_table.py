"""Measures how strong every attack is: two-sided auroc_robust by attack and epsilon, with intervals; then the
orderings.

Usage: OMP_NUM_THREADS=1 python -m tests.perf.attack_table procedural --category weave --category nut --limit 8
       OMP_NUM_THREADS=1 python -m tests.perf.attack_table mvtec_ad --root ../shared/data/mvtec_ad

4 shots, seed 0, 112 px, embedded backbone. AUROC is the macro mean over the categories, ties lost; intervals are 95 %
stratified bootstraps of the images. Transfer images come from AnomalyDINO.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.surrogate import fit_surrogate
from benchmark.episodes import DatasetSupport, query_image, sample_episode
from benchmark.errors import NotApplicableError
from benchmark.metrics.outcome import Floats
from benchmark.perturb import perturb
from benchmark.registry import DATASETS, DETECTORS
from benchmark.statistics.bootstrap import macro_auroc_replicates, percentile_interval
from benchmark.target import BoundTarget
from benchmark.types import AttackBatch, Dataset, FeatureScorer, FittedDetector, Manifest
from benchmark.workbench import build_attack

EDGE, SHOTS, CHUNK = 112, 4, 8
ATTACKS = (
    "sign_noise",
    "uniform_noise",
    "gaussian_noise",
    "fgsm_head",
    "pgd_head",
    "mi_fgsm_head",
    "torchattacks:MIFGSM",
    "torchattacks:APGD",
    "transfer",
    "square_score",
    "pgd_score_10",
    "apgd_score_10",
    "pgd_score",
    "apgd_score",
    "pgd_score_100",
)
ORDERINGS = (
    ("pgd_score", "transfer"),
    ("pgd_score", "square_score"),
    ("square_score", "sign_noise"),
    ("pgd_head", "sign_noise"),
    ("pgd_score", "pgd_head"),
    ("pgd_head", "torchattacks:APGD"),
    ("mi_fgsm_head", "torchattacks:MIFGSM"),
    ("pgd_score", "pgd_score_10"),
    ("pgd_score_100", "pgd_score_10"),
    ("apgd_score_10", "pgd_score_10"),
    ("apgd_score", "pgd_score"),
)
"""(expected stronger, expected weaker)."""

Condition = tuple[str, int]


@dataclass(frozen=True)
class Scene:
    """One category: a fitted detector, the source of transfer, and the query images in chunks."""

    fitted: FittedDetector
    source: FittedDetector
    surrogate: torch.nn.Module
    chunks: tuple[AttackBatch, ...]

    def target(self, attack: str, batch: AttackBatch) -> BoundTarget:
        """What the attack may query."""
        fitted = self.source if attack.startswith("transfer") else self.fitted
        return BoundTarget(fitted, batch.sample_ids, surrogate=self.surrogate)

    def scores(self, attack: str, epsilons: Sequence[int]) -> Floats:
        """True scores under an attack, [epsilons, images]."""
        found = []
        for batch in self.chunks:
            images = perturb(build_attack(attack), self.target(attack, batch), batch, epsilons)
            found.append([self.fitted(x.float() / 255).score.double().numpy() for x in images])
        return np.concatenate([np.stack(part) for part in found], axis=1)

    @property
    def labels(self) -> NDArray[np.int64]:
        """0/1 per image, in the order of the chunks."""
        return torch.cat([batch.labels for batch in self.chunks]).numpy()


def scene(dataset: Dataset, manifest: Manifest, category: str, detector: str, limit: int | None) -> Scene:
    """Fit the detector, the transfer source and the surrogate head of one category."""
    episode = sample_episode(dataset, manifest, category, SHOTS, 0, limit)
    support = DatasetSupport(dataset, episode, EDGE)
    fitted, source = (
        DETECTORS.get(name)(backbone="embedded").fit(support, seed=0) for name in (detector, "anomalydino")
    )
    if not isinstance(fitted, FeatureScorer):
        raise NotApplicableError(f"{detector} has no tokens")
    images = torch.stack([query_image(dataset, sample, EDGE) for sample in episode.query])
    labels, ids = torch.tensor([sample.label for sample in episode.query]), [sample.id for sample in episode.query]
    chunks = tuple(
        AttackBatch(images[i : i + CHUNK], labels[i : i + CHUNK], tuple(ids[i : i + CHUNK]))
        for i in range(0, len(ids), CHUNK)
    )
    return Scene(fitted, source, fit_surrogate(fitted.extractor, support, seed=0), chunks)


def measure(scenes: dict[str, Scene], attacks: Sequence[str], epsilons: Sequence[int]) -> Iterator[str]:
    """Rows of the table as they are done, then the orderings with paired intervals."""
    replicates: dict[Condition, Floats] = {}
    clean = {name: s.scores("sign_noise", [0]) for name, s in scenes.items()}
    means, spread = summary(scenes, clean)
    yield f"| clean | {cell(means[0], spread[0])} |"
    yield "| attack | " + " | ".join(f"{n}/255" for n in epsilons) + " | seconds |"
    yield "|---|" + "---|" * (len(epsilons) + 1)
    for attack in attacks:
        start = time.perf_counter()
        means, spread = summary(scenes, {name: s.scores(attack, epsilons) for name, s in scenes.items()})
        replicates |= {(attack, n): row for n, row in zip(epsilons, spread, strict=True)}
        cells = " | ".join(cell(mean, row) for mean, row in zip(means, spread, strict=True))
        yield f"| {attack} | {cells} | {time.perf_counter() - start:.0f} |"
    for (strong, weak), n in itertools.product(ORDERINGS, epsilons):
        if (strong, n) in replicates and (weak, n) in replicates:
            gap = replicates[strong, n] - replicates[weak, n]
            interval = percentile_interval(gap)
            verdict = "VIOLATED" if interval.low > 0 else "holds" if interval.high <= 0 else "within noise"
            bounds = f"[{interval.low:+.3f}, {interval.high:+.3f}]"
            yield f"{strong} <= {weak} at {n}/255: {gap.mean():+.3f} {bounds} {verdict}"


def summary(scenes: dict[str, Scene], scores: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Macro mean AUROC [conditions] and its bootstrap replicates [conditions, resamples]."""
    data = {name: (scenes[name].labels, values) for name, values in scores.items()}
    exact = [[auroc(labels, row) for row in values] for labels, values in data.values()]
    return np.mean(exact, axis=0), macro_auroc_replicates(data, "attack_table", ties="lost")


def auroc(labels: NDArray[np.int64], scores: Floats) -> float:
    """Two-sided robust AUROC: ties count 0."""
    return float((scores[labels == 1][:, None] > scores[labels == 0][None]).mean())


def cell(mean: float, replicates: Floats) -> str:
    """``0.123 [0.100, 0.150]``."""
    interval = percentile_interval(replicates)
    return f"{mean:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--category", action="append")
    parser.add_argument("--detector", default="anomalydino")
    parser.add_argument("--attack", action="append")
    parser.add_argument("--epsilon", type=int, action="append")
    parser.add_argument("--limit", type=int, help="images per label and category")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset: Dataset = DATASETS.get(options.dataset)(options.root)
    manifest = dataset.index(options.category)
    print(f"## {options.dataset}, {options.detector}@embedded, {', '.join(manifest.categories())}", flush=True)
    with torch.no_grad():
        scenes = {c: scene(dataset, manifest, c, options.detector, options.limit) for c in manifest.categories()}
        for line in measure(scenes, options.attack or ATTACKS, options.epsilon or (1, 2, 4, 8)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
