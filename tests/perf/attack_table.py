r"""How strong every attack is: two-sided auroc_robust by attack and epsilon with intervals, and the orderings that must
hold between them, with a verdict each.

From a run, whose evidence already holds the scores (seconds):
    python -m tests.perf.attack_table evidence runs/embedded/patchcore-embedded --out docs/attack-table.md

Measured anew on images from disk, one process a category:
    OMP_NUM_THREADS=1 python -m tests.perf.attack_table measure mvtec_ad --root ../shared/data/mvtec_ad \
        --category leather --category transistor --limit 5 --out docs/attack-table.md

Measured tables come in pairs: what the detector scores, and what the surrogate head says of the same images, where
attacks on the head are compared with one another. 4 shots, seed 0. AUROC is the macro mean over the categories, ties
lost; intervals are 95 % stratified bootstraps of the images; an ordering is judged on the images that both attacks
cover. Transfer images come from AnomalyDINO.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.outcome import Floats
from benchmark.metrics.ranking import auroc_value
from benchmark.results.evidence import read_scores
from benchmark.results.schema import load_result
from benchmark.scoring.episodes import episodes_of
from benchmark.statistics.bootstrap import macro_auroc_replicates, percentile_interval
from benchmark.types import Dataset

EDGE, SHOTS, CHUNK = 112, 4, 8
ONE_STEP = ("torchattacks:FGSM", "torchattacks:FFGSM")
ZOO = tuple(
    f"torchattacks:{name}"
    for name in (
        "BIM",
        "RFGSM",
        "PGD",
        "TPGD",
        "MIFGSM",
        "NIFGSM",
        "DIFGSM",
        "TIFGSM",
        "UPGD",
        "Jitter",
        "PIFGSM",
        "APGD",
    )
)
"""torchattacks' attacks with ten gradients, as many as ours on the head take (its APGD: eleven)."""
ATTACKS = (
    "sign_noise",
    "uniform_noise",
    "fgsm_head",
    "pgd_head",
    "mi_fgsm_head",
    *ONE_STEP,
    *ZOO,
    "transfer",
    "pgd_score_10",
    "apgd_score_10",
    "pgd_score",
    "apgd_score",
    "pgd_score_100",
    "square_score",
)
FIRST_ONLY = {"square_score", "pgd_score_100"}
"""Too slow for every epsilon: measured at the first one."""
QUERIES = (10, 100, 300)
"""Points of the query curve before the last."""
Names = tuple[str, ...]
ORDERINGS: tuple[tuple[Names, Names], ...] = (
    (("pgd_score",), ("transfer",)),
    (("pgd_score_10",), ("transfer_10",)),
    (("pgd_score_10",), ("fgsm_head",)),
    (("pgd_score",), ("pgd_head",)),
    (("fgsm_head",), ("sign_noise",)),
    (("pgd_head",), ("sign_noise",)),
    (("pgd_head",), ("fgsm_head",)),
    (("pgd_score",), ("pgd_score_10",)),
    (("pgd_score_100",), ("pgd_score_10",)),
    (("apgd_score_10",), ("pgd_score_10",)),
    (("apgd_score",), ("pgd_score",)),
    (("square_score",), ("sign_noise",)),
    (("nes_score",), ("sign_noise",)),
    (("pgd_score", "pgd_score_10"), ("square_score", "nes_score")),
    (("fgsm_head",), ONE_STEP),
    (("pgd_head", "mi_fgsm_head"), ZOO),
)
"""(expected stronger, expected weaker); of several names the strongest one that ran counts."""
NEAR_ZERO = 0.05

Condition = tuple[str, int]


@dataclass(frozen=True)
class Category:
    """Labels [n], scores [n] by condition (NaN where an image was not attacked), gradients an image by attack."""

    labels: NDArray[np.bool_]
    clean: Floats
    attacked: Mapping[Condition, Floats]
    gradients: Mapping[str, float] = field(default_factory=dict)


Table = Mapping[str, Category]


def compared(table: Table, conditions: Sequence[Condition]) -> tuple[Floats, Floats] | None:
    """Macro AUROCs [conditions] and replicates [conditions, resamples] on the images that all conditions cover."""
    data: dict[str, tuple[NDArray[np.bool_], Floats]] = {}
    for name, category in table.items():
        if all(c in category.attacked for c in conditions):
            scores = np.stack([category.attacked[c] for c in conditions])
            kept = np.isfinite(scores).all(axis=0)
            if len(set(category.labels[kept].tolist())) == 2:
                data[name] = (category.labels[kept], scores[:, kept])
    if not data:
        return None
    exact = [[auroc_value(row[y], row[~y], ties="lost") for row in scores] for y, scores in data.values()]
    return np.mean(exact, axis=0), macro_auroc_replicates(data, "attack_table", ties="lost")


