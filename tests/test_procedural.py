"""Generated images: the same pixels everywhere, exact masks, the MVTec AD layout, and no trivial cue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmark.datasets.procedural import CATEGORIES, Procedural, generate, render
from benchmark.datasets.procedural.camera import spread
from benchmark.datasets.procedural.canvas import wave
from benchmark.datasets.procedural.generator import images
from benchmark.datasets.procedural.png import write_png
from benchmark.errors import DataError, UnknownNameError, UsageError

GOLDEN = {
    "capsule": "a73d4db89425392267fabf2604f18d5813b37a53b0a4f55975bbee409d0f9033",
    "connector": "45ae9a1e4361d2a3e12a92ddff021fc8387bb532850a4a97ba318f4c43cfcfe7",
    "metal": "368301da46c5491190913e0cb0d28b0ec79574575b3b6b24ae922aafc1914b7b",
    "nut": "15fb106714cad30696cb140bc3775f7c68a57fae2afe2e8dc66ac2a9224b9fec",
    "ring": "f231e1a9292df72cb38497831e3714ead25ab6a028e7fe734aaa982cfd09ad34",
    "tile": "cff54c21e1f945252e2a4ea27f91429bf735fdaf3c76d3fa3e52496876c19f9b",
    "weave": "7d35fe9c9cda126e66e22ecd7e3fa60f5c20a6e513f7bcb553fd8df1ca401347",
    "wood": "73076f012176f7a7e02747cccaa0332459ecedf2cb21db79c52442bb9602fed7",
}
"""SHA-256 over pixels and masks of five images; a change without a new GENERATOR_VERSION is a fault."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of its own for the data set."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("TRUSTAD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def dataset(cache: Path) -> Procedural:
    """The whole data set, generated once."""
    made = Procedural()
    made.index()
    return made


def kinds(category: str) -> list[str]:
    return sorted({image.defect for image in images(category)} - {"good"})


@pytest.mark.parametrize("category", CATEGORIES)
def test_pixels_are_those_of_every_machine(category: str) -> None:
    sha = hashlib.sha256()
    chosen = [("train", "good", 0), ("test", "good", 29), *(("test", kind, 4) for kind in kinds(category))]
    for split, defect, index in chosen:
        pixels, mask = render(category, split, defect, index)
        sha.update(pixels.tobytes())
        sha.update(mask.tobytes())
    assert sha.hexdigest() == GOLDEN[category]


@pytest.mark.parametrize("category", CATEGORIES)
def test_mask_is_exactly_where_the_defect_changed_pixels(category: str) -> None:
    for kind in kinds(category):
        pixels, mask = render(category, "test", kind, 1)
        flawless, nothing = render(category, "test", kind, 1, flawless=True)
        assert np.array_equal(mask, (pixels != flawless).any(axis=2))
        assert not nothing.any()


def test_every_defect_is_visible_and_local(dataset: Procedural) -> None:
    for sample in dataset.index().samples:
        mask = dataset.mask(sample)
        assert mask is not None
        if sample.label:
            assert 10 <= mask.sum() <= 0.1 * mask.size, sample.id
        else:
            assert not mask.any()


def test_layout_and_counts(dataset: Procedural) -> None:
    manifest = dataset.index()
    assert manifest.problems == ()
    assert len(CATEGORIES) == 8
    assert manifest.categories() == CATEGORIES
    for category in CATEGORIES:
        assert len(manifest.of(category, "train")) == 48
        test = manifest.of(category, "test")
        assert sum(sample.label == 0 for sample in test) == 30
        assert {kind: sum(sample.defect == kind for sample in test) for kind in kinds(category)} == dict.fromkeys(
            kinds(category), 10
        )
    assert len({sample.sha256 for sample in manifest.samples}) == len(manifest.samples) == 8 * 108


def test_files_hold_the_rendered_pixels(dataset: Procedural) -> None:
    by_id = {sample.id: sample for sample in dataset.index(["wood"]).samples}
    pixels, mask = render("wood", "test", "hole", 2)
    sample = by_id["wood/test/hole/002.png"]
    assert np.array_equal(dataset.image(sample), pixels)
    stored = dataset.mask(sample)
    assert stored is not None
    assert np.array_equal(stored, mask)


def cues(pixels: np.ndarray) -> dict[str, float]:
    """What a detector that looks at no structure could use."""
    grey = pixels.mean(axis=2)
    found = {"mean": grey.mean(), "std": grey.std(), "min": grey.min(), "max": grey.max()}
    found["relative contrast"] = grey.std() / grey.mean()
    found |= {f"percentile {q}": np.percentile(grey, q) for q in (1, 5, 25, 50, 75, 95, 99)}
    found |= {f"channel {c}": pixels[..., c].mean() for c in range(3)}
    found["saturation"] = (pixels.max(axis=2).astype(int) - pixels.min(axis=2)).mean()
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_trivial_cue_tells_defects(dataset: Procedural, category: str) -> None:
    test = dataset.index([category]).of(category, "test")
    labels, rows = [sample.label for sample in test], [cues(dataset.image(sample)) for sample in test]
    for name in rows[0]:
        auroc = roc_auc_score(labels, [row[name] for row in rows])
        assert max(auroc, 1 - auroc) <= 0.65, name


def test_any_prefix_of_the_light_sequence_covers_its_range() -> None:
    light, contrast = np.array([spread(number) for number in range(10)]).T
    for values in (light, contrast):
        assert np.diff(np.sort(values)).max() < 0.3
        assert abs(values.mean() - 0.5) < 0.12


def test_interrupted_generation_leaves_whole_categories_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(path: Path, pixels: np.ndarray) -> None:
        calls.append(path)
        if len(calls) > 3:
            raise KeyboardInterrupt
        write_png(path, pixels)

    monkeypatch.setattr("benchmark.datasets.procedural.generator.write_png", failing)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, categories=["nut"])
    assert list(tmp_path.iterdir()) == []


def test_png_round_trip_and_same_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 90, 3), dtype=np.uint8)  # more than one stored block
    for name, image in (("colour", pixels), ("grey", pixels[..., 0])):
        write_png(tmp_path / name, image)
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), image)


def test_wave_is_smooth_and_periodic() -> None:
    phase = np.linspace(-1, 1, 801)
    assert wave(np.array([0.0, 0.25, 0.5, 0.75, 1.0])) == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert np.abs(np.diff(wave(phase))).max() < 0.0101  # slope at most 4


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("wool", "test", "good", 0), UnknownNameError),
        (("wood", "test", "thread", 0), UnknownNameError),
        (("wood", "train", "hole", 0), UsageError),
        (("wood", "validation", "good", 0), UsageError),
    ],
)
def test_what_cannot_be_rendered(arguments: tuple[str, str, str, int], error: type[Exception]) -> None:
    with pytest.raises(error):
        render(*arguments)


def test_unknown_category_of_the_data_set(cache: Path) -> None:
    with pytest.raises(DataError, match="wool"):
        Procedural().index(["wool"])
