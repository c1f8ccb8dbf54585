"""The generated images as a data set: made in the cache on first use, then read like MVTec AD."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.datasets.mvtec import MVTecLayout
from benchmark.datasets.procedural.generator import CATEGORIES, GENERATOR_VERSION, generate
from benchmark.storage.cachedir import cache_dir
from benchmark.types.data import DatasetInfo, Manifest


class Procedural(MVTecLayout):
    """Eight generated categories. They lie in the cache, whatever ``root`` other data sets are read from."""

    folders = ("procedural",)
    info = DatasetInfo(
        name="procedural",
        version=GENERATOR_VERSION,
        title="Procedural",
        categories=CATEGORIES,
        licence="Apache-2.0",
        url="",
        citation="TrustAD procedural inspection images",
        redistributable=True,
        class_names={"connector": "circuit board connector", "metal": "brushed metal", "weave": "woven fabric"},
    )

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(None)
        self.root = cache_dir() / "procedural" / f"v{GENERATOR_VERSION}"

    def index(self, categories: Sequence[str] | None = None) -> Manifest:
        """Index the given categories (default: all), generating what is not there yet.

        Raises:
            DataError: If a category is not one of the data set's.
        """
        wanted = CATEGORIES if categories is None else categories
        generate(self._need_root(), categories=[category for category in wanted if category in CATEGORIES])
        return super().index(categories)
