"""Experiments beside the grid: what runs, what is stored, and what the tables say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.data.episodes import DatasetSupport, sample_episode
from benchmark.errors import ResultError
from benchmark.metrics.uncertainty import support_coverage
from benchmark.planning.planner import Selection
from benchmark.registry import DATASETS, DETECTORS
from benchmark.results.evidence import PROBE_COLUMNS, read_probes, read_scores
from benchmark.results.schema import RunResult, load_result
from benchmark.runs.session import Summary, plan_run, run_track
from benchmark.scoring.score import Rules, score_evidence
from benchmark.storage.cells import CellStore
from benchmark.tracks import Track, load_track
from benchmark.types import keyed_seed
from benchmark.verify.grid import check_grid
from benchmark.verify.recompute import check_numbers
from benchmark.verify.subject import Entry, Subject

STEM = "embedded-v1__digits"
SELECTION = Selection(detectors=("knn@gabor",), datasets=("digits",), categories=("0",), shots=(4,), limit=2)


def short(track: Track) -> Track:
    """The clean tier and every probe on all images."""
    probes = tuple(p.model_copy(update={"subset_per_class": None, "subset_categories": None}) for p in track.probes)
    return track.model_copy(update={"tiers": track.tiers[:1], "probes": probes})


def run(out: Path) -> Summary:
    track = short(load_track("embedded"))
    return run_track(track, SELECTION, out, executor_name="local", progress=lambda done, total, what: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with attacks of two steps."""
    out = tmp_path_factory.mktemp("probes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attacks.universal.STEPS", 2)
        patch.setattr("attacks.poison.STEPS", 2)
        patch.setattr("attacks.continuous.ContinuousPGD.steps", 2)
        assert run(out).failed == 0
    return out


def entry(folder: Path) -> Entry:
    base = folder / "knn-gabor"
    evidence = base / "evidence"
    result: RunResult = load_result(base / "results" / f"{STEM}.json")
    scores, probes = read_scores(evidence / f"{STEM}.parquet"), read_probes(evidence / f"{STEM}.probe.parquet")
    return Entry(base / "results" / f"{STEM}.json", result, scores, None, probes)


def test_every_probe_of_the_track_has_rows_and_a_table(folder: Path) -> None:
    found = entry(folder)
    assert found.probes is not None
    sizes = found.probes.groupby(["probe", "value"]).size().to_dict()
    assert sizes == {
        ("leave_one_out", 0.0): 4,
        ("support_poison", 2.0): 4,
        ("support_poison", 8.0): 4,
        ("universal", 8.0): 4,
        ("continuous_l2", 1.0): 4,
        ("continuous_linf", 0.5): 4,
        ("smoothing", 0.05): 400,
    }
    tables = {(v.probe, v.metric) for v in found.result.scored.probes if v.category is None}
    assert {("support_poison", "auroc_robust"), ("universal", "auroc"), ("smoothing", "certified_auroc")} <= tables
    radii = [v.radius for v in found.result.scored.probes if v.metric == "certified_auroc" and v.category is None]
    assert radii == [0.0125, 0.025, 0.05]


def test_a_verifier_finds_the_same_numbers_and_misses_a_removed_probe(folder: Path) -> None:
    found = entry(folder)
    check_numbers(Subject(folder, entries=[found]))
    assert found.probes is not None
    foreign = found.probes.assign(value=np.where(found.probes["probe"] == "universal", 3.0, found.probes["value"]))
    with pytest.raises(ResultError, match="universal 3"):
        check_grid(Subject(folder, entries=[replace(found, probes=foreign)]))
    for name in ("leave_one_out", "support_poison"):
        first = found.probes.index[found.probes["probe"] == name][:1]
        with pytest.raises(ResultError, match=f"{name}: not the images"):
            check_grid(Subject(folder, entries=[replace(found, probes=found.probes.drop(first))]))
    check_grid(Subject(folder, entries=[found]))


def test_cells_say_what_the_attack_on_the_detector_spent(folder: Path) -> None:
    store = CellStore(folder)
    cells = [cell for cell in map(store.load, store.addresses()) if cell is not None and cell.key.get("probe")]
    spent = {cell.key["probe"][0]: (cell.facts.get("forward"), cell.facts.get("backward")) for cell in cells}
    assert spent == {
        "continuous_l2": (3, 2),  # the clean images, then two steps
        "continuous_linf": (3, 2),
        "universal": (2, 2),  # every image is in one half, and each half learns two steps
        "smoothing": (100, 0),
        "leave_one_out": (None, None),
        "support_poison": (None, None),
    }


def test_the_same_command_again_runs_nothing(folder: Path) -> None:
    again = run(folder)
    assert (again.done, again.failed) == (0, 0)


