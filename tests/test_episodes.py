"""Support slices, query limits, leaks and fixed batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.data.canonical import canonicalise, rotate
from benchmark.data.episodes import DatasetSupport, chunks, query_image, sample_episode
from benchmark.datasets.manifest import build_manifest
from benchmark.errors import DataError, NotApplicableError, UsageError
from benchmark.types.data import DatasetInfo, Manifest, Problem, Sample


class Memory:
    """A data set of seeded noise in memory."""

    root = None

    def __init__(self, has_normals: bool = True) -> None:
        self.info = DatasetInfo(
            "memory", 1, "", ("nut",), "", "", "", has_normals=has_normals, class_names={"nut": "hex nut"}
        )
        self.decoded: list[str] = []

    def index(self, categories: object = None) -> Manifest:
        raise NotImplementedError

    def image(self, sample: Sample) -> np.ndarray:
        self.decoded.append(sample.id)
        return np.random.default_rng(len(sample.id) + ord(sample.id[-1])).integers(0, 256, (40, 56, 3), dtype=np.uint8)

    def mask(self, sample: Sample) -> np.ndarray | None:
        return None


def sample(name: str, split: str, defect: str = "good", sha: str = "") -> Sample:
    return Sample(name, "nut", split, int(defect != "good"), defect, "", (), sha or f"sha-{name}", 56, 40)  # type: ignore[arg-type]


def manifest(*extra: Sample, problems: tuple[Problem, ...] = ()) -> Manifest:
    train = [sample(f"train/{n}", "train") for n in range(9)]
    test = [sample(f"test/good/{n}", "test") for n in range(4)]
    test += [
        sample(f"test/{d}/{n}", "test", d)
        for d, count in (("bent", 5), ("crack", 2), ("rust", 1))
        for n in range(count)
    ]
    return build_manifest(Memory().info, [*reversed(train), *test, *extra], problems)


@pytest.mark.parametrize(
    ("shots", "seed", "names"), [(1, 0, "0"), (1, 2, "2"), (4, 0, "0123"), (4, 1, "4567"), (2, 3, "67")]
)
def test_support_is_the_slice_of_sorted_files(shots: int, seed: int, names: str) -> None:
    episode = sample_episode(Memory(), manifest(), "nut", shots, seed)
    assert [s.id for s in episode.support] == [f"train/{n}" for n in names]
    assert len(episode.query) == 12
    assert [s.id for s in episode.query] == sorted(s.id for s in episode.query)


def test_too_few_normals_fail_with_the_numbers() -> None:
    with pytest.raises(DataError, match="4 shots with seed 2 need 12 normal training images, but there are 9"):
        sample_episode(Memory(), manifest(), "nut", 4, 2)


def test_zero_shot_needs_no_normals() -> None:
    assert sample_episode(Memory(has_normals=False), manifest(), "nut", 0, 0).support == ()
    with pytest.raises(NotApplicableError, match="no normal images"):
        sample_episode(Memory(has_normals=False), manifest(), "nut", 1, 0)


def test_a_leak_names_both_files() -> None:
    leaky = manifest(sample("test/good/copy", "test", sha="sha-train/3"))
    with pytest.raises(DataError, match=r"train/3 and test image test/good/copy have the same content"):
        sample_episode(Memory(), leaky, "nut", 4, 0)
    assert sample_episode(Memory(), leaky, "nut", 2, 0).support


def test_unknown_or_damaged_categories_fail() -> None:
    with pytest.raises(DataError, match="memory/bolt: no test images"):
        sample_episode(Memory(), manifest(), "bolt", 1, 0)
    broken = manifest(problems=(Problem("nut", "a.png", "file is empty"), Problem("nut", "b.png", "gone")))
    with pytest.raises(DataError, match=r"a\.png: file is empty \(and 1 more"):
        sample_episode(Memory(), broken, "nut", 1, 0)


@pytest.mark.parametrize(
    ("limit", "anomalies"), [(1, ["bent/0"]), (4, ["bent/0", "bent/1", "crack/0", "rust/0"]), (99, None)]
)
def test_limit_is_balanced_over_defects(limit: int, anomalies: list[str] | None) -> None:
    query = sample_episode(Memory(), manifest(), "nut", 1, 0, limit=limit).query
    assert sum(not s.label for s in query) == min(limit, 4)
    assert [s.id for s in query] == sorted(s.id for s in query)
    if anomalies is None:
        assert len(query) == 12
    else:
        assert [s.id.removeprefix("test/") for s in query if s.label] == anomalies


@pytest.mark.parametrize(("shots", "seed", "limit"), [(-1, 0, None), (1, -1, None), (1, 0, 0)])
def test_out_of_range_numbers(shots: int, seed: int, limit: int | None) -> None:
    with pytest.raises(UsageError, match="must be"):
        sample_episode(Memory(), manifest(), "nut", shots, seed, limit)


def test_views_rotate_the_original_before_resizing() -> None:
    data = Memory()
    episode = sample_episode(data, manifest(), "nut", 2, 1)
    support = DatasetSupport(data, episode, 16)
    views = support.views((0.0, 45.0))
    assert support.info.class_name == "hex nut"
    assert [[tuple(v.shape) for v in row] for row in views] == [[(3, 16, 22)] * 2] * 2
    expected = canonicalise(rotate(Memory().image(episode.support[1]), 45.0), 16)
    assert torch.equal(views[1][1], torch.from_numpy(expected.copy()).permute(2, 0, 1))
    support.images()
    assert data.decoded == ["train/2", "train/3"]  # decoded once
    assert torch.equal(query_image(data, episode.support[0], 16), views[0][0])


@given(st.lists(st.sampled_from([(16, 16), (16, 24), (24, 16)]), max_size=40), st.integers(1, 7))
def test_chunks_are_fixed_slices_of_one_shape(shapes: list[tuple[int, int]], size: int) -> None:
    samples = [sample(f"{n:03d}", "test") for n in range(len(shapes))]
    shape_of = {s.id: shape for s, shape in zip(samples, shapes, strict=True)}
    groups = list(chunks(samples, shapes, size))
    order = [s.id for group in groups for s in group]
    assert order == sorted(order, key=lambda name: (shape_of[name], name))
    assert all(len({shape_of[s.id] for s in group}) == 1 and 1 <= len(group) <= size for group in groups)
    full = sum(-(-shapes.count(shape) // size) for shape in set(shapes))
    assert len(groups) == full


@pytest.mark.shared
def test_real_support() -> None:
    root = Path(__file__).parents[1].parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip("../shared/data is absent")
    from benchmark.datasets.mvtec import MVTecAD

    dataset = MVTecAD(root)
    episode = sample_episode(dataset, dataset.index(["transistor"]), "transistor", 16, 2, limit=2)
    assert [s.id[-7:] for s in episode.support] == [f"{n:03d}.png" for n in range(32, 48)]
    assert all(view.shape == (3, 112, 112) for view in DatasetSupport(dataset, episode, 112).images())
