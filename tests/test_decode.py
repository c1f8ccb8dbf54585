"""Files to pixels: every colour mode and depth, damaged files, and the index cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmark.datasets import fileindex
from benchmark.datasets.decode import image_size, read_image, read_mask
from benchmark.datasets.fileindex import file_facts
from benchmark.errors import DataError


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_modes_become_what_pillow_converts(mode: str, suffix: str, rgb: np.ndarray, tmp_path: Path) -> None:
    image = Image.fromarray(rgb).convert(mode)
    path = tmp_path / f"x{suffix}"
    image.save(path)
    assert np.array_equal(read_image(path), np.asarray(image.convert("RGB")))
    assert image_size(path) == (30, 20)


def test_transparent_pixels_keep_their_colour(rgb: np.ndarray, tmp_path: Path) -> None:
    rgba = np.dstack([rgb, np.zeros((20, 30), dtype=np.uint8)])
    Image.fromarray(rgba, "RGBA").save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png"), rgb)


def test_cmyk_jpeg(rgb: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "x.jpg", quality=100, subsampling=0)
    image = read_image(tmp_path / "x.jpg")
    assert image.shape == (20, 30, 3)
    assert np.array_equal(image, np.asarray(Image.open(tmp_path / "x.jpg").convert("RGB")))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_the_high_byte(suffix: str, tmp_path: Path) -> None:
    """Pillow's own convert("RGB") clips every value above 255 to white."""
    values = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    path = tmp_path / f"x{suffix}"
    Image.fromarray(values).save(path)
    assert np.array_equal(read_image(path)[..., 1], values >> 8)
    assert read_mask(path, 30000).sum() == (values > 30000).sum()


def test_exif_orientation_is_ignored(rgb: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees when displayed
    Image.fromarray(rgb).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (20, 30, 3)
    assert image_size(tmp_path / "x.jpg") == (30, 20)


@pytest.mark.parametrize("reader", [read_image, read_mask, image_size])
def test_a_tiff_without_a_width_is_refused(reader: Callable[[Path], object], tmp_path: Path) -> None:
    """Found by fuzzing: tifffile reads such a page as an empty vector."""
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.full((4, 5), 9, np.uint16), byteorder="<")
    path.write_bytes(path.read_bytes().replace(b"\x00\x01\x04\x00", b"\x00\x00\x04\x00", 1))
    with pytest.raises(DataError, match=r"shape \(0,\); an image has rows and columns"):
        reader(path)


def test_planar_tiff_that_pillow_refuses(rgb: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", rgb.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate")
    assert np.array_equal(read_image(tmp_path / "x.tif"), rgb)
    assert image_size(tmp_path / "x.tif") == (30, 20)


def test_floats_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((20, 30), dtype=np.float32))
    with pytest.raises(DataError, match="no defined 8-bit range"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "1"])
def test_mask_modes(mode: str, tmp_path: Path) -> None:
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[3:7, 4:9] = 1 if mode == "P" else 255
    image = Image.fromarray(mask)
    if mode == "P":
        image = Image.frombytes("P", (30, 20), mask.tobytes())
        image.putpalette([0] * 6)  # no colour: only the index tells
    image.convert(mode).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask > 0)


def damaged(kind: str, path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    broken = bytearray(data)
    broken[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    contents = {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "text": b"not an image",
        "header": data[:20],
        "bits": broken,
    }
    path.write_bytes(contents[kind])


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "header", "bits"])
def test_damaged_files_are_one_clear_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    damaged(kind, path)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="missing"):
        read_image(tmp_path / "absent.png")


def test_facts_are_remembered_until_a_file_changes(
    rgb: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = fileindex.digest_file
    monkeypatch.setattr(fileindex, "digest_file", lambda path: read.append(path.name) or original(path))
    root, cache = tmp_path / "data", tmp_path / "cache"
    root.mkdir()
    for name in "ab":
        Image.fromarray(rgb).save(root / f"{name}.png")
    first = file_facts(root, ["a.png", "b.png"], cache)
    assert sorted(read) == ["a.png", "b.png"]
    assert file_facts(root, ["a.png", "b.png"], cache) == first
    assert len(read) == 2
    Image.fromarray(rgb[:10]).save(root / "a.png")
    changed = file_facts(root, ["a.png"], cache)
    assert read[2:] == ["a.png"]
    assert changed["a.png"].height == 10
    status = (root / "b.png").stat()
    os.utime(root / "b.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert file_facts(root, ["b.png"], cache)["b.png"].sha256 == first["b.png"].sha256
    assert read[3:] == ["b.png"]
    next(cache.iterdir()).write_text("{broken")
    assert file_facts(root, ["b.png"], cache)["b.png"].sha256 == first["b.png"].sha256
