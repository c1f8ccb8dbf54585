"""The MVTec AD folder layout, which several data sets share, and users' own folders in it.

``<category>/train/good/NNN.png``, ``<category>/test/{good,<defect>}/NNN.png`` and
``<category>/ground_truth/<defect>/NNN_mask.png``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from benchmark.datasets.files import Entry, FileDataset, folders_in, images_in, relative
from benchmark.datasets.pairing import pair
from benchmark.types.data import DatasetInfo, Problem


class MVTecLayout(FileDataset):
    """Any data set in MVTec AD layout; the label is the folder's name."""

    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every image of a category with its masks, and what does not fit the layout."""
        yield from self._split(root, category, "train")
        yield from self._split(root, category, "test")
        tested = {folder.name for folder in folders_in(root / category / "test")}
        for folder in folders_in(root / category / "ground_truth"):
            if folder.name not in tested:
                yield Problem(category, relative(root, folder), "masks without a test folder of that name")

    def _split(self, root: Path, category: str, split: Literal["train", "test"]) -> Iterator[Entry | Problem]:
        base = root / category / split
        for path in images_in(base):
            yield Problem(category, relative(root, path), f"belongs into {category}/{split}/good or a defect's folder")
        for folder in folders_in(base):
            images = images_in(folder)
            if folder.name == "good":
                yield from (Entry(split, "good", path) for path in images)
            elif split == "train":
                yield Problem(category, relative(root, folder), "train may hold normal images only, in train/good")
            elif not self.info.has_masks:
                yield from (Entry(split, folder.name, path) for path in images)
            else:
                masks = images_in(root / category / "ground_truth" / folder.name)
                for item in pair(root, category, images, masks, ending="_mask"):
                    yield item if isinstance(item, Problem) else Entry(split, folder.name, item[0], (item[1],))


class MVTecAD(MVTecLayout):
    """MVTec AD (Bergmann et al., IJCV 2021): 15 industrial objects and textures."""

    folders = ("mvtec_ad", "mvtec_anomaly_detection", "MVTec", "MVTec-AD")
    info = DatasetInfo(
        name="mvtec_ad",
        version=1,
        title="MVTec AD",
        categories=(
            *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill"),
            *("screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
        ),
        licence="CC-BY-NC-SA-4.0",
        url="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        citation="Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021",
        size_bytes=4_900_000_000,
        class_names={"metal_nut": "metal nut"},
    )


class MPDD(MVTecLayout):
    """MPDD (Jezek et al., ICUMT 2021): painted metal parts in several positions."""

    folders = ("mpdd",)
    info = DatasetInfo(
        name="mpdd",
        version=1,
        title="MPDD",
        categories=("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"),
        licence="CC-BY-NC-SA-4.0",
        url="https://github.com/stepanje/MPDD",
        citation="Jezek et al., Deep learning-based defect detection of metal parts, ICUMT 2021",
        size_bytes=1_825_041_283,
        class_names={
            "bracket_black": "black bracket",
            "bracket_brown": "brown bracket",
            "bracket_white": "white bracket",
            "metal_plate": "metal plate",
        },
    )


class Folder(MVTecLayout):
    """A user's own images in MVTec AD layout: every sub-folder with ``train/good`` is a category.

    The root may also be one category itself. Without any ``ground_truth`` folder there are no pixel metrics.
    """

    folders = ()
    info = DatasetInfo(
        name="folder",
        version=1,
        title="Your own folder",
        categories=(),
        licence="yours",
        url="",
        citation="",
    )

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root)
        if self.root is None:
            return
        if _is_category(self.root):
            whole = self.root.resolve()
            self.root, categories = whole.parent, [whole.name]
        else:
            categories = [folder.name for folder in folders_in(self.root) if _is_category(folder)]
        has_masks = any((self.root / category / "ground_truth").is_dir() for category in categories)
        self.info = replace(self.info, categories=tuple(categories), has_masks=has_masks)

    def recognise(self, folder: Path) -> bool:
        """Whether the folder is a category or contains one."""
        return _is_category(folder) or any(_is_category(child) for child in folders_in(folder))

    def expected(self) -> str:
        """What the folder must hold, for error messages."""
        return "train/good (normal images) and test/good, test/<defect> in it or in each of its sub-folders"


def _is_category(folder: Path) -> bool:
    return (folder / "train" / "good").is_dir()