def test_leave_one_out_scores_are_those_of_detectors_fitted_on_the_others(folder: Path) -> None:
    probes = entry(folder).probes
    assert probes is not None
    stored = probes[probes["probe"] == "leave_one_out"].set_index("sample_id")["score"]
    dataset = DATASETS.get("digits")(None)
    episode = sample_episode(dataset, dataset.index(("0",)), "0", 4, 0)
    name = episode.support[2].id
    others = replace(episode, support=tuple(s for s in episode.support if s.id != name))
    seed = keyed_seed("fit", "digits", "0", 4, 0, "knn@gabor")
    fitted = DETECTORS.get("knn")(backbone="gabor").fit(DatasetSupport(dataset, others, 112), seed=seed)
    with torch.no_grad():
        score = fitted(DatasetSupport(dataset, episode, 112).images()[2][None].float() / 255).score.item()
    assert stored[name] == pytest.approx(score, rel=1e-6)


def test_probes_leave_the_addresses_of_other_cells_alone(tmp_path: Path) -> None:
    track = short(load_track("embedded"))
    plans = [plan_run(t, SELECTION, tmp_path)[0] for t in (track, track.model_copy(update={"probes": ()}))]
    with_probes, without = ({c.address for d in plan.datasets for c in d.cells} for plan in plans)
    assert without < with_probes
    assert len(with_probes) == len(without) + 7


RULES = Rules("toy", 4, (2,), frozenset(), has_normals=True)


def rows(scores: list[float], labels: list[int], **more: object) -> pd.DataFrame:
    ids = [f"{label}{i}" for i, label in enumerate(labels)]
    base = {"dataset": "toy", "category": "nut", "detector": "d", "shots": 4, "seed": 0}
    return pd.DataFrame({"sample_id": ids, "label": labels, "score": scores} | base | more)


def clean(scores: list[float], labels: list[int]) -> pd.DataFrame:
    none = pd.Series([None] * len(scores), dtype=object)
    return rows(scores, labels, attack=none, goal=none, budget=none)


def test_support_only_thresholds_flag_above_the_largest_left_out_score() -> None:
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    frame = clean([1.0, 2.0, 3.0, 6.0, 4.0, 5.5, 7.0, 8.0], labels)
    left_out = rows([0.5, 5.0, 1.0, 2.0], [0, 0, 0, 0], probe="leave_one_out", value=0.0, draw=0)[PROBE_COLUMNS]
    found = {v.metric: v for v in score_evidence(frame, None, RULES, left_out).values}
    # flagged above 5: one of four normals, three of four anomalies
    assert found["balanced_accuracy_support_only"].value == pytest.approx(0.75)
    assert found["f1_support_only"].value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["support_coverage"].value == pytest.approx(0.75)
    without = {v.metric: v for v in score_evidence(frame, None, RULES).values}
    assert "no leave-one-out scores" in str(without["f1_support_only"].reason)
    one = replace(RULES, ranked_shots=1)
    single = {v.metric: v for v in score_evidence(frame.assign(shots=1), None, one).values}
    assert "at least 2 support images, got 1" in str(single["support_coverage"].reason)


def test_exchangeable_scores_are_covered_as_promised() -> None:
    random = np.random.default_rng(0)
    labels, covered = np.repeat([0, 1], 50), []
    for _ in range(400):
        left_out, scores = random.normal(size=4), random.normal(size=100)
        p = (1 + (left_out[:, None] >= scores).sum(axis=0)) / 5
        covered.append(support_coverage(labels, p, 1 / 5).value)
    assert np.mean(covered) == pytest.approx(4 / 5, abs=0.03)


def test_a_probed_image_without_a_clean_score_is_refused() -> None:
    frame = clean([1.0, 2.0], [0, 1])
    foreign = rows([1.0, 2.0, 3.0], [0, 1, 1], probe="universal", value=8.0, draw=0)[PROBE_COLUMNS]
    with pytest.raises(ResultError, match="without a clean score"):
        score_evidence(frame, None, RULES, foreign)


def test_prediction_sets_cover_as_promised_on_a_larger_data_set_and_lose_it_under_attack() -> None:
    random = np.random.default_rng(1)
    labels = [0] * 100 + [1] * 100
    scores = random.normal(np.array(labels) * 2.0)
    frame = clean(scores.tolist(), labels)
    attacked = frame.assign(score=scores + 3.0 * (1 - 2 * np.array(labels)))
    attacked = attacked.assign(attack="pgd_score", goal="two_sided", budget="2")
    values = score_evidence(pd.concat([frame, attacked]), None, RULES).values
    found = {(v.metric, v.goal): v.value for v in values if v.metric in ("coverage", "set_size")}
    assert found["coverage", None] == pytest.approx(0.9, abs=0.06)
    assert 1.0 < (found["set_size", None] or 0) < 2.0
    assert (found["coverage", "two_sided"] or 0) < 0.3
    assert (found["coverage", "two_sided"] or 0) < (found["coverage", "evasion"] or 0) < (found["coverage", None] or 0)
