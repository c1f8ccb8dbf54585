"""The measuring scripts of tests/perf can be loaded: nothing else runs them between two recordings."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted(path.stem for path in (Path(__file__).parent / "perf").glob("*.py"))
OPTIONAL = {"ray_workers": "ray", "torchattacks": "torchattacks"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_finds_everything_that_it_imports(name: str) -> None:
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    importlib.import_module(f"tests.perf.{name}")
