"""The store gives what direct decoding gives, reads instead of decoding, and rebuilds what is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.data.canonical import canonical_mask, canonical_shape, canonicalise
from benchmark.data.image_store import ImageStore, _check
from benchmark.datasets.mvtec import MVTecAD
from benchmark.errors import DataError, NotApplicableError
from benchmark.registry import DATASETS
from tests.official_trees import BUILDERS, mvtec_ad

EDGE = 16


class Counting(MVTecAD):
    """Counts what is decoded."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.decoded: list[str] = []

    def image(self, sample):  # type: ignore[no-untyped-def]
        self.decoded.append(sample.id)
        return super().image(sample)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))
    mvtec_ad(tmp_path)
    return Counting(tmp_path)


def shards(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def test_equals_direct_decoding(dataset: Counting, tmp_path: Path) -> None:
    samples = dataset.index(["cable", "grid"]).samples
    store = ImageStore(EDGE)
    images, masks = store.get(dataset, samples), store.masks(dataset, samples)
    for sample, image, mask in zip(samples, images, masks, strict=True):
        expected = canonicalise(MVTecAD.image(dataset, sample), EDGE)
        assert image.dtype == np.uint8
        assert np.array_equal(image, expected)
        truth = canonical_mask(dataset.mask(sample), canonical_shape(sample.height, sample.width, EDGE))
        assert mask.dtype == np.bool_
        assert np.array_equal(mask, truth)
    assert shards(tmp_path / "cache")


def test_second_pass_decodes_nothing(dataset: Counting) -> None:
    samples = dataset.index(["tile"]).samples
    first = ImageStore(EDGE).get(dataset, samples)
    assert len(dataset.decoded) == len(samples)
    again = ImageStore(EDGE).get(dataset, samples[::-1])
    assert len(dataset.decoded) == len(samples)
    assert all(np.array_equal(a, b) for a, b in zip(first, again[::-1], strict=True))
    ImageStore(EDGE + 1).get(dataset, samples[:1])
    assert len(dataset.decoded) == len(samples) + 1  # another edge is another recipe


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
@pytest.mark.parametrize("reopened", [True, False])
def test_damaged_entries_are_rebuilt(damage: str, reopened: bool, dataset: Counting, tmp_path: Path) -> None:
    samples = dataset.index(["tile"]).samples
    store = ImageStore(EDGE)
    expected = [image.copy() for image in store.get(dataset, samples)]  # the others are mapped from the file
    shard = shards(tmp_path / "cache")[0]
    data = bytearray(shard.read_bytes())
    if damage == "flip":
        data[-100] ^= 1
    elif damage == "header":
        data[0:8] = b"\xff" * 8
    shard.write_bytes(data[: len(data) // 2] if damage == "cut" else b"" if damage == "empty" else data)
    found = (ImageStore(EDGE) if reopened else store).get(dataset, samples)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(dataset.decoded) > len(samples)
    before = len(dataset.decoded)
    ImageStore(EDGE).get(dataset, samples)
    assert len(dataset.decoded) == before


def test_the_check_sees_flips_and_swapped_pages() -> None:
    image = np.random.default_rng(0).integers(0, 256, (113, 101, 3), dtype=np.uint8)
    checks = {_check(image), _check(image.astype(np.bool_)), _check(image[:1])}
    for place in (0, 4071, 20_000, image.size - 1):
        flipped = image.copy()
        flipped.reshape(-1)[place] ^= 128
        checks.add(_check(flipped))
    swapped = image.copy()
    swapped.reshape(-1)[:8192] = np.roll(swapped.reshape(-1)[:8192], 4096)
    assert len(checks | {_check(swapped)}) == 8


def test_changed_mask_is_not_served_from_the_cache(dataset: Counting) -> None:
    sample = next(s for s in dataset.index(["tile"]).samples if s.label)
    assert ImageStore(EDGE).masks(dataset, [sample])[0].any()
    path = dataset.root / sample.masks[0]
    path.write_bytes((dataset.root / "cable/ground_truth/bent_wire/000_mask.png").read_bytes())
    from tests.official_trees import Painter

    Painter().mask(path, value=0)
    changed = next(s for s in dataset.index(["tile"]).samples if s.id == sample.id)
    assert not ImageStore(EDGE).masks(dataset, [changed])[0].any()


def test_broken_files_are_reported_together(dataset: Counting) -> None:
    samples = dataset.index(["tile"]).of("tile", "test")
    for sample in samples[:3]:
        path = dataset.root / sample.path
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"crack/000\.png.*and 2 more files.*trustad data verify"):
        ImageStore(EDGE).get(dataset, samples)
    assert ImageStore(EDGE).get(dataset, samples[3:])


def test_no_masks_no_pixel_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))
    BUILDERS["bmad_image"](tmp_path)
    dataset = DATASETS.get("bmad_image")(tmp_path)
    with pytest.raises(NotApplicableError, match="no masks"):
        ImageStore(EDGE).masks(dataset, dataset.index().samples)
