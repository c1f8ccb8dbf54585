"""`trustad data ...` as a user runs it: output, JSON and exit status."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from benchmark.cli import main
from benchmark.datasets.reference import markdown
from benchmark.registry import DATASETS
from tests.official_trees import BUILDERS


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BUILDERS["btad"](tmp_path)
    status, out, _ = run(capsys, "data", "list", "--root", tmp_path, "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert set(rows) == set(DATASETS)
    assert rows["btad"]["prepared"] == "3 of 3 categories"
    assert rows["visa"]["prepared"] == "no"
    assert rows["procedural"]["prepared"] == "always"
    assert (rows["mvtec_ad"]["images"], rows["visa"]["images"], rows["btad"]["images"]) == (5354, 10821, 2540)
    assert rows["mpdd"]["images"] == 888 + 176 + 282
    status, out, _ = run(capsys, "data", "list")
    assert status == 0
    assert "CC-BY-NC-SA-4.0" in out


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BUILDERS["mvtec_ad"](tmp_path)
    status, out, _ = run(capsys, "data", "verify", "mvtec_ad", "--root", tmp_path, "--category", "wood")
    assert status == 1
    assert "wood: train: 3 images, published 247" in out
    status, out, _ = run(capsys, "data", "verify", "mvtec_ad", "--root", tmp_path, "--category", "wood", "--json")
    assert json.loads(out)[0]["found"] == {"train": 3, "good": 2, "bad": 5}
    BUILDERS["bmad_image"](tmp_path)
    assert run(capsys, "data", "verify", "bmad_image", "--root", tmp_path)[0] == 0


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, what in [
        (("verify", "mvtec"), "unknown dataset 'mvtec'. Did you mean mvtec_ad"),
        (("verify", "mvtec_ad"), "--root DIR"),
        (("verify", "mvtec_ad", "--root", tmp_path), "MVTec AD is not in"),
        (("show", "mvtec_ad", "tile", "--root", tmp_path / "absent"), "is not a folder"),
    ]:
        status, out, err = run(capsys, "data", *words)
        assert (status, out) == (2, "")
        assert what in err
        assert err.count("\n") == 1


def test_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine" / "part"
    for place, level in (("train/good", 90), ("test/good", 91), ("test/bad", 160)):
        (folder / place).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 20), (level + number,) * 3).save(folder / place / f"{number}.png")
    status, out, _ = run(capsys, "data", "audit", "folder", "--root", tmp_path / "mine")
    assert status == 1
    assert "alone separates the test images of part with AUROC 1.00" in out
    status, out, _ = run(capsys, "data", "audit", "folder", "--root", tmp_path / "mine", "--json")
    assert json.loads(out)[0]["auroc"]["mean"] == 1.0


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BUILDERS["mvtec_ad"](tmp_path)
    sheet = tmp_path / "sheet.png"
    status, out, _ = run(capsys, "data", "show", "mvtec_ad", "tile", "--root", tmp_path, "--out", sheet)
    assert (status, out.strip()) == (0, str(sheet))
    assert Image.open(sheet).format == "PNG"


def test_prepare_says_the_steps_or_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = run(capsys, "data", "prepare", "tn3k", "--root", tmp_path)
    assert status == 0
    assert "test-image and test-mask" in out
    assert f"trustad data verify tn3k --root {tmp_path}" in out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, _, err = run(capsys, "data", "prepare", "btad", "--root", tmp_path)
    assert status == 2
    assert "--accept-licence" in err
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "datasets.md"
    assert page.read_text() == markdown(), "run python -m benchmark.datasets.reference"
    for name in BUILDERS:
        assert f"## `{name}`:" in markdown()
