"""Who may import whom, and what must stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmark", "detectors", "attacks", "leaderboard")
LEADERBOARD_SEES = {"errors", "types", "metrics", "results", "storage", "registry", "statistics", "tracks", "seeding"}
PLUGINS_SEE = {"errors", "types", "registry", "storage"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module in PACKAGES)


def benchmark_parts(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("benchmark.")}


@pytest.mark.parametrize("package", ["detectors", "attacks"])
def test_plugins_see_the_contracts_only(package: str) -> None:
    other = {"detectors": "attacks", "attacks": "detectors"}[package]
    for path in modules(package):
        assert benchmark_parts(path) <= PLUGINS_SEE, path
        assert not any(name.split(".")[0] in (other, "leaderboard") for name in imports(path)), path


def test_the_leaderboard_sees_results_only() -> None:
    for path in modules("leaderboard"):
        assert benchmark_parts(path) <= LEADERBOARD_SEES, path
        assert not any(name.split(".")[0] in ("detectors", "attacks", "torch") for name in imports(path)), path


def test_nothing_imports_the_command_line_or_tests() -> None:
    for package in PACKAGES:
        for path in modules(package):
            if ROOT / "benchmark" / "cli" in path.parents or path.name == "__main__.py":
                continue
            assert not any(name.startswith(("benchmark.cli", "tests")) for name in imports(path)), path


def test_the_harness_reaches_plugins_through_the_registry_only() -> None:
    for path in modules("benchmark"):
        assert not any(name.split(".")[0] in ("detectors", "attacks") for name in imports(path)), path


@pytest.mark.parametrize(
    "words", [["--help"], ["list", "detectors"], ["list", "attacks"], ["list", "datasets"], ["list", "tracks"]]
)
def test_light_commands_import_no_torch(words: list[str]) -> None:
    program = f"import sys; from benchmark.cli import _run; _run({words!r}, debug=True); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_files_stay_short() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for k in PACKAGES
        for p in modules(k)
        if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long
