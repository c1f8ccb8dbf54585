"""VisA (Zou et al., ECCV 2022): the raw download with its split file, and the prepared one-class tree."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from benchmark.datasets.files import Entry, images_in, relative
from benchmark.datasets.mvtec import MVTecLayout
from benchmark.datasets.pairing import by_stem
from benchmark.types.data import DatasetInfo, Problem

SPLIT_FILE = PurePosixPath("split_csv/1cls.csv")


class VisA(MVTecLayout):
    """VisA, one-class split.

    Raw: ``<category>/Data/Images/{Normal,Anomaly}``, masks with defect-index values, split ``split_csv/1cls.csv``.
    Prepared: MVTec layout under ``1cls/``. Sample ids are those of the prepared tree in both: results agree.
    """

    folders = ("visa", "VisA_20220922", "VisA_pytorch", "1cls")
    info = DatasetInfo(
        name="visa",
        version=1,
        title="VisA",
        categories=(
            *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
            *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
        ),
        licence="CC-BY-4.0",
        url="https://github.com/amazon-science/spot-diff",
        citation="Zou et al., SPot-the-difference self-supervised pre-training, ECCV 2022",
        redistributable=True,
        class_names={
            "chewinggum": "chewing gum",
            "macaroni1": "macaroni",
            "macaroni2": "macaroni",
            "pcb1": "printed circuit board",
            "pcb2": "printed circuit board",
            "pcb3": "printed circuit board",
            "pcb4": "printed circuit board",
            "pipe_fryum": "pipe fryum",
        },
    )

    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every image of a category with its masks, from either layout."""
        if not (root / category / "Data").is_dir():
            yield from super().scan(root, category)
        elif not (root / SPLIT_FILE).is_file():
            yield Problem(category, str(SPLIT_FILE), "split file is missing; it is part of the official download")
        else:
            yield from self._raw(root, category)

    def _raw(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        data = root / category / "Data"
        images = {label: by_stem(images_in(data / "Images" / label)) for label in ("Normal", "Anomaly")}
        masks = by_stem(images_in(data / "Masks" / "Anomaly"))
        for row in _rows(root / SPLIT_FILE, category):
            listed = PurePosixPath(row["image"])
            found = images.get(listed.parent.name, {}).pop(listed.stem, [])
            if len(found) != 1:
                what = "listed in the split file but missing" if not found else "several files with this stem"
                yield Problem(category, row["image"], what)
            elif (listed.parent.name == "Anomaly") != (row["label"] == "anomaly"):
                yield Problem(category, row["image"], f"split file says {row['label']}, the folder says otherwise")
            else:
                yield self._entry(root, category, row, found[0], masks)
        for path in (path for groups in images.values() for group in groups.values() for path in group):
            yield Problem(category, relative(root, path), "image is not in the split file")
        for path in (path for group in masks.values() for path in group):
            yield Problem(category, relative(root, path), "mask without an image")

    def _entry(
        self, root: Path, category: str, row: Mapping[str, str], image: Path, masks: dict[str, list[Path]]
    ) -> Entry | Problem:
        split, prepared = row["split"], PurePosixPath(category, row["split"])
        if split not in ("train", "test"):
            return Problem(category, row["image"], f"split file says split {split!r}; train and test are allowed")
        if row["label"] == "normal":
            return Entry("train" if split == "train" else "test", "good", image, id=str(prepared / "good" / image.name))
        own = masks.pop(image.stem, [])
        if split == "train" or len(own) != 1:
            what = "defective image in the training split" if split == "train" else "defective image without one mask"
            return Problem(category, relative(root, image), what)
        return Entry("test", "bad", image, (own[0],), id=str(prepared / "bad" / image.name))


def _rows(path: Path, category: str) -> Iterator[Mapping[str, str]]:
    """Rows of the split file for one category: object, split, label, image, mask."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield from (row for row in csv.DictReader(file) if row["object"] == category)
