"""`data verify` finds each planted fault, names its file, and finds nothing on a clean tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.integrity import verify
from benchmark.datasets.files import FileDataset
from benchmark.errors import DataError
from benchmark.registry import DATASETS
from tests.official_trees import BUILDERS, Painter

Fault = Callable[[Path], None]


def scaled(name: str, root: Path) -> FileDataset:
    """A tree in official layout and its loader, with the tree's own counts as the published ones."""
    counts = BUILDERS[name](root)
    factory = DATASETS.get(name)
    small = type(factory.__name__, (factory,), {"published": counts})
    return small(root)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", BUILDERS)
def test_nothing_on_a_clean_tree(name: str, tmp_path: Path) -> None:
    dataset = scaled(name, tmp_path)
    reports = verify(dataset, dataset.present())
    assert [problem for report in reports for problem in report.problems] == []
    assert {r.category: {k: r.found[k] for k in r.published} for r in reports} == dataset.published


def cut(path: str) -> Fault:
    def fault(base: Path) -> None:
        data = (base / path).read_bytes()
        (base / path).write_bytes(data[: len(data) * 2 // 3])

    return fault


def written(path: str, data: bytes) -> Fault:
    return lambda base: (base / path).write_bytes(data) and None


def copied(source: str, target: str) -> Fault:
    return lambda base: (base / target).write_bytes((base / source).read_bytes()) and None


def reencoded(source: str, target: str) -> Fault:
    def fault(base: Path) -> None:
        Image.open(base / source).save(base / target, compress_level=1, optimize=False)
        assert (base / source).read_bytes() != (base / target).read_bytes()

    return fault


def mask(path: str, size: tuple[int, int], value: int) -> Fault:
    return lambda base: Image.fromarray(np.full(size, value, dtype=np.uint8)).save(base / path)


def painted(path: str) -> Fault:
    def fault(base: Path) -> None:
        paint = Painter()
        paint.number = 10_000
        paint.image(base / path)

    return fault


def gone(path: str) -> Fault:
    return lambda base: (base / path).unlink()


BAD, MASK, GOOD, TRAIN = (
    "test/crack/000.png",
    "ground_truth/crack/000_mask.png",
    "test/good/000.png",
    "train/good/000.png",
)

FAULTS: dict[str, tuple[Fault, str, str]] = {
    "truncated image": (cut(BAD), BAD, "cannot be decoded"),
    "empty image": (written(GOOD, b""), GOOD, "0 bytes"),
    "text named png": (written(TRAIN, b"<html>404</html>"), TRAIN, "not an image"),
    "missing mask": (gone(MASK), BAD, "defective image without a mask"),
    "mask without image": (
        mask("ground_truth/crack/007_mask.png", (20, 24), 255),
        "ground_truth/crack/007_mask.png",
        "mask without an image",
    ),
    "mask of another size": (mask(MASK, (24, 20), 255), MASK, "mask is 20x24 but its image is 24x20"),
    "truncated mask": (cut(MASK), MASK, "cannot be decoded"),
    "empty mask": (mask(MASK, (20, 24), 0), BAD, "empty mask"),
    "training image tested too": (copied(TRAIN, GOOD), GOOD, "same pixels as training image"),
    "the same, encoded again": (reencoded(TRAIN, GOOD), GOOD, "same pixels as training image"),
    "one image, two labels": (copied(GOOD, BAD), "test/good/000.png", "another label"),
    "missing image": (gone(GOOD), "", "good: 1 images, published 2"),
    "image too many": (painted("train/good/003.png"), "", "train: 4 images, published 3"),
    "two files, one stem": (copied(BAD, "test/crack/000.PNG"), "test/crack/000.png", "same stem"),
    "defects in train": (
        lambda base: (base / "test/rough").rename(base / "train/rough") and None,
        "train/rough",
        "normal images only",
    ),
    "dangling link": (
        lambda base: (base / "test/good/009.png").symlink_to(base / "gone.png"),
        "test/good/009.png",
        "cannot be read",
    ),
    "loose image": (painted("test/000.png"), "test/000.png", "belongs into"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    dataset = scaled("mvtec_ad", tmp_path)
    base = tmp_path / "mvtec_anomaly_detection" / "tile"
    fault, path, what = FAULTS[name]
    fault(base)
    tile, wood = verify(dataset, ["tile", "wood"])
    where = f"tile/{path}" if path else ""
    assert [p for p in tile.problems if p.path == where and what in p.what], tile.problems
    assert wood.problems == ()  # other categories go on
    assert all(str(tmp_path) not in p.path + p.what for p in tile.problems)


def test_missing_category_is_reported(tmp_path: Path) -> None:
    dataset = scaled("mvtec_ad", tmp_path)
    (tmp_path / "mvtec_anomaly_detection" / "tile").rename(tmp_path / "tile")
    reports = {report.category: report for report in verify(dataset)}
    assert [p.what for p in reports["tile"].problems] == ["category is missing"]
    assert len(reports) == 15


def test_published_empty_masks_are_fine_and_more_are_not(tmp_path: Path) -> None:
    dataset = scaled("btad", tmp_path)
    base = tmp_path / "BTech_Dataset_transformed"
    assert not any(report.problems for report in verify(dataset))
    Painter().mask(base / "02/ground_truth/ko/0000.png", value=0)
    problems = verify(dataset, ["02"])[0].problems
    assert [p.path for p in problems] == ["02/test/ko/0000.png", "02/test/ko/0002.png"]
    assert all("1 such masks are published" in p.what for p in problems)


def test_unknown_category(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no category"):
        verify(scaled("btad", tmp_path), ["04"])
