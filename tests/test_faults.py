"""Faults inside a run: memory that runs out, a detector that raises. The rest goes on and the exit status says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.cli import main
from benchmark.execution.batches import out_of_memory
from benchmark.execution.pass_run import CellFailure
from benchmark.execution.runner import run_job
from benchmark.planning.planner import Selection
from benchmark.registry import DETECTORS
from benchmark.runs.session import plan_run
from benchmark.storage.cells import Cell, CellStore
from benchmark.tracks import load_track


@pytest.fixture(autouse=True)
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the detectors of `faulty_detectors`."""
    names = ("plenty", "cuda", "cpu", "numpy", "hopeless", "breaks_on_nut")
    found = {**DETECTORS.targets, **{name: f"faulty_detectors:{name}" for name in names}}
    monkeypatch.setitem(vars(DETECTORS), "targets", found)


def outcomes(out: Path, detector: str, limit: int = 5) -> list[Cell | CellFailure]:
    """Everything that the job of one category yields."""
    selection = Selection(
        detectors=(detector,), categories=("nut",), limit=limit, attacks=("sign_noise", "pgd_score_10")
    )
    (job,) = plan_run(load_track("demo"), selection, out)[0].jobs
    return list(run_job(job, {}))


def by_condition(found: list[Cell | CellFailure]) -> dict[tuple[object, object], Cell]:
    cells = [cell for cell in found if isinstance(cell, Cell)]
    assert len(cells) == len(found)
    return {(c.key["attack"] and c.key["attack"]["name"], c.key["budget"]): c for c in cells}


@pytest.mark.parametrize(("name", "batch"), [("cuda", 3), ("cpu", 1), ("numpy", 3)])
def test_out_of_memory_halves_the_batch_and_goes_on(tmp_path: Path, name: str, batch: int) -> None:
    """Ten images at once do not fit, nor five; costs and scores are those of the run that had memory."""
    halved, whole = (by_condition(outcomes(tmp_path, detector)) for detector in (name, "plenty"))
    assert halved.keys() == whole.keys()
    assert len(halved) == 1 + 2 + 2
    for place, cell in halved.items():
        np.testing.assert_allclose(cell.scores, whole[place].scores, rtol=1e-5)
        costs = {fact: value for fact, value in cell.facts.items() if fact not in ("batch", "repeat_error")}
        assert costs == {fact: value for fact, value in whole[place].facts.items() if fact != "repeat_error"}
        assert cell.facts["batch"] == batch
        assert "batch" not in whole[place].facts


def test_one_image_that_does_not_fit_is_a_failure_with_the_reason(tmp_path: Path) -> None:
    failures = [found for found in outcomes(tmp_path, "hopeless", 2) if isinstance(found, CellFailure)]
    assert "can't allocate memory" in failures[0].reason
    assert "Traceback" in failures[0].details
    assert sum(len(failure.cells) for failure in failures) == 1 + 2 + 2


def test_real_allocation_errors_are_recognised() -> None:
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(2**55)
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(2**55)
    assert out_of_memory(torch_error.value)
    assert out_of_memory(numpy_error.value)
    assert not out_of_memory(RuntimeError("expected scalar type Float"))
    assert not out_of_memory(ValueError("not enough memory of the past"))


def test_a_raising_detector_loses_its_category_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--limit",
        "2",
        "--attack",
        "pgd_score_10",
        "--budget",
        "2",
        "--progress",
        "off",
        "--out",
        str(tmp_path),
    ]
    names = ["--detector", "plenty", "--detector", "breaks_on_nut", "--category", "nut", "--category", "weave"]
    with pytest.raises(SystemExit) as status:
        main(["run", *options, *names])
    assert status.value.code == 1
    assert "ValueError: no such thing as a nut" in capsys.readouterr().err
    done = {(c.key["detector"]["name"], c.key["dataset"][2]) for c in _all(tmp_path)}
    assert done == {("plenty", "nut"), ("plenty", "weave"), ("breaks_on_nut", "weave")}
    logs = [path.read_text() for path in (tmp_path / "logs").iterdir()]
    assert any("Traceback" in text and "faulty_detectors.py" in text for text in logs)
    result = json.loads((tmp_path / "breaks_on_nut" / "results" / "demo-v1__procedural.json").read_text())
    assert not result["track"]["complete"]
    assert {f["category"] for f in result["failures"] if f["kind"] == "failed"} == {"nut"}
    assert not json.loads((tmp_path / "plenty" / "results" / "demo-v1__procedural.json").read_text())["failures"]


def _all(out: Path) -> list[Cell]:
    store = CellStore(out)
    return [cell for cell in map(store.load, store.addresses()) if cell is not None]
