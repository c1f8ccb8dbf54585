"""A valid submission made by the real pipeline, and the tools of somebody who tampers with copies of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.planning.planner import Selection
from benchmark.registry import DETECTORS
from benchmark.results.evidence import PIXEL_COLUMNS, SCORE_COLUMNS, write_evidence
from benchmark.runs.session import run_track
from benchmark.runs.submit import About, make_submission
from benchmark.storage.jsonio import digest_file
from benchmark.tracks import load_track
from benchmark.verify.rescore import rescore, save

STEM = "demo-v1__procedural"
HONEST = Path(__file__).with_name("honest_detector.py")
SLUG = "colours"


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """submissions/colours of a detector that the project does not know, with its detector.py."""
    root = tmp_path_factory.mktemp("honest")
    known = dict(DETECTORS.targets)
    DETECTORS.__dict__["targets"] = {**known, "colours": "honest_detector:detector"}
    try:
        chosen = Selection(detectors=("colours",), categories=("weave",), limit=3, device="cpu")
        run_track(
            load_track("demo"), chosen, root / "run", executor_name="local", progress=lambda done, total, what: None
        )
    finally:
        DETECTORS.__dict__["targets"] = known
    about = About(author=("A. Author",), licence="CC0-1.0", name="Nearest colours")
    return make_submission(root / "run", SLUG, root / "submissions", about, detector=None, code=HONEST, update=False)


def copy(honest: Path, root: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(honest, root / "submissions" / SLUG))


def result_path(folder: Path) -> Path:
    return folder / "results" / f"{STEM}.json"


def scores_path(folder: Path) -> Path:
    return folder / "evidence" / f"{STEM}.parquet"


def edit_result(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the result file by hand."""
    data = json.loads(result_path(folder).read_text())
    change(data)
    result_path(folder).write_text(json.dumps(data))


def edit_text(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def pixels_path(folder: Path) -> Path:
    return folder / "evidence" / f"{STEM}.pixel.parquet"


def edit_pixels(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the pixel evidence and its digest."""
    path = pixels_path(folder)
    write_evidence(path, change(pd.read_parquet(path)), PIXEL_COLUMNS)
    edit_result(folder, lambda d: d["evidence"][1].update(sha256=digest_file(path)))


def seal(folder: Path) -> None:
    """Put the evidence's true digest and row count into the result, as a careful forger does."""
    path = scores_path(folder)
    rows = len(pd.read_parquet(path)) if path.stat().st_size < 2_000_000 else 1

    def change(data: dict[str, Any]) -> None:
        data["evidence"][0] |= {"sha256": digest_file(path), "rows": rows}

    edit_result(folder, change)


def edit_scores(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the evidence and its digest."""
    frame = change(pd.read_parquet(scores_path(folder)).reset_index(drop=True))
    write_evidence(scores_path(folder), frame, SCORE_COLUMNS)
    seal(folder)


def forge(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the evidence and recompute every number from it: nothing contradicts itself any more."""
    edit_scores(folder, change)
    for found in rescore(result_path(folder)):
        save(found)


def tree(folder: Path) -> dict[str, str]:
    """Digests of all plain files below a folder."""
    return {
        str(p.relative_to(folder)): digest_file(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink() and p.stat().st_size < 20_000_000
    }
