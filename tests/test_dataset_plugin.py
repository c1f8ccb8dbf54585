"""A third party's data set registers by entry point and works everywhere a built-in one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.data.episodes import DatasetSupport, sample_episode
from benchmark.data.image_store import ImageStore
from benchmark.data.integrity import verify
from benchmark.data.shortcuts import audit
from benchmark.errors import NameClashError
from benchmark.registry import DATASETS, Registry
from benchmark.types import Dataset
from tests.plugins import plugin  # noqa: F401


@pytest.mark.usefixtures("plugin")
def test_third_party_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path))
    assert "stripes" in DATASETS
    dataset: Dataset = DATASETS.get("stripes")(None)
    manifest = dataset.index()
    episode = sample_episode(dataset, manifest, "wide", 2, 1)
    assert [s.id for s in episode.support] == ["wide/train/good/2", "wide/train/good/3"]
    assert DatasetSupport(dataset, episode, 24).images()[0].shape == (3, 24, 24)
    masks = ImageStore(24).masks(dataset, episode.query)
    assert [bool(mask.any()) for mask in masks] == [bool(s.label) for s in episode.query]
    assert not any(report.problems for report in verify(dataset))
    assert {row.category for row in audit(dataset, manifest)} == {"wide", "narrow"}


@pytest.mark.usefixtures("plugin")
def test_a_name_claimed_twice_is_an_error() -> None:
    with pytest.raises(NameClashError, match=r"stripes.*mine:Stripes.*trustad_example"):
        Registry("dataset", {"stripes": "mine:Stripes"}, "trustad.datasets").get("stripes")


def test_without_the_package_the_name_is_unknown() -> None:
    assert "stripes" not in DATASETS
