"""What a dry run says: counts are those of the run, times are counts at the measured pace, nothing is written."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.cli import _run
from benchmark.errors import WeightsError
from benchmark.execution.runner import run_job
from benchmark.planning.jobs import DetectorSpec
from benchmark.planning.planner import Plan, Selection
from benchmark.planning.workbench import Workbench
from benchmark.runs.estimate import Pace, _Noise, _shape, estimate, measure, work_of
from benchmark.runs.session import plan_run
from benchmark.tracks import Probe, Tier, Track, load_track
from benchmark.types import Features
from detectors.backbones.extractor import FrozenExtractor
from detectors.bank import FeatureCache

ATTACKS = ("fgsm_head", "mi_fgsm_head", "pgd_head_oracle", "sign_noise", "pgd_score_10", "transfer_10")


def track(*probes: Probe) -> Track:
    """One category, two support sets, every kind of attack."""
    tiers = (
        Tier(name="clean", shots=(1, 2), seeds=(0,)),
        Tier(name="cheap", shots=(1, 2), seeds=(0,), attacks=ATTACKS, budgets=(Fraction(2),)),
    )
    return load_track("embedded").model_copy(update={"tiers": tiers, "probes": probes, "chunk_size": 3})


def planned(grid: Track, out: Path, *detectors: str) -> tuple[Plan, Workbench]:
    chosen = Selection(detectors=detectors, datasets=("procedural",), categories=("weave",), limit=2)
    plan, bench, _ = plan_run(grid, chosen, out)
    return plan, bench


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the images that pass through any real backbone, but for those of the detectors' own fits."""
    monkeypatch.setattr("attacks.surrogate.ANOMALIES", 2)
    count: Counter[str] = Counter()
    extract, of_fits = FrozenExtractor.__call__, FeatureCache.features

    def counted(self: FrozenExtractor, images: Tensor) -> Features:
        count["forward"] += len(images)
        if images.requires_grad and torch.is_grad_enabled():
            images = images.view_as(images)
            images.register_hook(lambda gradient: count.update(backward=len(gradient)))  # type: ignore[no-untyped-call]
        return extract(self, images)

    def hidden(self: FeatureCache, *words: Any) -> Features:
        before = Counter(count)
        found = of_fits(self, *words)
        count.subtract(count - before)
        return found

    monkeypatch.setattr(FrozenExtractor, "__call__", counted)
    monkeypatch.setattr(FeatureCache, "features", hidden)
    return count


def counts(work: Counter[tuple[str, DetectorSpec]]) -> dict[str, int]:
    names = {"extract": "forward", "backward": "backward"}
    return {name: sum(n for (kind, _), n in work.items() if kind == key) for key, name in names.items()}


@pytest.mark.parametrize("detectors", [("knn@gabor", "padim@gabor"), ("anomalydino@gabor", "knn@embedded")])
def test_counts_of_attacks_are_those_of_the_run(
    detectors: tuple[str, ...], tmp_path: Path, passed: Counter[str]
) -> None:
    plan, bench = planned(track(), tmp_path, *detectors)
    expected = counts(work_of(plan.jobs, bench))
    passed.clear()
    for job in plan.jobs:
        list(run_job(job, {}))
    assert expected == dict(passed)
    assert expected["backward"] > 0


