"""What is done once instead of many times, and that its results are those of doing it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attacks.surrogate import ANGLES, fit_surrogate
from benchmark.data.episodes import DatasetSupport
from benchmark.execution.clean_graph import CleanGraph
from benchmark.types import Dataset, DatasetInfo, Episode, Features, Sample
from toy_detectors import ConvExtractor, ListSupport, textures


class Counting(ConvExtractor):
    """Counts the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    def __call__(self, images: Tensor) -> Features:
        self.images += len(images)
        return super().__call__(images)


def gradient(features: Features, images: Tensor, seed: int) -> Tensor:
    """Of a random linear head, through the kept graph or another."""
    pooled = features.pooled()
    weight = torch.randn(pooled.shape[1], generator=torch.Generator().manual_seed(seed), dtype=pooled.dtype)
    return torch.autograd.grad((pooled @ weight).sum(), images)[0]


def leaf(levels: Tensor) -> Tensor:
    return (levels.float() / 255.0).requires_grad_(True)


def test_many_heads_read_one_graph_and_get_the_bits_of_their_own() -> None:
    levels, extractor, plain = textures(3, seed=1), Counting(), ConvExtractor()
    clean = CleanGraph(levels)
    for seed in range(4):
        shared, own = leaf(levels), leaf(levels)
        features = clean.features(extractor, shared)
        assert torch.equal(features.maps[0], plain(own).maps[0])
        assert torch.equal(gradient(features, shared, seed), gradient(plain(own), own, seed))
    assert extractor.images == 3


def test_a_head_on_one_level_alone() -> None:
    levels, extractor = textures(2, seed=1), ConvExtractor()
    shared, own = leaf(levels), leaf(levels)
    (found,) = torch.autograd.grad(CleanGraph(levels).features(extractor, shared).maps[0].sum(), shared)
    (expected,) = torch.autograd.grad(extractor(own).maps[0].sum(), own)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("change", [1, 0])
def test_other_images_and_calls_without_gradient_run_for_themselves(change: int) -> None:
    levels, extractor = textures(2, seed=1), Counting()
    clean = CleanGraph(levels)
    clean.features(extractor, leaf(levels))
    images = leaf((levels.int() + change).clamp(0, 255)) if change else levels.float() / 255.0
    clean.features(extractor, images)
    assert extractor.images == 4


def test_a_part_of_the_batch_gets_a_graph_of_its_own() -> None:
    levels, extractor = textures(4, seed=1), Counting()
    clean = CleanGraph(levels)
    assert clean.of(levels) is clean
    clean.features(extractor, leaf(levels))
    part = clean.of(levels[:2])
    part.features(extractor, leaf(levels[:2]))
    assert extractor.images == 6


def test_heads_of_overlapping_supports_extract_every_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attacks.surrogate.ANOMALIES", 4)
    images, extractor, pooled = list(textures(3, seed=5)), Counting(), {}
    supports = [ListSupport(images[:count]) for count in (1, 2, 3)]
    shared = [fit_surrogate(extractor, support, seed=0, pooled=pooled) for support in supports]
    assert extractor.images == 3 * (len(ANGLES) + 4)
    for head, support in zip(shared, supports, strict=True):
        alone = fit_surrogate(ConvExtractor(), support, seed=0)
        assert all(torch.equal(head.state_dict()[name], value) for name, value in alone.state_dict().items())


class OneCategory:
    """Counts what is decoded."""

    info = DatasetInfo("toy", 1, "", ("toy",), "", "", "")
    root = None

    def __init__(self) -> None:
        self.decoded: list[str] = []

    def image(self, sample: Sample) -> object:
        self.decoded.append(sample.id)
        return textures(1, seed=len(sample.id))[0].permute(1, 2, 0).numpy()


def support(dataset: object, samples: Sequence[Sample], views: dict[tuple[str, float], Tensor]) -> DatasetSupport:
    assert isinstance(dataset, OneCategory)
    known: Dataset = dataset  # type: ignore[assignment]
    return DatasetSupport(known, Episode("toy", "toy", len(samples), 0, tuple(samples), ()), 32, views)


def test_overlapping_supports_turn_every_image_once() -> None:
    dataset, views = OneCategory(), dict[tuple[str, float], Tensor]()
    first = Sample("a", "toy", "train", 0, "good", "", (), "", 32, 32)
    second = replace(first, id="bb")
    small = support(dataset, [first], views).views((0.0, 45.0))
    large = support(dataset, [first, second], views).views((0.0, 45.0))
    assert dataset.decoded == ["a", "bb"]
    assert all(torch.equal(a, b) for a, b in zip(small[0], large[0], strict=True))
    small[0][0].zero_()  # its own copy
    assert torch.equal(support(dataset, [first], views).images()[0], large[0][0])
    assert dataset.decoded == ["a", "bb"]
