"""The whole chain on a small run: plan, execute, store, collect; and what resuming and sharing must not change."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UnknownNameError, UsageError, WeightsError
from benchmark.planning.jobs import DetectorSpec
from benchmark.planning.planner import Selection
from benchmark.registry import DETECTORS
from benchmark.results.evidence import read_pixels, read_scores
from benchmark.results.schema import RunResult, load_result
from benchmark.runs.session import Summary, plan_run, run_track
from benchmark.scoring.score import Rules, score_evidence
from benchmark.storage.cells import CellStore
from benchmark.tracks import Track, load_track

SELECTION = Selection(detectors=("knn@gabor", "anomalydino@gabor"), categories=("weave",), limit=2)


def quiet(done: int, total: int, what: str) -> None:
    """No progress."""


def run(out: Path, selection: Selection = SELECTION, track: Track | None = None) -> Summary:
    return run_track(track or load_track("demo"), selection, out, executor_name="local", progress=quiet)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("run")
    return out, run(out)


def files(out: Path) -> dict[str, bytes]:
    """Result and evidence bytes by relative path, the timing object left out."""
    found = {}
    for path in sorted([*out.glob("*/results/*.json"), *out.glob("*/evidence/*.parquet")]):
        data = path.read_bytes()
        if path.suffix == ".json":
            content = json.loads(data)
            content.pop("timing")
            data = json.dumps(content, sort_keys=True).encode()
        found[str(path.relative_to(out))] = data
    return found


def result(out: Path, slug: str = "anomalydino-gabor") -> RunResult:
    return load_result(out / slug / "results" / "demo-v1__procedural.json")


def test_the_run_is_whole(first: tuple[Path, Summary]) -> None:
    out, summary = first
    assert (summary.failed, summary.skipped) == (0, 0)
    found = result(out)
    assert found.detector.name == "anomalydino@gabor"
    assert [a.name for a in found.attacks] == ["fgsm_head", "pgd_score_10", "sign_noise"]
    assert not found.failures
    assert not found.track.complete
    assert found.track.restrictions == ("only categories weave", "at most 2 images per class")
    assert found.scored.find("auroc", shots=1) is not None
    assert found.scored.find("aupro", shots=1) is not None


def test_every_value_is_recomputed_from_the_evidence(first: tuple[Path, Summary]) -> None:
    out, _ = first
    found = result(out)
    folder = out / "anomalydino-gabor" / "evidence"
    scores = read_scores(folder / "demo-v1__procedural.parquet")
    pixels = read_pixels(folder / "demo-v1__procedural.pixel.parquet")
    full = frozenset(a.name for a in found.attacks if a.full_coverage)
    scored = score_evidence(scores, pixels, Rules("procedural", 1, (Fraction(2), Fraction(8)), full, has_normals=True))
    assert scored == found.scored


def test_the_same_command_runs_nothing_and_writes_the_same_bytes(first: tuple[Path, Summary]) -> None:
    out, _ = first
    before = files(out)
    again = run(out)
    assert again.done == 0
    assert again.skipped == first[1].done
    assert files(out) == before


def test_a_fresh_run_gives_the_same_bytes(first: tuple[Path, Summary], tmp_path: Path) -> None:
    run(tmp_path)
    assert files(tmp_path) == files(first[0])


def test_lost_and_damaged_cells_are_computed_again(first: tuple[Path, Summary]) -> None:
    out, _ = first
    before = files(out)
    store = CellStore(out)
    addresses = list(store.addresses())
    store.path(addresses[0]).unlink()
    store.path(addresses[1]).write_bytes(b"damaged")
    again = run(out)
    assert (again.done, again.corrupt) == (2, 1)
    assert files(out) == before


def test_alone_or_together_a_detector_gets_the_same_scores(first: tuple[Path, Summary], tmp_path: Path) -> None:
    """Shared passes change nothing: every cell run by itself has the scores of the shared run."""
    shared = {c.address: c for c in map(CellStore(first[0]).load, CellStore(first[0]).addresses()) if c}
    for detector in SELECTION.detectors:
        for attack in ("fgsm_head", "sign_noise", "pgd_score_10"):
            run(tmp_path, replace(SELECTION, detectors=(detector,), attacks=(attack,), budgets=(Fraction(2),)))
    alone = CellStore(tmp_path)
    compared = 0
    for address in alone.addresses():
        cell = alone.load(address)
        assert cell is not None
        np.testing.assert_allclose(cell.scores, shared[address].scores, rtol=1e-6)
        compared += 1
    assert compared == 2 * (1 + 3)


def test_transfer_runs_where_its_source_is_not_evaluated(tmp_path: Path) -> None:
    selection = Selection(
        ("knn@gabor",), ("digits",), ("0",), (4,), attacks=("transfer_10",), budgets=(Fraction(2),), limit=2
    )
    summary = run(tmp_path / "alone", selection, load_track("embedded"))
    together = replace(selection, detectors=("knn@gabor", "anomalydino"))
    assert (summary.done, summary.failed) == (2, 0)
    run(tmp_path / "together", together, load_track("embedded"))
    shared, alone = CellStore(tmp_path / "together"), CellStore(tmp_path / "alone")
    for address in alone.addresses():
        one, other = alone.load(address), shared.load(address)
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.scores, other.scores)
        assert one.facts == other.facts


def test_every_registered_detector_runs_in_the_embedded_track(tmp_path: Path) -> None:
    names = tuple(name for name in DETECTORS if name != "anomalib" and ":" not in name)
    selection = Selection(names, ("digits",), ("0",), (4,), attacks=("pgd_score_10",), budgets=(Fraction(2),), limit=1)
    summary = run(tmp_path, selection, load_track("embedded"))
    assert summary.failed == 0, summary.failures
    assert len(summary.results) == len(names)
    random = {r.result.detector.name for r in summary.results if r.result.detector.flags.random_weights}
    assert random == {
        "ad_dinov3@embedded",
        *(f"{name}@seeded:clip_tiny" for name in ("anomalyclip", "april_gan", "winclip")),
    }
    for entry in summary.results:
        assert not entry.result.failures
        assert entry.result.scored.find("auroc", shots=4) is not None


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    plan, _, _ = plan_run(load_track("demo"), SELECTION, tmp_path / "new")
    assert plan.missing == 14
    assert plan.detectors == (DetectorSpec("knn", "gabor"), DetectorSpec("anomalydino", "gabor"))
    assert not (tmp_path / "new").exists()


def test_without_the_weights_of_its_source_only_the_transfer_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTAD_WEIGHTS_DIR", str(tmp_path))
    track = load_track("embedded").model_copy(update={"backbone": "dinov2_vits14"})
    selection = Selection(("knn@gabor",), datasets=("procedural",), categories=("weave",), limit=2)
    plan, _, _ = plan_run(track, selection, tmp_path)
    failed = [f for _, f in plan.datasets[0].failures if f.kind == "failed"]
    assert [f.attack for f in failed] == ["transfer_10"]
    assert "anomalydino@dinov2_vits14" in failed[0].reason
    assert {"pgd_score_10", "square_score"} <= {c.attack for c in plan.datasets[0].cells}
    with pytest.raises(WeightsError, match="dinov2_vits14"):
        plan_run(track, replace(selection, detectors=("knn",)), tmp_path)


def test_noise_is_one_pass_for_all_detectors(tmp_path: Path) -> None:
    plan, _, _ = plan_run(load_track("demo"), SELECTION, tmp_path)
    (job,) = plan.jobs
    cells = {(p.attack, p.source.label if p.source else None): len(p.cells) for p in job.passes}
    assert cells == {
        (None, None): 2,
        ("sign_noise", None): 4,
        ("fgsm_head", None): 4,
        ("pgd_score_10", "knn@gabor"): 2,
        ("pgd_score_10", "anomalydino@gabor"): 2,
    }


@pytest.mark.parametrize(
    ("selection", "error", "words"),
    [
        (Selection(detectors=("anomalydinno",)), UnknownNameError, "Did you mean anomalydino"),
        (replace(SELECTION, datasets=("visa",)), UsageError, "not part of track 'demo'"),
        (replace(SELECTION, categories=("nope",)), UsageError, "category 'nope'"),
        (replace(SELECTION, shots=(4,)), UsageError, "no episode"),
    ],
)
def test_wrong_names_say_what_is_allowed(tmp_path: Path, selection: Selection, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        plan_run(load_track("demo"), selection, tmp_path)
