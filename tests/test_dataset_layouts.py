"""Every loader on a tree in its official layout, with the layout's traps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets.files import FileDataset
from benchmark.datasets.mvtec import Folder, MVTecAD
from benchmark.errors import DataError
from benchmark.registry import DATASETS
from tests.official_trees import BUILDERS, Painter, clinicdb, mvtec_ad, visa, visa_prepared

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))


def counted(dataset: FileDataset) -> dict[str, dict[str, int]]:
    """Counts per category under every key a builder may name."""
    manifest, table = dataset.index(), {}
    for category in manifest.categories():
        samples = [s for s in manifest.samples if s.category == category]
        table[category] = {
            "train": sum(s.split == "train" for s in samples),
            "good": sum(s.split == "test" and s.label == 0 for s in samples),
            "bad": sum(s.label for s in samples),
            "normal": sum(s.label == 0 for s in samples),
            "empty_masks": sum(bool(s.label) and not dataset.mask(s).any() for s in samples if dataset.info.has_masks),
            **{d: sum(s.defect == d for s in samples) for d in {s.defect for s in samples}},
        } | {"good": sum(s.split == "test" and s.label == 0 for s in samples)}
    return table


@pytest.mark.parametrize("name", BUILDERS)
def test_official_layout(name: str, tmp_path: Path) -> None:
    counts = BUILDERS[name](tmp_path / "data")
    dataset = DATASETS.get(name)(tmp_path / "data")
    manifest = dataset.index()
    assert manifest.problems == ()
    found = counted(dataset)
    assert {c: {key: found[c][key] for key in keys} for c, keys in counts.items()} == counts
    assert set(found) == set(counts)
    assert set(counts) <= set(dataset.info.categories)
    if len(counts) > 2:
        assert set(counts) == set(dataset.info.categories)
    for sample in manifest.samples:
        image, mask = dataset.image(sample), dataset.mask(sample)
        assert image.dtype == np.uint8
        assert image.shape == (sample.height, sample.width, 3)
        assert (mask is not None) == dataset.info.has_masks
        if mask is not None:
            assert mask.dtype == np.bool_
            assert mask.shape == image.shape[:2]
            assert sample.label == 1 or not mask.any()
        assert sample.label == (sample.defect != "good")
        assert sample.split == "test" or sample.label == 0
    assert any(s.label == 0 for s in manifest.samples) == dataset.info.has_normals


@pytest.mark.parametrize("name", ["visa", "btad", "magnetic_tile", "clinicdb", "tn3k", "mvtec_ad_2"])
def test_masks_are_the_painted_rectangle(name: str, tmp_path: Path) -> None:
    """Index values, 0/1, compression noise and JPEG masks all give the same rectangle."""
    BUILDERS[name](tmp_path)
    dataset = DATASETS.get(name)(tmp_path)
    areas = [int(dataset.mask(s).sum()) for s in dataset.index().samples if s.label]
    full = [area for area in areas if area]
    assert full
    assert all(abs(area - 8 * 6) <= (6 if name == "tn3k" else 0) for area in full)


def test_loco_unites_several_masks(tmp_path: Path) -> None:
    BUILDERS["mvtec_loco"](tmp_path)
    dataset = DATASETS.get("mvtec_loco")(tmp_path)
    one, two = (s for s in dataset.index(["pushpins"]).samples if s.defect == "logical_anomalies")
    assert (len(one.masks), len(two.masks)) == (1, 2)
    assert (int(dataset.mask(one).sum()), int(dataset.mask(two).sum())) == (9, 9 + 4)


def test_ad2_keeps_paired_lighting(tmp_path: Path) -> None:
    BUILDERS["mvtec_ad_2"](tmp_path)
    samples = DATASETS.get("mvtec_ad_2")(tmp_path).index(["can"]).of("can", "test")
    assert {s.meta["lighting"] for s in samples if s.label} == {"regular", "underexposed", "overexposed", "shift_1"}
    assert {s.meta["scene"] for s in samples if s.label} == {"001"}


def test_real_iad_label_is_the_split_file_s(tmp_path: Path) -> None:
    BUILDERS["real_iad"](tmp_path)
    samples = DATASETS.get("real_iad")(tmp_path).index(["audiojack"]).samples
    hidden = [s for s in samples if "/NG/" in s.path and s.label == 0]
    assert [s.split for s in hidden] == ["test"]


def test_visa_raw_and_prepared_agree(tmp_path: Path) -> None:
    """The same ids, labels, image bytes and masks, whichever of the two official layouts is on disk."""
    visa_prepared(tmp_path)
    raw = DATASETS.get("visa")(tmp_path / "VisA_20220922")
    prepared = DATASETS.get("visa")(tmp_path / "VisA_pytorch")
    assert prepared.root == tmp_path / "VisA_pytorch" / "1cls"
    ours, theirs = raw.index().samples, prepared.index().samples
    assert [(s.id, s.label, s.split, s.sha256) for s in ours] == [(s.id, s.label, s.split, s.sha256) for s in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(raw.mask(one), prepared.mask(other))


def test_visa_faults(tmp_path: Path) -> None:
    visa(tmp_path)
    base = tmp_path / "VisA_20220922"
    (base / "candle/Data/Images/Normal/0000.JPG").unlink()
    Painter().image(base / "cashew/Data/Images/Anomaly/077.JPG", format="JPEG")
    (base / "fryum/Data/Masks/Anomaly/001.png").unlink()
    problems = {(p.category, p.path): p.what for p in DATASETS.get("visa")(tmp_path).index().problems}
    assert problems == {
        ("candle", "candle/Data/Images/Normal/0000.JPG"): "listed in the split file but missing",
        ("cashew", "cashew/Data/Images/Anomaly/077.JPG"): "image is not in the split file",
        ("fryum", "fryum/Data/Images/Anomaly/001.JPG"): "defective image without one mask",
    }
    (base / "split_csv/1cls.csv").unlink()
    assert {p.what for p in DATASETS.get("visa")(tmp_path).index(["pcb1"]).problems} == {
        "split file is missing; it is part of the official download"
    }


def test_magnetic_tile_split_does_not_depend_on_what_is_on_disk(tmp_path: Path) -> None:
    BUILDERS["magnetic_tile"](tmp_path)
    splits = {s.id: s.split for s in DATASETS.get("magnetic_tile")(tmp_path).index().samples if not s.label}
    assert set(splits.values()) == {"train", "test"}
    gone = sorted(splits)[0]
    (tmp_path / "magnetic_tile" / gone).unlink()
    after = {s.id: s.split for s in DATASETS.get("magnetic_tile")(tmp_path).index().samples if not s.label}
    assert after == {name: split for name, split in splits.items() if name != gone}


def test_clinicdb_frames_are_refused_by_pillow_and_read_here(tmp_path: Path) -> None:
    clinicdb(tmp_path)
    dataset = DATASETS.get("clinicdb")(tmp_path)
    sample = dataset.index().samples[0]
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(tmp_path / "CVC-ClinicDB" / sample.path)
    expected = np.random.default_rng(1).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    assert np.array_equal(dataset.image(sample), expected)


@pytest.mark.parametrize("name", ["mvtec_ad", "mvtec_anomaly_detection", "MVTec-AD", "MVTec"])
@pytest.mark.parametrize("inside", [False, True])
def test_root_is_the_data_set_or_what_contains_it(name: str, inside: bool, tmp_path: Path) -> None:
    mvtec_ad(tmp_path / "made")
    target = tmp_path / "data" / name
    target.parent.mkdir()
    (tmp_path / "made" / "mvtec_anomaly_detection").rename(target)
    assert MVTecAD(target if inside else tmp_path / "data").root == target


def test_mvtec_ad_2_is_not_mistaken_for_mvtec_ad(tmp_path: Path) -> None:
    BUILDERS["mvtec_ad_2"](tmp_path)
    with pytest.raises(DataError, match=r"MVTec AD is not in .*looked for mvtec_ad, .*prepare mvtec_ad"):
        MVTecAD(tmp_path)


def test_missing_categories_are_not_an_error(tmp_path: Path) -> None:
    mvtec_ad(tmp_path)
    for category in ("bottle", "zipper"):
        (tmp_path / "mvtec_anomaly_detection" / category).rename(tmp_path / category)
    dataset = MVTecAD(tmp_path / "mvtec_anomaly_detection")
    assert len(dataset.present()) == 13
    assert "bottle" not in dataset.index().categories()
    assert dataset.index(["bottle"]).samples == ()
    with pytest.raises(DataError, match="no category 'spoon'"):
        dataset.index(["spoon"])


def test_without_root_only_the_card(tmp_path: Path) -> None:
    for name in DATASETS:
        assert DATASETS.get(name)(None).info.name == name
    with pytest.raises(DataError, match="--data-root DIR"):
        MVTecAD(None).index()


def own_folder(root: Path, masks: bool) -> None:
    paint = Painter()
    for category in ("bolt", "washer"):
        for number in range(3):
            paint.image(root / category / "train" / "good" / f"{number}.JPeG", format="JPEG")
        paint.image(root / category / "test" / "good" / "a.png", "P")
        paint.image(root / category / "test" / "rust" / "b.TIF", "RGBA", format="TIFF")
        if masks:
            paint.mask(root / category / "ground_truth" / "rust" / "b.png")
    (root / "notes").mkdir()


@pytest.mark.parametrize("masks", [False, True])
def test_folder_of_a_user(masks: bool, tmp_path: Path) -> None:
    own_folder(tmp_path / "parts", masks)
    dataset = Folder(tmp_path / "parts")
    assert dataset.info.categories == ("bolt", "washer")
    assert dataset.info.has_masks == masks
    manifest = dataset.index()
    assert manifest.problems == ()
    assert len(manifest.of("bolt", "train")) == 3
    rust = next(s for s in manifest.of("bolt", "test") if s.label)
    assert (dataset.mask(rust) is not None) == masks
    single = Folder(tmp_path / "parts" / "bolt")
    assert single.info.categories == ("bolt",)
    assert single.index().digest == dataset.index(["bolt"]).digest


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="../shared/data is absent")
@pytest.mark.parametrize(("name", "count"), [("mvtec_ad", 77), ("magnetic_tile", 96), ("clinicdb", 6)])
def test_real_files(name: str, count: int) -> None:
    dataset = DATASETS.get(name)(SHARED / "data")
    manifest = dataset.index()
    assert manifest.problems == ()
    assert len(manifest.samples) == count
    for sample in manifest.samples:
        assert dataset.image(sample).shape == (sample.height, sample.width, 3)
        assert dataset.mask(sample).any() == bool(sample.label)
