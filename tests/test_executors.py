"""Executors give the same bytes; a missing extra is one clear line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmark.errors import UnknownNameError, UsageError
from benchmark.executors import executor
from benchmark.planner import Selection
from benchmark.session import run_track
from benchmark.tracks import load_track

SELECTION = Selection(detectors=("knn@gabor",), categories=("weave", "nut"), limit=2, attacks=("sign_noise",))


def content(out: Path) -> dict[str, object]:
    (path,) = out.glob("*/results/*.json")
    found: dict[str, object] = json.loads(path.read_bytes())
    found.pop("timing")
    return found


def run(out: Path, name: str) -> None:
    run_track(load_track("demo"), SELECTION, out, executor_name=name, progress=lambda *_: None)


def test_ray_gives_the_bytes_of_local(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    torch = pytest.importorskip("torch")
    ray.init(num_cpus=max(2, torch.get_num_threads()), log_to_driver=False, include_dashboard=False)
    try:
        run(tmp_path / "ray", "ray")
    finally:
        ray.shutdown()
    run(tmp_path / "local", "local")
    assert content(tmp_path / "ray") == content(tmp_path / "local")
    cells = {path.name for path in (tmp_path / "local" / "cells").rglob("*.safetensors")}
    assert {path.name for path in (tmp_path / "ray" / "cells").rglob("*.safetensors")} == cells


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "benchmark.executors.ray", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'trustad\[ray\]'"):
        executor("ray")


def test_an_unknown_executor_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown executor 'slurm'"):
        executor("slurm")
