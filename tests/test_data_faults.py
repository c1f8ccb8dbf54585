"""Inputs of data sets that once gave wrong numbers or tracebacks, each with the right value."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from benchmark.cli import main
from benchmark.data.integrity import verify
from benchmark.datasets.decode import palette_doubt, read_image, read_mask
from benchmark.datasets.fileindex import file_facts
from benchmark.datasets.mvtec import Folder
from benchmark.datasets.realiad import RealIAD
from benchmark.datasets.visa import VisA
from benchmark.errors import DataError, shown
from tests.official_trees import real_iad, visa

Save = Callable[[Image.Image, Path], None]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A category in MVTec AD layout: 2 training images, 1 good and 2 bad ones with their masks."""
    random, home = np.random.default_rng(0), tmp_path / "data" / "leather"
    for place in ("train/good/0", "train/good/1", "test/good/0", "test/cut/0", "test/cut/1"):
        path = home / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(path)
    (home / "ground_truth/cut").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(square(number)).save(home / f"ground_truth/cut/{number}_mask.png")
    return home.parent


def square(number: int) -> np.ndarray:
    """A mask of 24 x 32 pixels with 20 of them at 255."""
    mask = np.zeros((24, 32), np.uint8)
    mask[3:7, 4 + number : 9 + number] = 255
    return mask


# ---- masks ------------------------------------------------------------------------------------------------------

QUANTISED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "median cut": lambda mask: mask.quantize(2),
    "adaptive": lambda mask: mask.convert("P", palette=Image.Palette.ADAPTIVE, colors=2),
    "octree": lambda mask: mask.convert("RGB").quantize(2, method=Image.Quantize.FASTOCTREE),
    "web": lambda mask: mask.convert("P"),
}


@pytest.mark.parametrize("tool", QUANTISED)
@pytest.mark.parametrize("defect", ["small", "large"])
def test_two_colour_masks_mean_their_colours_in_any_order_of_the_palette(
    tool: str, defect: str, tmp_path: Path
) -> None:
    drawn = square(0) if defect == "small" else 255 - square(0)
    QUANTISED[tool](Image.fromarray(drawn)).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), drawn > 0)


@pytest.mark.parametrize(("palette", "defects"), [([255] * 3 + [0] * 3, 0), ([0] * 6, 1), ([0] * 3 + [7] * 3, 1)])
def test_the_entry_of_a_palette_counts_only_where_no_colour_is_in_use(
    palette: list[int], defects: int, tmp_path: Path
) -> None:
    """White and black: the white entry is the defect, though it is number 0; all black: the numbers tell."""
    entries = (square(0) > 0).astype(np.uint8)
    image = Image.frombytes("P", (32, 24), entries.tobytes())
    image.putpalette(palette)
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), entries == defects)
    assert bool(palette_doubt(tmp_path / "m.png")) == (defects == 0)


def test_verify_names_a_palette_whose_entry_0_is_not_black(tree: Path) -> None:
    entries = (square(0) == 0).astype(np.uint8)
    image = Image.frombytes("P", (32, 24), entries.tobytes())
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tree / "leather/ground_truth/cut/0_mask.png")
    dataset = Folder(tree)
    (report,) = verify(dataset)
    (problem,) = report.problems
    assert problem.path == "leather/ground_truth/cut/0_mask.png"
    assert "palette entry 0 is (255, 255, 255), not black" in problem.what
    bad = next(s for s in dataset.index().samples if s.id == "leather/test/cut/0.png")
    mask = dataset.mask(bad)
    assert mask is not None
    assert np.array_equal(mask, square(0) > 0)


@pytest.mark.parametrize("under", [0, 255])
def test_what_is_transparent_in_a_mask_is_no_defect(under: int, tmp_path: Path) -> None:
    """Tools keep white or black colours below transparency."""
    mask = square(0)
    colours = np.where(mask > 0, 255, under).astype(np.uint8)
    Image.fromarray(np.dstack([colours] * 3 + [mask])).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask > 0)


def test_masks_of_other_colour_spaces_are_looked_up(tmp_path: Path) -> None:
    """Black is (0, 128, 128) in YCbCr: any value above 0 would make all of it a defect."""
    Image.fromarray(np.dstack([square(0)] * 3)).convert("YCbCr").save(tmp_path / "m.tif")
    assert np.array_equal(read_mask(tmp_path / "m.tif", 127), square(0) > 0)


# ---- what is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gif", ".JP2", ".heic", ".pgm"])
def test_formats_that_are_not_read_are_named(tree: Path, suffix: str) -> None:
    (tree / f"leather/test/good/9{suffix}").write_bytes(b"whatever")
    manifest = Folder(tree).index()
    (problem,) = manifest.problems
    assert problem.path == f"leather/test/good/9{suffix}"
    assert problem.what.startswith(f"{suffix} is not read; save it as .bmp, ")
    with pytest.raises(DataError, match="is not read"):
        manifest.of("leather", "test")


@pytest.mark.parametrize(("suffix", "form"), [(".webp", "WEBP"), (".jfif", "JPEG"), (".JPE", "JPEG"), (".dib", "BMP")])
def test_formats_of_factory_exports_are_read(tree: Path, suffix: str, form: str) -> None:
    path = tree / f"leather/test/good/9{suffix}"
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(path, format=form)
    (report,) = verify(Folder(tree))
    assert (report.problems, report.found["good"]) == ((), 2)
    assert np.abs(read_image(path).astype(int) - 90).max() <= 1


