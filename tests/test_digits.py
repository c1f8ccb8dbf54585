"""Handwritten digits as one-class episodes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmark.datasets.digits import PER_OTHER, TRAIN, Digits
from benchmark.errors import DataError
from benchmark.types.data import Manifest


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return Digits().index()


def test_labels_and_splits_are_the_collections(manifest: Manifest) -> None:
    shown = load_digits().target
    for sample in manifest.samples:
        digit = int(shown[int(sample.meta["row"])])
        assert sample.label == int(digit != int(sample.category))
        assert sample.defect == (f"digit_{digit}" if sample.label else "good")
        assert sample.split == "test" or sample.label == 0


def test_no_training_image_of_any_digit_is_ever_tested(manifest: Manifest) -> None:
    train = {sample.meta["row"] for sample in manifest.samples if sample.split == "train"}
    test = {sample.meta["row"] for sample in manifest.samples if sample.split == "test"}
    assert len(train) == 10 * TRAIN
    assert not train & test
    content = {sample.sha256 for sample in manifest.samples if sample.split == "train"}
    assert not content & {sample.sha256 for sample in manifest.samples if sample.split == "test"}


def test_every_normal_digit_is_used_and_others_are_balanced(manifest: Manifest) -> None:
    shown = load_digits().target
    for category in manifest.categories():
        train, test = manifest.of(category, "train"), manifest.of(category, "test")
        normals = [sample for sample in test if not sample.label]
        assert len(train) + len(normals) == (shown == int(category)).sum()
        counts = {
            sample.defect: sum(other.defect == sample.defect for other in test) for sample in test if sample.label
        }
        assert sorted(counts.values()) == [PER_OTHER] * 9


def test_images_are_the_scans_enlarged() -> None:
    data = Digits()
    sample = data.index(["3"]).of("3", "test")[0]
    image = data.image(sample)
    assert (image.shape, image.dtype) == ((112, 112, 3), np.uint8)
    small = 255 - image[..., 0].reshape(8, 14, 8, 14).mean(axis=(1, 3))
    ink = load_digits().images[int(sample.meta["row"])] * 16
    assert np.corrcoef(small.ravel(), ink.ravel())[0, 1] > 0.98
    assert data.mask(sample) is None


def test_unknown_category() -> None:
    with pytest.raises(DataError, match="'11'"):
        Digits().index(["11"])
