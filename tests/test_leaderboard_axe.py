"""The site under axe-core: no serious or critical accessibility finding."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.test_leaderboard_browser import board, chromium, pytestmark, site

__all__ = ["board", "chromium", "pytestmark"]
AXE_VERSION = "4.14.1"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of axe-core's script, from the npm registry; never part of the package."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("axe-core needs npm")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        [npm, "pack", f"axe-core@{AXE_VERSION}", "--silent"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode or not archives:
        pytest.skip("axe-core cannot be fetched from the npm registry")
    with tarfile.open(archives[0]) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_serious_accessibility_finding(board: Path, chromium: Any, axe: str, scheme: str, width: int) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    found = []
    pages = ["index.html#compare=anomalydino,patchcore", "detectors/anomalydino.html", "datasets/procedural.html"]
    pages += ["attacks/worst_case.html", "reported.html", "definitions.html", "tracks/few-shot-v1.html", "submit.html"]
    for path in pages:
        page.goto(site(board, path))
        if page.locator("#board").count():
            page.wait_for_selector("#board .sort", state="attached")
        page.evaluate(axe)
        result = page.evaluate("axe.run(document)")
        for finding in result["violations"]:
            if finding["impact"] in ("serious", "critical"):
                found += [
                    (path, finding["id"], node["html"][:160], node["failureSummary"][:300])
                    for node in finding["nodes"][:3]
                ]
    context.close()
    assert found == []
