"""Shared execution against the naive one, which takes every cell by itself with the public parts alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.surrogate import fit_oracle_surrogate, fit_surrogate
from benchmark.calibration.crossfit import fold_of
from benchmark.data.episodes import DatasetSupport, query_image
from benchmark.execution.pass_run import CellFailure
from benchmark.execution.perturb import perturb
from benchmark.execution.runner import run_job
from benchmark.execution.target import BoundTarget, clean_flag
from benchmark.metrics.ranking import auroc
from benchmark.planning.jobs import CellSpec, DetectorSpec
from benchmark.planning.planner import Plan, PlannedDataset, Selection
from benchmark.planning.workbench import build_attack, build_detector, transfer_source
from benchmark.registry import ATTACKS, DETECTORS, load_attribute
from benchmark.runs.session import plan_run
from benchmark.storage.cells import Cell
from benchmark.tracks import Tier, Track, TrackDataset
from benchmark.types import (
    AttackBatch,
    Episode,
    Extractor,
    Features,
    FeatureScorer,
    FittedDetector,
    Prediction,
    TransductiveScorer,
    keyed_seed,
)

EDGE, LIMIT = 56, 2
ONE_STEP = {None, "fgsm_head", "sign_noise", "uniform_noise", "gaussian_noise"}
DETECTOR_NAMES = tuple(name for name in DETECTORS.names() if name != "anomalib")  # needs a package and a fitted model
MEMBERS = {"torchattacks": "torchattacks:FGSM"} | {
    name: f"{name}:moderate" for name in ("blur", "brightness", "contrast", "jpeg")
}
ATTACK_NAMES = tuple(MEMBERS.get(name, name) for name in ATTACKS.names())


def track(detectors: Sequence[str], *tiers: Tier) -> Track:
    shots, seeds = (tuple(sorted({n for t in tiers for n in getattr(t, name)})) for name in ("shots", "seeds"))
    return Track(
        name="demo",
        version=1,
        title="",
        summary="",
        canonical_edge=EDGE,
        chunk_size=3,
        backbone="seeded:embedded",
        ranked_shots=shots[0],
        ranked_budgets=(Fraction(2),),
        detectors=tuple(detectors),
        datasets=(TrackDataset(name="procedural", categories=("weave",), limit=LIMIT),),
        tiers=(Tier(name="clean", shots=shots, seeds=seeds), *tiers),
    )


def executed(grid: Track, out: Path) -> tuple[Plan, dict[str, Cell], list[CellFailure]]:
    plan, _, _ = plan_run(grid, Selection(), out)
    outcomes = [outcome for job in plan.jobs for outcome in run_job(job, {})]
    cells = {outcome.address: outcome for outcome in outcomes if isinstance(outcome, Cell)}
    return plan, cells, [outcome for outcome in outcomes if isinstance(outcome, CellFailure)]


class Backbone(FeatureScorer):
    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor

    def score(self, features: Features) -> Prediction:
        raise AssertionError("a surrogate attack saw the detector")


class Naive:
    """One cell at a time, nothing shared but what an episode is: its images, and the head that the attacker fits."""

    def __init__(self, grid: Track, planned: PlannedDataset) -> None:
        self.grid, self.planned = grid, planned
        self.heads: dict[tuple[str, int, int], torch.nn.Module] = {}
        self.pictures = {s.id: query_image(planned.dataset, s, EDGE) for s in planned.cells[0].samples}

    def scores(self, cell: CellSpec) -> NDArray[np.float32]:
        fitted = self.fit(cell.detector, cell)
        found: dict[str, float] = {}
        with torch.no_grad():
            for batch in self.batches(cell):
                images = batch.images if cell.attack is None else self.attacked(cell, fitted, batch)
                scorer = fitted.excluding(batch.sample_ids) if isinstance(fitted, TransductiveScorer) else fitted
                found.update(zip(batch.sample_ids, scorer(images.float() / 255).score.tolist(), strict=True))
        return np.array([found[s.id] for s in cell.samples], np.float32)

    def attacked(self, cell: CellSpec, fitted: FittedDetector, batch: AttackBatch) -> Tensor:
        assert cell.attack is not None
        assert cell.budget is not None
        attack = build_attack(cell.attack)
        victim = fitted
        if attack.card.knowledge == "surrogate":
            extractor = build_detector(cell.detector).extractor
            assert extractor is not None
            victim = Backbone(extractor)
        if attack.card.knowledge == "transfer":
            victim = self.fit(transfer_source(attack, self.grid), cell)
            attack = build_attack(str(attack.config["attack"]))
        head = self.head(cell, victim, batch) if isinstance(victim, Backbone) else None
        flag = clean_flag(self.clean(cell), [s.label for s in cell.samples]) if cell.attack == "flag_adaptive" else None
        target = BoundTarget(victim, batch.sample_ids, surrogate=head, flag=flag)
        return next(perturb(attack, target, batch, [int(cell.budget)]))

    def head(self, cell: CellSpec, fitted: Backbone, batch: AttackBatch) -> torch.nn.Module:
        if cell.attack == "pgd_head_oracle":
            return self.oracle(cell, fitted, batch)
        key = (fitted.extractor.id, cell.shots, cell.seed)
        if key not in self.heads:
            seed = keyed_seed("surrogate", "procedural", "weave", cell.shots, cell.seed)
            self.heads[key] = fit_surrogate(fitted.extractor, self.support(cell), seed=seed)
        return self.heads[key]

    def oracle(self, cell: CellSpec, fitted: Backbone, batch: AttackBatch) -> torch.nn.Module:
        folds = fold_of([s.id for s in cell.samples], [s.label for s in cell.samples])
        heads = []
        for fold in (0, 1):
            others = [s for s, f in zip(cell.samples, folds, strict=True) if f != fold]
            pictures = [self.pictures[s.id] for s in others]
            heads.append(fit_oracle_surrogate(fitted.extractor, pictures, [s.label for s in others], seed=0))
        mine = {s.id: int(f) for s, f in zip(cell.samples, folds, strict=True)}
        place = torch.tensor([mine[name] for name in batch.sample_ids])
        return lambda features: torch.stack([h(features) for h in heads])[place, torch.arange(len(place))]  # type: ignore

    def clean(self, cell: CellSpec) -> NDArray[np.float32]:
        wanted = (cell.detector, cell.shots, cell.seed, None)
        return self.scores(next(c for c in self.planned.cells if (c.detector, c.shots, c.seed, c.attack) == wanted))

    def support(self, cell: CellSpec) -> DatasetSupport:
        episode = self.planned.episodes["weave", cell.shots, cell.seed]
        assert isinstance(episode, Episode)
        return DatasetSupport(self.planned.dataset, episode, EDGE)

    def fit(self, spec: DetectorSpec, cell: CellSpec) -> FittedDetector:
        detector = build_detector(spec)
        seed = keyed_seed("fit", "procedural", "weave", cell.shots, cell.seed, spec.label)
        if not detector.card.transductive:
            return detector.fit(self.support(cell), seed=seed)
        query = [(s.id, self.pictures[s.id]) for s in cell.samples]
        return detector.fit_transductive(self.support(cell), query, seed=seed)

    def batches(self, cell: CellSpec) -> Iterator[AttackBatch]:
        for start in range(0, len(cell.samples), 3):
            group = cell.samples[start : start + 3]
            images = torch.stack([self.pictures[s.id] for s in group])
            masks = torch.stack([torch.from_numpy(load_mask(self.planned, s)) for s in group])
            yield AttackBatch(images, torch.tensor([s.label for s in group]), tuple(s.id for s in group), masks)


def load_mask(planned: PlannedDataset, sample: object) -> NDArray[np.bool_]:
    mask = planned.dataset.mask(sample)  # type: ignore[arg-type]
    assert mask is not None
    return load_attribute("benchmark.data.canonical:canonical_mask")(mask, (EDGE, EDGE))  # type: ignore[no-any-return]


def compare(grid: Track, out: Path) -> list[CellFailure]:
    """Check every cell of a grid against the naive path; returns what could not be run."""
    plan, cells, failures = executed(grid, out)
    planned = plan.datasets[0]
    assert len(cells) + sum(len(f.cells) for f in failures) == len(planned.cells)
    naive = Naive(grid, planned)
    for cell in planned.cells:
        if cell.address not in cells:
            continue
        shared, alone = cells[cell.address].scores, naive.scores(cell)
        where = f"{cell.detector.label} {cell.attack} {cell.budget} {cell.shots}/{cell.seed}"
        if cell.attack in ONE_STEP:
            np.testing.assert_allclose(shared, alone, rtol=1e-6, atol=1e-6, err_msg=where)
        else:
            labels = np.array([s.label for s in cell.samples])
            assert auroc(labels, shared) == auroc(labels, alone), where
    return failures


@pytest.fixture(autouse=True)
def few_anomalies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attacks.surrogate.ANOMALIES", 6)


@pytest.mark.parametrize("name", DETECTOR_NAMES)
def test_every_detector_scores_as_if_alone(name: str, tmp_path: Path) -> None:
    nested = Tier(name="nested", shots=(1, 2), seeds=(0,), attacks=("fgsm_head", "sign_noise"), budgets=(Fraction(2),))
    steps = Tier(name="steps", shots=(1,), seeds=(0,), attacks=("pgd_score_10",), budgets=(Fraction(2),))
    few_shot = DETECTORS.get(name).card.few_shot
    failures = compare(track([name] if name == "knn" else [name, "knn"], nested, steps), tmp_path)
    assert {cell.detector.name for f in failures for cell in f.cells} <= (set() if few_shot else {name})
    assert all(f.not_applicable for f in failures)


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_every_attack_gives_the_scores_of_a_run_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.startswith("torchattacks"):
        pytest.importorskip("torchattacks")
    for rounds, few in (("steps", 4), ("queries", 20)):  # the same loop, fewer rounds
        if getattr(build_attack(name), rounds, 0) > few:
            monkeypatch.setattr(type(build_attack(name)), rounds, few)
    tier = Tier(name="all", shots=(1,), seeds=(0,), attacks=(name,), budgets=(Fraction(2), Fraction(8)))
    alone = build_attack(name).card.knowledge in ("white_box", "black_box")
    failures = compare(track(["padim"] if alone else ["knn", "padim"], tier), tmp_path)
    assert {f.reason for f in failures if not f.not_applicable} == set()
