"""docs/submit.md is executed: its commands, in order, on a few images of the demo track."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.errors import UsageError
from benchmark.runs.submit import _check_code
from benchmark.verify.isolation import unavailable

PAGE = Path(__file__).parents[1] / "docs" / "submit.md"
FEWER = ["--category", "weave", "--limit", "3", "--progress", "off", "--device", "cpu"]


def commands(page: Path = PAGE) -> list[list[str]]:
    """The words of every command in a bash block."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.skipif(unavailable() is not None, reason=f"no isolation: {unavailable()}")
def test_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    steps = commands()
    assert [words[1] for words in steps] == ["run", "submit", "verify"]
    for words in steps:
        assert words[0] == "trustad"
        with pytest.raises(SystemExit) as end:
            main([*words[1:], *(FEWER if words[1] == "run" else [])])
        assert end.value.code == 0, capsys.readouterr()
    assert capsys.readouterr().out.strip().endswith("my-detector: accepted, spot rerun")
    files = {str(p.relative_to(tmp_path / "submissions")) for p in (tmp_path / "submissions").rglob("*") if p.is_file()}
    assert files == {
        "my-detector/submission.toml",
        "my-detector/results/demo-v1__procedural.json",
        "my-detector/evidence/demo-v1__procedural.parquet",
    }


OWN = PAGE.with_name("add-a-detector.md")


@pytest.mark.skipif(unavailable() is not None, reason=f"no isolation: {unavailable()}")
def test_the_walk_with_a_detector_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/add-a-detector.md from its code to an accepted submission."""
    (source,) = re.findall(r"```python\n(.*?)```", OWN.read_text("utf-8"), re.DOTALL)
    (tmp_path / "mean_token.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    steps = commands(OWN)
    assert [words[1] for words in steps] == ["check", "run", "submit", "verify"]
    for words in steps:
        with pytest.raises(SystemExit) as end:
            main([*words[1:], *(FEWER if words[1] == "run" else [])])
        assert end.value.code == 0, capsys.readouterr()
    assert capsys.readouterr().out.strip().endswith("mean-token: accepted, spot rerun")
    monkeypatch.delitem(sys.modules, "mean_token")


@pytest.mark.parametrize(("code", "reason"), [("x = 1", "nothing in it is called `detector`"), ("def", "not Python")])
def test_code_without_a_detector_is_refused_where_it_is_handed_in(code: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(code)
    with pytest.raises(UsageError, match=reason):
        _check_code(tmp_path / "code.py")
    for right in ("detector = 1", "def detector(): ...", "class detector: ...", "from x import y as detector"):
        (tmp_path / "code.py").write_text(right)
        _check_code(tmp_path / "code.py")
