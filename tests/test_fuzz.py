"""Readers refuse hostile files with the project's own errors and nothing else. `tests.perf.fuzz` tries 100,000."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.results.submission import load_submission
from fuzzing import TARGETS as FILES
from fuzzing import attempt, submission
from fuzzing_plugins import TARGETS as PLUGINS

TARGETS = FILES | PLUGINS


@pytest.mark.parametrize("name", TARGETS)
def test_readers_refuse_or_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))
    refused = []

    @settings(max_examples=60, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def cases(data: st.DataObject) -> None:
        refused.append(attempt(TARGETS[name], data.draw, tmp_path))

    cases()
    assert any(refused)


def test_what_the_damage_is_done_to_is_whole(tmp_path: Path) -> None:
    _, text = submission(tmp_path / "material")
    case = tmp_path / "fuzzed"
    case.mkdir()
    (case / "submission.toml").write_bytes(text)
    assert load_submission(case).slug == "fuzzed"