def lines(table: Table) -> Iterator[str]:
    """The table, then the orderings."""
    conditions = sorted({c for category in table.values() for c in category.attacked})
    epsilons = sorted({n for _, n in conditions})
    clean = np.mean([auroc_value(c.clean[c.labels], c.clean[~c.labels], ties="lost") for c in table.values()])
    images = sum(c.labels.size for c in table.values())
    yield f"{len(table)} categories, {images} images; clean AUROC {clean:.3f}\n"
    counts = [category.gradients for category in table.values()]
    gradients = {name: np.mean([count[name] for count in counts]) for name in counts[0]}
    yield "| attack | " + "gradients | " * bool(gradients) + " | ".join(f"{n}/255" for n in epsilons) + " |"
    yield "|---|" + "---|" * (len(epsilons) + bool(gradients))
    for attack in sorted({a for a, _ in conditions}, key=lambda a: (ATTACKS.index(a) if a in ATTACKS else 99, a)):
        spent = [f"{gradients.get(attack, 0):.4g}"] if gradients else []
        yield f"| {attack} | " + " | ".join(spent + [_cell(table, (attack, n)) for n in epsilons]) + " |"
    yield "\n| expected | epsilon | AUROC difference | verdict |\n|---|---|---|---|"
    for stronger, weaker in ORDERINGS:
        for n in epsilons:
            yield from _ordering(table, stronger, weaker, n)
    for attack in ("pgd_score", "pgd_score_10"):
        if found := compared(table, [(attack, 8)]):
            verdict = "holds" if found[0][0] <= NEAR_ZERO else "VIOLATED"
            yield f"| {attack} near 0 (at most {NEAR_ZERO}) | 8/255 | {found[0][0]:.3f} | {verdict} |"


def _cell(table: Table, condition: Condition) -> str:
    found = compared(table, [condition])
    if found is None:
        return ""
    interval = percentile_interval(found[1][0])
    return f"{found[0][0]:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def _ordering(table: Table, stronger: Names, weaker: Names, epsilon: int) -> Iterator[str]:
    strong, weak = (_strongest(table, names, epsilon) for names in (stronger, weaker))
    found = compared(table, [(strong, epsilon), (weak, epsilon)]) if strong and weak else None
    if found is None:
        return
    gap = percentile_interval(found[1][0] - found[1][1])
    verdict = "VIOLATED" if gap.low > 0 else "holds" if gap.high <= 0 else "within noise"
    difference = f"{found[0][0] - found[0][1]:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    yield f"| {strong} <= {weak} | {epsilon}/255 | {difference} | {verdict} |"


def _strongest(table: Table, names: Names, epsilon: int) -> str | None:
    found = {name: compared(table, [(name, epsilon)]) for name in names}
    return min((n for n, f in found.items() if f), key=lambda n: float(found[n][0][0]), default=None)  # type: ignore[index]


# ---- from the evidence of a run ---------------------------------------------------------------------------------


def from_evidence(path: Path) -> Table:
    """The 4-shot episodes of seed 0 of a result file."""
    file = next(f for f in load_result(path).evidence if f.kind == "scores")
    episodes = episodes_of(read_scores(path.parent.parent / "evidence" / file.file))
    found = {}
    for e in (e for e in episodes if (e.shots, e.seed) == (SHOTS, 0)):
        attacked = {
            (c.attack, int(c.budget)): s for c, s in e.scores.items() if c.attack and c.budget and c.budget < 255
        }
        found[e.category] = Category(e.labels, e.clean, attacked)
    return found


# ---- measured anew ----------------------------------------------------------------------------------------------


