"""Real-IAD (Wang et al., CVPR 2024): 30 objects from five views, splits from JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from benchmark.datasets.files import Entry, FileDataset
from benchmark.errors import ResultError
from benchmark.storage.jsonio import strict_loads
from benchmark.types.data import DatasetInfo, Problem

RESOLUTIONS = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")
SPLITS = ("realiad_jsons", "realiad_jsons/realiad_jsons")


class RealIAD(FileDataset):
    """Real-IAD, multi-view split ``realiad_jsons/<category>.json``; the first resolution on disk, from 1024 px.

    The label is the split file's ``anomaly_class``: a view of a defective object that does not show the defect is
    normal there although it lies under ``NG``. Published in total are 151,050 images, 99,721 of them normal. Counts per
    category were not found, so a copy's counts are not checked.
    """

    folders = ("real_iad", "Real-IAD", "realiad")
    info = DatasetInfo(
        name="real_iad",
        version=1,
        title="Real-IAD",
        categories=(
            *("audiojack", "bottle_cap", "button_battery", "end_cap", "eraser", "fire_hood", "mint", "mounts", "pcb"),
            *("phone_battery", "plastic_nut", "plastic_plug", "porcelain_doll", "regulator", "rolled_strip_base"),
            *("sim_card_set", "switch", "tape", "terminalblock", "toothbrush", "toy", "toy_brick", "transistor1"),
            *("u_block", "usb", "usb_adaptor", "vcpill", "wooden_beads", "woodstick", "zipper"),
        ),
        licence="CC-BY-NC-SA-4.0",
        url="https://huggingface.co/datasets/REAL-IAD/Real-IAD",
        citation="Wang et al., Real-IAD: a real-world multi-view dataset, CVPR 2024",
    )

    def home(self, root: Path, category: str) -> Path:
        """The folder of a category at the first resolution on disk."""
        folders = [root / resolution / category for resolution in RESOLUTIONS]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def scan(self, root: Path, category: str) -> Iterator[Entry | Problem]:
        """Every image that the split file lists."""
        files = [root / folder / f"{category}.json" for folder in SPLITS]
        file = next((path for path in files if path.is_file()), None)
        if file is None:
            yield Problem(category, f"{SPLITS[0]}/{category}.json", "split file is missing")
            return
        try:
            content = strict_loads(file.read_bytes(), source=file.name)
            rows: list[tuple[Literal["train", "test"], Any]] = [("train", row) for row in content["train"]]
            rows += [("test", row) for row in content["test"]]
            for split, row in rows:
                yield _entry(self.home(root, category), category, split, row)
        except OSError as error:
            yield Problem(category, f"{SPLITS[0]}/{category}.json", f"split file cannot be read ({error.strerror})")
        except (ResultError, KeyError, TypeError, ValueError, AttributeError) as error:
            yield Problem(category, f"{SPLITS[0]}/{category}.json", f"split file cannot be read ({error})")

    def expected(self) -> str:
        """What the data set's folder must hold, for error messages."""
        return "folders realiad_1024/<category>/ and realiad_jsons/"


def _entry(home: Path, category: str, split: Literal["train", "test"], row: Mapping[str, Any]) -> Entry | Problem:
    kind = _text(row["anomaly_class"])
    image = home / _inside(row["image_path"])
    masks = tuple(home / _inside(path) for path in [row.get("mask_path")] if path)
    missing = [path for path in (image, *masks) if not path.is_file()]
    if missing:
        return Problem(category, str(missing[0].relative_to(home.parents[1])), "listed in the split file but missing")
    if split == "train" and kind != "OK":
        return Problem(category, str(image.relative_to(home.parents[1])), "defective image in the training split")
    return Entry(split, "good" if kind == "OK" else kind, image, () if kind == "OK" else masks)


def _inside(path: Any) -> PurePosixPath:
    """A path below the category's folder.

    Raises:
        ValueError: For an absolute one, or one that climbs.
    """
    listed = PurePosixPath(_text(path))
    if listed.is_absolute() or PureWindowsPath(listed).anchor or ".." in listed.parts:
        raise ValueError(f"{path!r} leads out of the data set")
    return listed


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
