"""docs/submit.md is executed: its commands, in order, on a few images of the demo track."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.verify.isolation import unavailable

PAGE = Path(__file__).parents[1] / "docs" / "submit.md"
FEWER = ["--category", "weave", "--limit", "3", "--progress", "off", "--device", "cpu"]


def commands() -> list[list[str]]:
    """The words of every command in a bash block."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
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