def measure(category: str, options: argparse.Namespace) -> tuple[Category, Category]:
    """Fit detector, transfer source and surrogate head to one category and run every attack.

    Returns:
        What the detector scores under all attacks, and the head's logits under those that do not know the detector.
    """
    import torch

    from attacks.surrogate import fit_surrogate
    from benchmark.data.episodes import DatasetSupport, chunks, query_image, sample_episode
    from benchmark.execution.perturb import perturb
    from benchmark.execution.target import BoundTarget
    from benchmark.planning.workbench import build_attack
    from benchmark.registry import DATASETS, DETECTORS
    from benchmark.types import AttackBatch, FeatureScorer

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    dataset: Dataset = DATASETS.get(options.dataset)(options.root)
    episode = sample_episode(dataset, dataset.index((category,)), category, SHOTS, 0, options.limit)
    support = DatasetSupport(dataset, episode, EDGE)
    victim, source = (
        DETECTORS.get(name)(backbone=options.backbone).fit(support, seed=0)
        for name in (options.detector, "anomalydino")
    )
    assert isinstance(victim, FeatureScorer)
    head = fit_surrogate(victim.extractor, support, seed=0)
    images = {s.id: query_image(dataset, s, EDGE) for s in episode.query}
    shapes = [(images[s.id].shape[1], images[s.id].shape[2]) for s in episode.query]
    batches = [
        AttackBatch(torch.stack([images[s.id] for s in g]), torch.tensor([s.label for s in g]), tuple(s.id for s in g))
        for g in chunks(episode.query, shapes, CHUNK)
    ]

    def scores(name: str, epsilon: int) -> tuple[Floats, float, Floats]:
        """Scores and logits [2, n]; gradients an image; most harmful score within so many `QUERIES` [q, n]."""
        found, spent, curves = [], 0, []
        for batch in batches:
            fitted = source if name.startswith("transfer") else victim
            target = BoundTarget(fitted, batch.sample_ids, surrogate=head.logit, record=True)
            (changed,) = perturb(build_attack(name), target, batch, [epsilon])
            features = victim.extractor(changed.float() / 255)
            found.append(torch.stack([victim.score(features).score.double(), head.logit(features)]))
            spent += target.backwards
            if name == "square_score":  # every prediction is one query of the whole batch, after the clean one
                harm = torch.stack([seen for _, seen in target.history]).double() * batch.direction
                curves.append(harm.cummax(dim=0).values[list(QUERIES)] * batch.direction)
        curve = torch.cat(curves, dim=1).numpy() if curves else np.empty((0, 0))
        return torch.cat(found, dim=1).numpy(), spent / sum(map(len, batches)), curve

    scored: dict[Condition, Floats] = {}
    logits: dict[Condition, Floats] = {}
    gradients = {}
    for name in options.attack or ATTACKS:
        for n in options.epsilon[:1] if name in FIRST_ONLY else options.epsilon:
            (scored[name, n], said), gradients[name], curve = scores(name, n)
            scored |= {(f"{name}, {q} queries", n): row for q, row in zip(QUERIES, curve, strict=False)}
            if build_attack(name).card.knowledge in ("none", "surrogate"):
                logits[name, n] = said
        print(f"{category}: {name} done", flush=True)
    labels = torch.cat([batch.labels for batch in batches]).numpy().astype(bool)
    (clean, said), _, _ = scores("sign_noise", 0)
    return Category(labels, clean, scored, gradients), Category(labels, said, logits, gradients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    stored = ways.add_parser("evidence")
    stored.add_argument("folder", type=Path, help="a detector's folder of a run, or a submission")
    anew = ways.add_parser("measure")
    anew.add_argument("dataset")
    anew.add_argument("--root", type=Path)
    anew.add_argument("--category", action="append", required=True)
    anew.add_argument("--detector", default="patchcore")
    anew.add_argument("--backbone", default="embedded")
    anew.add_argument("--attack", action="append")
    anew.add_argument("--epsilon", type=int, nargs="+", default=[2, 8])
    anew.add_argument("--limit", type=int, help="images per label and category")
    for way in (stored, anew):
        way.add_argument("--out", type=Path, help="Markdown file to append to")
    options = parser.parse_args()
    if options.way == "evidence":
        paths = sorted((options.folder / "results").glob("embedded-*.json"))
        tables = {f"{load_result(p).detector.name}, {p.stem}": from_evidence(p) for p in paths}
    else:
        with ProcessPoolExecutor(2) as pool:
            found = zip(*pool.map(partial(measure, options=options), options.category), strict=True)
            kinds = (options.detector, "the surrogate head")
            title = f"{options.backbone}, {options.dataset} ({', '.join(options.category)})"
            tables = {
                f"{k} on {title}": dict(zip(options.category, f, strict=True))
                for k, f in zip(kinds, found, strict=True)
            }
    text = "\n".join(line for title, table in tables.items() for line in (f"\n## {title}\n", *lines(table))) + "\n"
    print(text)
    if options.out:
        with options.out.open("a") as file:
            file.write(text)


if __name__ == "__main__":
    main()
