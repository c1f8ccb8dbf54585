"""`trustad runs`: what a run folder holds, what is damaged in it, and what may go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.results.schema import PROTOCOL_VERSION
from benchmark.storage.cells import Cell, CellStore, cell_address, run_lock
from benchmark.storage.jsonio import digest_file
from detectors.cards import CARDS
from leaderboard_factory import Invented, write_submission

KEY: dict[str, Any] = {
    "protocol": PROTOCOL_VERSION,
    "detector": {"name": "knn@gabor", "version": CARDS["knn"].version},
    "dataset": ["digits", 1, "0"],
    "shots": 1,
    "attack": None,
}
NOISE = {"attack": {"name": "sign_noise", "version": 1}, "budget": 2}


def save(run: Path, **changes: Any) -> Path:
    key = KEY | changes
    cell = Cell(cell_address(key), key, np.zeros(12, np.float32), seconds=0.5)
    store = CellStore(run)
    store.save(cell)
    return store.path(cell.address)


def runs(*words: str) -> int:
    with pytest.raises(SystemExit) as status:
        main(["runs", *words])
    assert isinstance(status.value.code, int)
    return status.value.code


def files(run: Path) -> set[Path]:
    return {path for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


def test_show_counts_cells_by_condition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path)
    save(tmp_path, **NOISE)
    save(tmp_path, **NOISE | {"budget": 4})
    save(tmp_path, probe=["shift_blur", 1.0, 1], dataset=["procedural", 1, "nut"])
    assert runs("show", str(tmp_path), "--json") == 0
    digits, procedural = json.loads(capsys.readouterr().out)
    assert (digits["dataset"], digits["conditions"]) == ("digits", {"clean": 1, "sign_noise": 2})
    assert (digits["images"], digits["seconds"]) == (36, 1.5)
    assert procedural["conditions"] == {"shift_blur": 1}
    assert runs("show", str(tmp_path)) == 0
    assert "clean 1, sign_noise 2" in capsys.readouterr().out


def test_verify_names_every_damaged_file_and_removes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound, cut = save(tmp_path), save(tmp_path, **NOISE)
    folder = write_submission(tmp_path, Invented("knn-gabor", "kNN", datasets=("digits",)))
    (result,) = (folder / "results").glob("*.json")
    evidence = folder / "evidence" / "x.parquet"
    evidence.parent.mkdir(exist_ok=True)
    evidence.write_bytes(b"scores")
    stated = {"file": evidence.name, "kind": "scores", "sha256": digest_file(evidence), "rows": 1}
    result.write_text(json.dumps(json.loads(result.read_text()) | {"evidence": [stated]}))
    assert runs("verify", str(tmp_path)) == 0
    assert capsys.readouterr().out == "2 cells, 0 faults\n"
    cut.write_bytes(cut.read_bytes()[:-1])
    evidence.write_bytes(b"scored")
    before = files(tmp_path)
    assert runs("verify", str(tmp_path)) == 1
    said = capsys.readouterr().out
    assert f"{cut.relative_to(tmp_path)}: not a cell file" in said
    assert f"{evidence.relative_to(tmp_path)}: the digest differs" in said
    assert sound.name not in said
    evidence.unlink()
    result.write_text(result.read_text()[:-9])
    assert runs("verify", str(tmp_path)) == 1
    assert f"{result.name}: not valid JSON" in capsys.readouterr().out
    assert files(tmp_path) == before - {evidence}


def test_gc_takes_the_damaged_the_outdated_and_the_abandoned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {save(tmp_path), save(tmp_path, **NOISE), save(tmp_path, detector={"name": "other_plugin", "version": 7})}
    damaged = save(tmp_path, shots=4)
    damaged.write_bytes(b"")
    outdated = {
        save(tmp_path, detector={"name": "knn@gabor", "version": 0}): "detector knn version 0, now",
        save(tmp_path, dataset=["digits", 0, "0"]): "data set digits version 0, now",
        save(tmp_path, attack={"name": "sign_noise", "version": 0}): "attack sign_noise version 0, now",
        save(tmp_path, protocol=0): "protocol 0, now",
    }
    abandoned = tmp_path / "cells" / ".cell.abc.tmp"
    abandoned.write_text("half")
    assert runs("gc", str(tmp_path), "--dry-run") == 0
    listed = capsys.readouterr().out
    assert all(words in listed for words in outdated.values())
    assert files(tmp_path) == {*kept, damaged, *outdated, abandoned}
    assert runs("gc", str(tmp_path)) == 0
    assert capsys.readouterr().err.startswith("6 removed")
    assert files(tmp_path) == kept


def test_gc_waits_for_no_run_and_takes_nothing_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, protocol=0)
    before = files(tmp_path)
    with run_lock(tmp_path):
        assert runs("gc", str(tmp_path)) == 2
    assert "another run is using" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_a_folder_without_cells_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "verify", "gc"):
        assert runs(command, str(tmp_path)) == 2
        assert "is no run folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
