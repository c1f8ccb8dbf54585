"""The shortcut audit sees planted shortcuts and nothing on matched data; the contact sheet draws outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data import shortcuts as module
from benchmark.data.contact_sheet import OUTLINE, contact_sheet
from benchmark.data.shortcuts import CategoryAudit, audit
from benchmark.datasets.mvtec import Folder
from benchmark.errors import DataError
from benchmark.registry import DATASETS
from tests.official_trees import BUILDERS


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))


def tree(root: Path, shortcut: str) -> Folder:
    """Forty noise images; the defective half differs in one trivial way."""
    rng = np.random.default_rng(0)
    for place, count in (("train/good", 8), ("test/good", 16), ("test/bad", 16)):
        folder = root / "part" / place
        folder.mkdir(parents=True)
        for number in range(count):
            bad = place.endswith("bad")
            coarse = Image.fromarray(rng.integers(60, 180, (10, 10, 3), dtype=np.uint8))
            pixels = np.asarray(coarse.resize((40, 40), Image.Resampling.BICUBIC)).astype(int)
            pixels += rng.integers(-9, 10, pixels.shape)
            if bad and shortcut == "mean":
                pixels += 40
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            if bad and shortcut == "resolution":
                image = image.resize((48, 48))
            if bad and shortcut == "sharpness":
                image = image.resize((10, 10), Image.Resampling.BOX).resize((40, 40), Image.Resampling.BICUBIC)
            image.save(folder / f"{number:03d}.png", compress_level=0 if bad and shortcut == "file_size" else 6)
    return Folder(root)


@pytest.mark.parametrize("shortcut", ["mean", "resolution", "sharpness", "file_size"])
def test_planted_shortcut_is_named(shortcut: str, tmp_path: Path) -> None:
    dataset = tree(tmp_path / "data", shortcut)
    (row,) = audit(dataset, dataset.index())
    assert row.auroc[shortcut] == 1.0
    assert row.warning is not None
    assert "part with AUROC 1.00" in row.warning


def test_no_warning_on_matched_data(tmp_path: Path) -> None:
    dataset = tree(tmp_path / "data", "none")
    (row,) = audit(dataset, dataset.index())
    assert row.warning is None
    assert row.auroc["resolution"] == 0.5
    assert all(0.5 <= value < 0.95 for name, value in row.auroc.items() if name != "thumbnail_1nn")


def test_figures_are_remembered_by_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tree(tmp_path / "data", "mean")
    first = audit(dataset, dataset.index())
    monkeypatch.setattr(module, "_category", lambda *_: pytest.fail("computed again"))
    assert audit(dataset, dataset.index()) == first


def test_reasons_instead_of_figures(tmp_path: Path) -> None:
    BUILDERS["isic"](tmp_path)
    isic = DATASETS.get("isic")(tmp_path)
    assert audit(isic, isic.index()) == (CategoryAudit("skin", {}, "no normal images"),)
    dataset = tree(tmp_path / "data", "none")
    (dataset.root / "part/test/bad/003.png").write_bytes(b"")
    (row,) = audit(dataset, dataset.index())
    assert "0 bytes" in row.reason
    assert row.warning is None


def test_contact_sheet_outlines_the_mask(tmp_path: Path) -> None:
    BUILDERS["mvtec_ad"](tmp_path)
    dataset = DATASETS.get("mvtec_ad")(tmp_path)
    sheet = np.asarray(contact_sheet(dataset, dataset.index(["wood"]), "wood"))
    outlined = np.argwhere((sheet == OUTLINE).all(axis=2))
    rows = set(outlined[:, 0] // (160 + 14))
    assert rows == {2, 3, 4, 5, 6}  # five defects below train and good
    assert sheet.shape == (7 * 174, 960, 3)
    with pytest.raises(DataError, match="no images; present: wood"):
        contact_sheet(dataset, dataset.index(["wood"]), "tile")