def test_files_beside_the_images_that_are_no_images_do_no_harm(tree: Path) -> None:
    for name in ("Thumbs.db", "readme.txt", "labels.json", ".DS_Store", "._0.png"):
        (tree / "leather/test/good" / name).write_bytes(b"\0")
    assert not Folder(tree).index().problems


def test_postscript_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would start Ghostscript on it, whatever its suffix."""
    opened: list[object] = []
    monkeypatch.setattr(EpsImagePlugin.EpsImageFile, "_open", opened.append)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **options: opened.append(given))
    path = tmp_path / "000.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n")
    with pytest.raises(DataError, match=r"not an image that can be read \(damaged header, or none of BMP, JPEG"):
        read_image(path)
    assert not opened


def test_a_mask_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    """Corrected uncompressed masks copied with their times (cp -p, rsync -t) differ in the time of change alone."""
    path = tmp_path / "data" / "m.bmp"
    path.parent.mkdir()
    Image.fromarray(square(0)).save(path)
    before, status = file_facts(path.parent, ["m.bmp"], tmp_path / "c"), path.stat()
    Image.fromarray(255 - square(0)).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert file_facts(path.parent, ["m.bmp"], tmp_path / "c")["m.bmp"].sha256 != before["m.bmp"].sha256


# ---- names ------------------------------------------------------------------------------------------------------


def test_a_name_that_is_no_text_is_one_line(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = (tree / "leather/test/good/0.png").read_bytes()
    try:
        Path(os.fsdecode(os.fsencode(tree / "leather/test/good") + b"/pr\xfcf\x1b.png")).write_bytes(source)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    for command in ("verify", "audit"):
        with pytest.raises(SystemExit) as status:
            main(["data", command, "folder", "--root", str(tree)])
        assert status.value.code == 1
        told = "".join(capfd.readouterr())
        assert r"leather/test/good/pr\xfcf\x1b.png: its name is not UTF-8; rename it" in told
        assert "Traceback" not in told


def test_a_folder_whose_name_is_no_text_is_one_line(tree: Path) -> None:
    home = os.fsdecode(os.fsencode(tree) + b"/caf\xe9")
    try:
        (tree / "leather").rename(home)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    with pytest.raises(DataError, match=r"caf\\xe9: the name of this folder is not UTF-8"):
        Folder(tree)


def test_shown_text_can_be_printed_and_stored() -> None:
    assert shown("größe 漢\n") == "größe 漢\n"
    assert shown("\ud800|\x07") == r"\ud800|\x07"


# ---- split files ------------------------------------------------------------------------------------------------

HEADER = "object,split,label,image,mask\n"
ROW = "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
SPLITS: dict[str, tuple[bytes, str]] = {
    "semicolons": ((HEADER + ROW).replace(",", ";").encode(), "its first line must be object,split,label,image,mask"),
    "no header": (ROW.encode(), "object, split, label, image, mask is missing"),
    "UTF-16": ((HEADER + ROW).encode("utf-16"), "not UTF-8 text"),
    "short row": ((HEADER + "candle,train\n").encode(), "line 2 has fewer than the columns"),
    "NUL": ((HEADER + ROW).encode() + b"candle,\0", "line 3|comma-separated|NUL"),
    "long field": ((HEADER + "candle," + "x" * 200_000).encode(), "comma-separated"),
    "empty": (b"", "its first line must be"),
}


@pytest.mark.parametrize("kind", SPLITS)
def test_a_visa_split_file_of_another_form_is_named(kind: str, tmp_path: Path) -> None:
    visa(tmp_path)
    content, reason = SPLITS[kind]
    (tmp_path / "VisA_20220922/split_csv/1cls.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"visa/candle: split_csv/1cls.csv: .*({reason})"):
        VisA(tmp_path).index(["candle"]).of("candle", "test")


@pytest.mark.parametrize("path", ["../../../secret.png", "/etc/hostname", "C:\\secret.png", "OK/../../x.png", 3, None])
@pytest.mark.parametrize("field", ["image_path", "mask_path"])
def test_a_real_iad_split_file_never_leads_out_of_the_data_set(path: object, field: str, tmp_path: Path) -> None:
    real_iad(tmp_path)
    Image.fromarray(square(0)).save(tmp_path / "secret.png")
    file = tmp_path / "Real-IAD/realiad_jsons/zipper.json"
    split = json.loads(file.read_text())
    split["test"][1][field] = path
    file.write_text(json.dumps(split))
    manifest = RealIAD(tmp_path).index(["zipper"])
    if field == "mask_path" and path is None:
        return
    assert [problem.path for problem in manifest.problems] == ["realiad_jsons/zipper.json"]
    assert "leads out of the data set" in manifest.problems[0].what or "is not a text" in manifest.problems[0].what
    assert not any("secret" in sample.path or ".." in sample.path for sample in manifest.samples)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"train": 1, "test": []}', b'{"train": [[]], "test": []}', b"\xff"])
def test_a_real_iad_split_file_of_another_form_is_named(content: bytes, tmp_path: Path) -> None:
    real_iad(tmp_path)
    (tmp_path / "Real-IAD/realiad_jsons/zipper.json").write_bytes(content)
    (problem,) = RealIAD(tmp_path).index(["zipper"]).problems
    assert problem.path == "realiad_jsons/zipper.json"
