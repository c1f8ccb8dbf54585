"""A valid submission passes every check, climbs the ladder, and its numbers follow from its evidence alone."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.cli import main
from benchmark.errors import UsageError
from benchmark.planning.planner import Selection
from benchmark.results.submission import load_gallery, load_verification
from benchmark.runs.session import run_track
from benchmark.runs.submit import About, make_submission
from benchmark.tracks import load_track
from benchmark.verify import isolation, recompute
from benchmark.verify.checks import verify_submission
from benchmark.verify.counter_rescore import credit, rescored_claims
from benchmark.verify.isolation import Limits, unavailable
from benchmark.verify.reading import check_results
from benchmark.verify.record import record
from benchmark.verify.rescore import rescore, save
from benchmark.verify.subject import Subject
from submissions import STEM, copy, edit_result, edit_text, forge, honest, result_path  # noqa: F401

isolated_here = pytest.mark.skipif(unavailable() is not None, reason=f"no isolation: {unavailable()}")


@isolated_here
def test_an_honest_submission_reaches_the_spot_rerun(honest: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = copy(honest, tmp_path)
    verdict = verify_submission(Subject(folder), rerun=True, limits=Limits())
    assert verdict.words == "colours: accepted, spot rerun"
    assert verdict.steps == ("claimed", "schema_valid", "recomputed", "spot_rerun")
    assert {f.status for f in verdict.findings} == {"pass"}

    record(folder, verdict, by="test", day=date(2026, 1, 2))
    record(folder, verdict, by="later", day=date(2026, 3, 4))
    found = load_verification(folder)
    assert found is not None
    assert [(s.step, s.date, s.by) for s in found.steps] == [(s, "2026-01-02", "test") for s in verdict.steps]
    edit_text(result_path(folder), '"wall_seconds":', '"wall_seconds": ')
    record(folder, verdict, by="later", day=date(2026, 3, 4))
    changed = load_verification(folder)
    assert changed is not None
    assert {s.date for s in changed.steps} == {"2026-03-04"}, "other files, other dates"


def test_without_a_rerun_the_row_stops_at_recomputed(honest: Path) -> None:  # noqa: F811
    assert verify_submission(Subject(honest), rerun=False).steps[-1] == "recomputed"


def test_without_isolation_submitted_code_is_refused(
    honest: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolation, "unavailable", lambda: "a test says so")
    verdict = verify_submission(Subject(honest), rerun=True)
    assert not verdict.accepted
    assert "no isolation on this machine (a test says so); submitted code was not run" in verdict.words


def test_rescore_finds_and_mends_a_changed_number(honest: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = copy(honest, tmp_path)
    before = result_path(folder).read_bytes()
    (clean,) = rescore(folder)
    assert not clean.differences
    assert not clean.versions

    edit_result(folder, lambda d: d["metrics"].update(auroc=99))
    edit_result(folder, lambda d: d["scored"]["values"][0].update(value=0.123))
    (found,) = rescore(folder)
    assert found.versions == {"auroc": (99, 1)}
    assert len(found.differences) == 1
    assert "0.123 claimed" in str(found.differences[0])
    assert save(found)
    assert result_path(folder).read_bytes() == before


def test_several_processes_find_the_same_differences(
    honest: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy(honest, tmp_path)
    edit_result(folder, lambda d: d["scored"]["values"][0].update(value=0.123, reason=None))
    subject = Subject(folder)
    check_results(subject)
    entries = [subject.entries[0], subject.entries[0]]
    alone = recompute._all_differences(entries)
    assert [len(found) for found in alone] == [1, 1]
    monkeypatch.setattr(recompute, "PARALLEL_FROM", 0)
    assert recompute._all_differences(entries) == alone


def _claim(folder: Path, budget: str, deltas: dict[str, torch.Tensor]) -> None:
    claim = folder / "counter" / "first"
    claim.mkdir(parents=True)
    (claim / "counter.toml").write_text(
        f'schema_version = 1\nresult = "{STEM}"\ncategory = "weave"\nshots = 1\nseed = 0\nbudget = "{budget}"\n'
        'authors = ["Eve"]\nmethod = "a gradient of my own"\n'
    )
    save_file(deltas, claim / "perturbation.safetensors")


@isolated_here
def test_a_counter_claim_lowers_the_robust_number(honest: Path, tmp_path: Path) -> None:  # noqa: F811
    """Claim against a row whose evidence was made too good: clean images (delta 0) already beat it."""
    import pandas as pd

    folder = copy(honest, tmp_path)

    def perfect(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(score=(frame["label"] + 0.01 * np.arange(len(frame)) / len(frame)).astype("float32"))

    ids = pd.read_parquet(folder / "evidence" / f"{STEM}.parquet")["sample_id"].unique()
    forge(folder, perfect)
    _claim(folder, "8", {str(name): torch.zeros(3, 112, 112, dtype=torch.int8) for name in ids})
    subject = Subject(folder)
    verdict = verify_submission(subject, rerun=False)
    assert verdict.accepted, verdict.words
    found = record(folder, verdict, by="test", day=date(2026, 1, 2), claims=rescored_claims(subject, Limits()))
    (claim,) = found.credits(STEM)
    assert claim.robust_before == pytest.approx(1.0)
    assert claim.robust_after is not None
    assert claim.robust_after < 0.9
    assert claim.authors == ("Eve",)
    left = found.lowered_result(STEM)
    assert left is not None
    assert left.robust == claim.robust_after
    assert left.budgets["2"] == 1.0, "a claim at 8 says nothing of smaller budgets"
    assert left.budgets["8"] < 1.0
    assert (found.lowered_result("another"), found.credits("another")) == (None, ())


@isolated_here
def test_evidence_of_a_stronger_attack_counts_as_the_harness_sees_it(honest: Path, tmp_path: Path) -> None:  # noqa: F811
    """The attack is run again; what its finder writes down instead changes nothing."""
    import pandas as pd

    from benchmark.results.evidence import SCORE_COLUMNS, write_evidence

    folder = copy(honest, tmp_path)
    rows = pd.read_parquet(folder / "evidence" / f"{STEM}.parquet")
    rows = rows[(rows["attack"] == "pgd_score_10") & (rows["budget"] == "8")]
    _claim(folder, "8", {})
    (folder / "counter" / "first" / "perturbation.safetensors").unlink()
    with (folder / "counter" / "first" / "counter.toml").open("a") as file:
        file.write('attack = "pgd_score_100"\n')
    lies = rows.assign(attack="pgd_score_100", score=(1 - rows["label"]).astype("float32"))
    write_evidence(folder / "counter" / "first" / "evidence.parquet", lies, SCORE_COLUMNS)
    subject = Subject(folder)
    assert verify_submission(subject, rerun=False).accepted
    (claim,) = rescored_claims(subject, Limits())
    assert set(claim.scores) == set(rows["sample_id"])
    assert sorted(claim.scores.values()) != sorted(lies["score"].astype(float))
    assert credit(claim).robust_after is not None


@isolated_here
def test_a_transductive_detector_is_run_again_with_its_query_set(tmp_path: Path) -> None:
    chosen = Selection(detectors=("anomalydino_batched@gabor",), categories=("weave",), limit=3, device="cpu")
    run_track(load_track("demo"), chosen, tmp_path / "run", executor_name="local", progress=lambda *_: None)
    about = About(author=("A. Author",), licence="CC0-1.0")
    folder = make_submission(tmp_path / "run", "mine", tmp_path / "s", about, detector=None, code=None, update=False)
    verdict = verify_submission(Subject(folder), rerun=True)
    assert verdict.accepted, verdict.words
    assert verdict.steps[-1] == "spot_rerun", [str(f) for f in verdict.findings]


def test_submit_is_atomic_and_refuses_to_overwrite(honest: Path, tmp_path: Path) -> None:  # noqa: F811
    root = tmp_path / "submissions"
    run = honest.parent.parent / "run"

    def make(slug: str, *, update: bool = False) -> Path:
        return make_submission(run, slug, root, About(), detector=None, code=None, update=update)

    first = make("mine")
    assert "TODO" in (first / "submission.toml").read_text()
    make("mine")
    edit_text(first / "submission.toml", "TODO: your names", "B. Author")
    (first / "results" / f"{STEM}.json").write_text("{}")
    with pytest.raises(UsageError, match="exists with other content"):
        make("mine")
    make("mine", update=True)
    assert "B. Author" in (first / "submission.toml").read_text(), "what was filled in stays"
    assert sorted(p.name for p in root.iterdir()) == ["mine"]


def test_submit_takes_the_gallery_that_the_licences_allow(honest: Path, tmp_path: Path) -> None:  # noqa: F811
    run = Path(shutil.copytree(honest.parent.parent / "run", tmp_path / "run"))
    (source,) = {path.parent.parent for path in run.glob("*/results/*.json")}
    shown = {"panels": ["clean"], "track": "demo", "category": "weave", "sample_id": "x", "label": 1, "shots": 1}
    shown |= {"attack": "fgsm_head", "budget": "2", "amplification": 8, "score_clean": 1.0, "score_attacked": 0.5}
    items = [shown | {"file": f"{name}.webp", "dataset": name} for name in ("procedural", "mvtec_ad")]
    shutil.rmtree(source / "gallery", ignore_errors=True)
    (source / "gallery").mkdir()
    for item in items:
        (source / "gallery" / item["file"]).write_bytes(b"RIFF\x04\x00\x00\x00WEBP" + bytes(20))
    (source / "gallery" / "gallery.json").write_text(json.dumps({"schema_version": 1, "items": items}))
    made = make_submission(run, "mine", tmp_path / "s", About(), detector=None, code=None, update=False)
    assert sorted(p.name for p in (made / "gallery").iterdir()) == ["gallery.json", "procedural.webp"]
    gallery = load_gallery(made)
    assert gallery is not None
    assert [item.dataset for item in gallery.items] == ["procedural"]


@pytest.mark.parametrize("slug", ["Mine", "a/b", "..", "-a", "a_b", "ä", "a" * 64, "a b", ""])
def test_submit_refuses_odd_slugs(
    honest: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    slug: str,
) -> None:
    run = honest.parent.parent / "run"
    with pytest.raises(SystemExit) as end:
        main(["submit", str(run), f"--slug={slug}", "--submissions", str(tmp_path / "s")])
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.rglob("submission.toml"))


def test_the_command_prints_json(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    with pytest.raises(SystemExit) as end:
        main(["verify", str(honest), "--no-rerun", "--json"])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["accepted"] is True
