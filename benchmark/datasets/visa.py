"""VisA (Zou et al., ECCV 2022): the raw download with its split file, and the prepared one-class tree."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from benchmark.datasets.files import Entry, images_in, relative
from benchmark.datasets.mvtec import MVTecLayout
from benchmark.datasets.pairing import by_stem
from benchmark.errors import DataError
from benchmark.types.data import DatasetInfo, Problem

SPLIT_FILE = PurePosixPath("split_csv/1cls.csv")
COLUMNS = ("object", "split", "label", "image", "mask")


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
        try:
            rows = list(_rows(root / SPLIT_FILE, category))
        except DataError as error:
            yield Problem(category, str(SPLIT_FILE), str(error))
            return
        for row in rows:
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
    """Rows of the split file for one category, by `COLUMNS`.

    Raises:
        DataError: If the file is not UTF-8 text, its first line is another, or a row is short.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise DataError(f"its first line must be {','.join(COLUMNS)}; {', '.join(absent)} is missing")
            for row in reader:
                if any(row[name] is None for name in COLUMNS):
                    raise DataError(f"line {reader.line_num} has fewer than the columns {','.join(COLUMNS)}")
                if row["object"] == category:
                    yield row
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"not a table of comma-separated values ({error})") from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
