"""The workflows' shape and the scripts that they run."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

GITHUB = Path(__file__).parents[1] / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GITHUB / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_six() -> None:
    names = ["ci", "comment", "leaderboard", "links", "rescore", "submission"]
    assert [path.stem for path in WORKFLOWS] == names


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_no_rights_by_default_and_pinned_actions(path: Path) -> None:
    text = path.read_text()
    assert "\npermissions: {}\n" in text
    assert "secrets." not in text
    assert "pull_request_target" not in text
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    assert all("${{" not in line for line in text.splitlines() if line.strip().startswith("run:"))


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ([], "0 submissions"),
        (["submissions/a/results/x.json", "submissions/b/results/x.json"], "2 submissions"),
        (["submissions/a/submission.toml", "benchmark/scoring/score.py"], "no file of a submission"),
        (["submissions/../.github/workflows/x.yml"], "no file of a submission"),
        (["submissions/A/submission.toml"], "no file of a submission"),
        (["submissions"], "no file of a submission"),
        (["submissions/a/verification.json"], "only maintainers"),
    ],
)
def test_changes_that_are_no_submission(paths: list[str], says: str) -> None:
    with pytest.raises(SystemExit, match=says):
        script("changed").slug_of(paths)


def test_the_changed_submission() -> None:
    assert script("changed").slug_of(["submissions/a-1/submission.toml", "submissions/a-1/x/\n"]) == "a-1"


def test_a_hostile_artifact_makes_a_harmless_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "```\n@everyone <script> [x](javascript:alert(1)) https://evil.example $(id) ${{ secrets.X }} \u202e"
    finding = {"check": evil, "status": evil, "detail": evil * 100, "rung": evil}
    verdict = {"slug": evil, "accepted": "yes", "steps": [evil] * 50, "findings": [finding] * 500 + [evil]}
    (tmp_path / "verdict.json").write_text(json.dumps({**verdict, "findings": [finding] * 5 + [evil]}))
    (tmp_path / "number").write_text("12\n")
    module = script("comment")
    monkeypatch.setattr("sys.argv", ["comment.py", str(tmp_path), str(tmp_path / "out.md")])
    module.main()
    assert capsys.readouterr().out == "12\n"
    for text in ((tmp_path / "out.md").read_text(), module.comment(verdict)):
        assert text.startswith("```\n")
        assert text.endswith("\n```\n")
        assert text.count("```") == 2
        assert not set("<>@[]$`{}\\\u202e") & set(text.strip("`\n"))
        assert "://" not in text
        assert "refused" in text
        assert len(text) < 20_000


@pytest.mark.parametrize("number", ["", "1; rm -rf /", "-1", "1\n2", "9" * 10])
def test_an_artifact_whose_number_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    (tmp_path / "number").write_text(number)
    (tmp_path / "verdict.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["comment.py", str(tmp_path), str(tmp_path / "out.md")])
    with pytest.raises(SystemExit, match="is none"):
        script("comment").main()


def test_the_links_are_those_of_the_data_sets() -> None:
    found = script("links").addresses()
    assert any("mvtec" in url for url in found)
    assert all(url.startswith("https://") for url in found), [u for u in found if not u.startswith("https://")]