def test_counts_of_probes_are_those_of_the_run(
    tmp_path: Path, passed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for steps in ("attacks.universal.STEPS", "attacks.poison.STEPS", "attacks.continuous.ContinuousPGD.steps"):
        monkeypatch.setattr(steps, 2)
    probes = tuple(p.model_copy(update={"shots": (2,)}) for p in load_track("embedded").probes)
    plan, bench = planned(track(*probes), tmp_path, "knn@gabor")
    work = work_of(plan.jobs, bench)
    expected = counts(work)
    passed.clear()
    for job in plan.jobs:
        list(run_job(job, {}))
    assert expected == dict(passed)
    # 1 + 2 shots for the grid, two leave-one-out fits of one image, two poisoned supports of two images
    assert work["fit", DetectorSpec("knn", "gabor")] == 3 + 2 + 4


def test_detectors_that_share_a_backbone_share_its_passes(tmp_path: Path) -> None:
    alone = work_of(*_jobs(tmp_path, "knn@gabor"))
    both = work_of(*_jobs(tmp_path, "knn@gabor", "padim@gabor"))
    knn, padim = DetectorSpec("knn", "gabor"), DetectorSpec("padim", "gabor")
    assert both["head", knn] == alone["head", knn]
    own = both["head", padim] - sum(n for (k, s), n in both.items() if k == "extract" and s == padim)
    assert own > 0
    assert ("extract", padim) not in both
    assert both["extract", knn] < 2 * alone["extract", knn]


def _jobs(out: Path, *detectors: str) -> tuple[Any, Workbench]:
    plan, bench = planned(track(), out, *detectors)
    return plan.jobs, bench


def test_time_is_the_work_at_the_measured_pace(tmp_path: Path) -> None:
    plan, bench = planned(track(), tmp_path, "knn@gabor", "padim@gabor")
    paces = {
        "knn": Pace(1.0, 0.1, 3.0, 5.0),
        "padim": Pace(1.0, 0.2, 3.0, 7.0),
        "anomalydino": Pace(2.0, 1.0, 4.0, 9.0),
    }
    asked: list[str] = []

    def fake(plan: Plan, bench: Workbench, spec: DetectorSpec) -> Pace:
        asked.append(spec.name)
        return paces[spec.name]

    found = estimate(plan, bench, fake)
    work = work_of(plan.jobs, bench)
    assert sorted(asked) == ["anomalydino", "knn", "padim"]  # the source of the transfer, too
    by_hand = sum(n * getattr(paces[spec.name], kind) for (kind, spec), n in work.items())
    assert found.seconds == pytest.approx(by_hand)
    assert found.memory is not None
    assert found.memory > 0


def test_a_calibration_that_fails_leaves_the_counts_and_says_why(tmp_path: Path) -> None:
    plan, bench = planned(track(), tmp_path, "knn@gabor")

    def fail(plan: Plan, bench: Workbench, spec: DetectorSpec) -> Pace:
        raise WeightsError("weights of x are not here; fetch them")

    found = estimate(plan, bench, fail)
    assert (found.seconds, found.memory, found.missing) == (None, None, "weights of x are not here; fetch them")
    assert found.forward > 0


@pytest.mark.parametrize("name", ["knn@gabor", "anomalydino@gabor", "musc@gabor"])
def test_a_detector_is_measured_on_noise(name: str, tmp_path: Path) -> None:
    plan, bench = planned(track(), tmp_path, name)
    pace = measure(plan, bench, plan.detectors[0])
    assert pace.extract > 0
    assert min(pace.head, pace.backward, pace.fit) >= 0


def test_a_dry_run_writes_nothing_and_counts_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.runs.estimate.measure", lambda plan, bench, spec: Pace(1.0, 0.0, 0.0, 0.0))
    out = tmp_path / "run"
    words = ["run", "--track", "demo", "--detector", "knn@gabor", "--category", "weave", "--limit", "2"]
    words += ["--attack", "fgsm_head", "--out", str(out)]
    assert _run([*words, "--dry-run", "--json"], debug=True) == 0
    before = json.loads(capsys.readouterr().out)
    assert not out.exists()
    assert before["estimate"]["seconds"] == before["estimate"]["forward"] > 0
    assert _run([*words, "--progress", "off"], debug=True) == 0
    capsys.readouterr()
    assert _run([*words, "--dry-run", "--json"], debug=True) == 0
    after = json.loads(capsys.readouterr().out)
    assert (after["missing"], after["done"], after["estimate"]["forward"]) == (0, before["missing"], 0)
    assert _run([*words, "--dry-run"], debug=True) == 0
    assert "at most 0 images forward and 0 backward" in capsys.readouterr().out


def test_the_calibration_batch_has_the_plans_largest_shape_and_times_the_mean_of_its_pixels(tmp_path: Path) -> None:
    """Conveyor strips of 8:1 take eight times the memory and the time of squares."""
    selection = Selection(detectors=("knn@gabor",), categories=("nut",), limit=2, attacks=("sign_noise",))
    plan = plan_run(load_track("demo"), selection, tmp_path)[0]
    (job,) = plan.jobs
    assert _shape(plan) == ((112, 112), 1.0)
    strips = tuple(replace(s, width=8 * s.width) if place % 2 else s for place, s in enumerate(job.query))
    assert len(strips) == 4
    shape, share = _shape(replace(plan, jobs=(replace(job, query=strips),)))
    assert (shape, share) == ((112, 896), (2 + 2 / 8) / 4)
    assert _Noise(2, shape).images()[0].shape == (3, 112, 896)
