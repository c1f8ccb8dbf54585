"""The MVTec AD folder layout, which several data sets share, and users' own folders in it.

``<category>/train/good/NNN.png``, ``<category>/test/{good,<defect>}/NNN.png`` and
``<category>/ground_truth/<defect>/NNN_mask.png``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from benchmark.datasets.files import Entry, FileDataset, folders_in, images_in, is_text, relative
from benchmark.datasets.pairing import pair
from benchmark.errors import DataError
from benchmark.types.data import DatasetInfo, Problem


class MVTecLayout(FileDataset):
    """Any data set in MVTec AD layout; the label is the folder's name. Validation folders are not part of any track."""

    normal: ClassVar[str] = "good"
    """Folder of normal images."""
    test: ClassVar[str] = "test"
    truth: ClassVar[str] = "ground_truth"

    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every image of a category with its masks, and what does not fit the layout."""
        home = self.home(root, category)
        for path in (*images_in(home / "train"), *images_in(home / self.test)):
            yield Problem(category, relative(root, path), f"belongs into {self.normal}/ or into a defect's folder")
        for folder in folders_in(home / "train"):
            if folder.name == self.normal:
                yield from (Entry("train", "good", path, meta=self.meta(path)) for path in images_in(folder))
            else:
                yield Problem(category, relative(root, folder), f"train may hold normal images only, in {self.normal}/")
        tested = [folder for folder in folders_in(home / self.test) if folder != home / self.truth]
        for folder in tested:
            yield from self._tested(root, category, folder)
        names = {folder.name for folder in tested}
        for folder in folders_in(home / self.truth):
            if folder.name not in names:
                yield Problem(category, relative(root, folder), "masks without a test folder of that name")

    def meta(self, image: Path) -> Mapping[str, str]:
        """Facts that a file name tells."""
        return {}

    def masked(self, root: Path, category: str, folder: Path) -> Iterator[tuple[Path, tuple[Path, ...]] | Problem]:
        """Each defective image of a test folder with its masks."""
        masks = images_in(self.home(root, category) / self.truth / folder.name)
        for item in pair(root, category, images_in(folder), masks, ending="_mask"):
            yield item if isinstance(item, Problem) else (item[0], (item[1],))

    def _tested(self, root: Path, category: str, folder: Path) -> Iterator[Entry | Problem]:
        if folder.name == self.normal:
            yield from (Entry("test", "good", path, meta=self.meta(path)) for path in images_in(folder))
        elif not self.info.has_masks:
            yield from (Entry("test", folder.name, path, meta=self.meta(path)) for path in images_in(folder))
        else:
            for item in self.masked(root, category, folder):
                if isinstance(item, Problem):
                    yield item
                else:
                    yield Entry("test", folder.name, item[0], item[1], self.meta(item[0]))


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
        size_bytes=5_264_982_680,
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
        unnamed = [self.root / category for category in categories if not is_text(category)]
        if unnamed:
            raise DataError(f"{unnamed[0]}: the name of this folder is not UTF-8; rename it")
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
