"""Reduced precision: other cells, said in the result, never handed in, and gone with the next run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.errors import UsageError
from benchmark.planning.jobs import REDUCED
from benchmark.planning.planner import Selection
from benchmark.results.schema import RunResult, load_result
from benchmark.runs.session import Summary, run_track
from benchmark.runs.submit import About, make_submission
from benchmark.tracks import load_track
from benchmark.types import Features
from benchmark.types.precision import computing_in
from detectors.bank import FeatureCache
from toy_detectors import ConvExtractor, textures

FLOAT32 = Selection(detectors=("knn@gabor",), categories=("weave",), limit=2, attacks=("sign_noise",))
REDUCED_RUN = replace(FLOAT32, precision="reduced")


class Counting(ConvExtractor):
    """Counts the images that it sees."""

    images = 0

    def __call__(self, images: torch.Tensor) -> Features:
        self.images += len(images)
        return super().__call__(images)


def run(out: Path, selection: Selection, seen: list[str] | None = None) -> Summary:
    def progress(done: int, total: int, what: str) -> None:
        if seen is not None:
            seen.append(torch.get_float32_matmul_precision())

    return run_track(load_track("demo"), selection, out, executor_name="local", progress=progress)


def result(out: Path) -> RunResult:
    return load_result(out / "knn-gabor" / "results" / "demo-v1__procedural.json")


def test_a_reduced_run_says_so_and_shares_no_cell_with_the_reference(tmp_path: Path) -> None:
    switched: list[str] = []
    reduced = run(tmp_path, REDUCED_RUN, switched)
    assert set(switched) == {"medium"}
    assert torch.get_float32_matmul_precision() == "highest"
    found = result(tmp_path)
    assert REDUCED in found.track.restrictions
    assert not found.track.complete
    assert "bfloat16" in found.environment.precision
    again = run(tmp_path, FLOAT32, switched)
    assert (again.done, again.skipped) == (reduced.done, 0)
    assert switched[-1] == "highest"
    assert result(tmp_path).environment.precision == "float32, TF32 off"
    assert REDUCED not in result(tmp_path).track.restrictions


def test_features_of_one_precision_are_not_taken_for_another() -> None:
    extractor, image, cache = Counting(), textures(1, seed=1)[0], FeatureCache()
    for precision, extracted in (("reduced", 1), ("float32", 2), ("reduced", 2), ("float32", 2)):
        with computing_in(precision):  # type: ignore[arg-type]
            cache.features(extractor, image)
        assert extractor.images == extracted


def test_a_reduced_run_cannot_be_handed_in(tmp_path: Path) -> None:
    run(tmp_path / "run", REDUCED_RUN)
    about = About(author=("A. Author",), name="x")
    with pytest.raises(UsageError, match="reduced precision"):
        make_submission(
            tmp_path / "run", "my-knn", tmp_path / "submissions", about, detector=None, code=None, update=False
        )
    assert not (tmp_path / "submissions").exists()
