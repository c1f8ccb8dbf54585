"""Hostile names, split files, terminals' texts and plug-ins, as `fuzzing` has hostile files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from benchmark.data.integrity import verify
from benchmark.datasets.mvtec import Folder
from benchmark.datasets.realiad import RealIAD
from benchmark.datasets.visa import COLUMNS, SPLIT_FILE, VisA
from benchmark.errors import DataError, shown, told
from benchmark.execution.maps import render_map
from benchmark.execution.predictions import checked_prediction
from benchmark.planning.contract import check_detector
from benchmark.planning.jobs import DetectorSpec
from benchmark.results.references import detector_ref
from benchmark.storage.jsonio import canonical_json
from benchmark.types import Card, Detector, Prediction, Support
from official_trees import real_iad, visa

Draw = Callable[[st.SearchStrategy[Any]], Any]

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63680000008200814b7ad5710000"
    "000049454e44ae426082"
)
"""One grey pixel."""
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 0x2F} & set(name) and name not in (b".", b".."))


def file_names(draw: Draw, folder: Path) -> None:
    """Names of any bytes for categories, defects, images and masks: read, or refused in a line that can be printed."""
    root = os.fsencode(folder / f"names-{draw(st.integers(0, 2**48))}")
    category = draw(st.one_of(st.just(b"nut"), NAMES))
    for place in (b"train/good", b"test/good", b"test/" + draw(NAMES), b"ground_truth/" + draw(NAMES)):
        home = b"/".join([root, category, place])
        try:
            os.makedirs(home, exist_ok=True)
            with open(
                home + b"/" + draw(NAMES) + draw(st.sampled_from((b".png", b"_mask.png", b".gif"))), "wb"
            ) as file:
                file.write(PNG)
        except OSError:  # a file system that refuses the name
            continue
    dataset = Folder(Path(os.fsdecode(root)))
    for report in verify(dataset):
        for problem in report.problems:
            print(f"{problem.path}: {problem.what}".encode().decode(), file=io.StringIO())
    canonical_json([[s.id, s.path, s.defect] for s in dataset.index().samples])


CELL = st.one_of(
    st.sampled_from(("candle", "train", "test", "normal", "anomaly", "bad", "")),
    st.sampled_from(
        ("candle/Data/Images/Normal/0000.JPG", "candle/Data/Images/Anomaly/000.JPG", "../../x.png", "/etc/x")
    ),
    st.text(max_size=6),
)


def visa_split(draw: Draw, folder: Path) -> None:
    """The split file of VisA: other columns, rows, separators, encodings and bytes."""
    root = folder / "visa"
    if not root.is_dir():
        visa(root)
    header = draw(st.one_of(st.just(list(COLUMNS)), st.lists(st.sampled_from(COLUMNS), max_size=6)))
    rows = draw(st.lists(st.lists(CELL, max_size=6), max_size=4))
    text = io.StringIO()
    csv.writer(text, delimiter=draw(st.sampled_from(",,,;\t")), escapechar="\\").writerows([header, *rows])
    data = text.getvalue().encode(draw(st.sampled_from(("utf-8", "utf-8", "utf-16", "utf-8-sig"))), "replace")
    place = draw(st.integers(0, len(data)))
    (root / "VisA_20220922" / SPLIT_FILE).write_bytes(data[:place] + draw(st.binary(max_size=3)) + data[place:])
    _inside(VisA(root), "candle")


def real_iad_split(draw: Draw, folder: Path) -> None:
    """The split file of Real-IAD: any JSON, and rows with any paths."""
    root = folder / "iad"
    if not root.is_dir():
        real_iad(root)
    home = "OK/S0001/zipper_0001_OK_C1_20231023.jpg"
    path = st.one_of(
        st.sampled_from((home, "../" * 5 + "etc/passwd", "/etc/passwd", "", ".")), st.text(max_size=9), st.none()
    )
    row = st.fixed_dictionaries(
        {"anomaly_class": st.sampled_from(("OK", "AK", 3, None)), "image_path": path},
        optional={"mask_path": path},
    )
    split = st.dictionaries(
        st.sampled_from(("train", "test", "meta")), st.one_of(st.lists(row, max_size=2), st.integers())
    )
    content = draw(st.one_of(split, st.lists(st.integers(), max_size=2), st.text(max_size=3)))
    (root / "Real-IAD" / "realiad_jsons" / "zipper.json").write_text(json.dumps(content))
    _inside(RealIAD(root), "zipper")


def _inside(dataset: Any, category: str) -> None:
    """No sample lies outside the root, and what is wrong is a `DataError`."""
    manifest = dataset.index([category])
    for sample in manifest.samples:
        for path in (sample.path, *sample.masks):
            assert (dataset.root / path).resolve().is_relative_to(dataset.root.resolve())
    if manifest.problems:
        raise DataError(f"{manifest.problems[0].path}: {manifest.problems[0].what}")


SIZES = st.lists(st.integers(0, 4), max_size=4)
NUMBERS = st.floats(width=64) | st.sampled_from((1e39, -1e39, float("nan")))


def _tensor(draw: Draw) -> Any:
    if draw(st.integers(0, 5)) == 0:
        return draw(st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.floats(), max_size=2)))
    shape = draw(st.one_of(st.just([2]), st.just([2, 3, 3]), SIZES))
    kind = draw(st.sampled_from((torch.float64, torch.float32, torch.int64, torch.bool, torch.float16)))
    return torch.full(shape, draw(st.one_of(st.just(0.5), NUMBERS)), dtype=torch.float64).to(kind)


def prediction(draw: Draw, folder: Path) -> None:
    """What a detector may return: refused, or scores and a map that can be counted."""
    side = st.one_of(st.integers(-2, 20), st.floats(0, 9), st.none())
    region = draw(
        st.one_of(st.none(), st.just((0, 0, 16, 16)), st.tuples(side, side, side, side), st.lists(side, max_size=5))
    )
    sigma = draw(st.one_of(st.just(0.0), NUMBERS, st.none()))
    made = Prediction(_tensor(draw), draw(st.sampled_from((None, _tensor(draw)))), region, sigma)  # type: ignore[arg-type]
    given = draw(st.sampled_from((made, made, made, None, made.score)))
    found = checked_prediction("fuzzed", given, torch.zeros(2, 3, 16, 16), ("a", "b"))
    assert torch.isfinite(found.score.float()).all()
    if found.anomaly_map is not None:
        assert torch.isfinite(render_map(found, 16, 16)).all()


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=2)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2) | st.sets(st.integers())
    ),
    max_leaves=4,
)
RIGHT: dict[str, Any] = {"version": 1, "licence": "x", "training_data": "", "url": "https://example.org"}


class Said(Detector):
    """Says of itself what it is given."""

    def __init__(self, card: Any, config: Any) -> None:
        self.card, self.config = card, config  # type: ignore[misc]

    def fit(self, support: Support, *, seed: int) -> Any:
        raise NotImplementedError


def card_and_config(draw: Draw, folder: Path) -> None:
    """What a detector may say of itself: refused, or a reference that a result can hold."""
    said = {f.name: RIGHT.get(f.name, "x") for f in fields(Card) if str(f.type) != "bool"}
    if draw(st.booleans()):
        said[draw(st.sampled_from(sorted(said)))] = draw(VALUES)
    card = draw(st.sampled_from((Card(**said), Card(**said), draw(VALUES))))
    keys = st.one_of(st.just("k"), st.text(max_size=4), st.integers())
    detector = Said(card, draw(st.one_of(st.dictionaries(keys, VALUES, max_size=2), VALUES)))
    check_detector(detector, DetectorSpec("fuzzed", None))
    canonical_json(dict(detector.config))
    detector_ref(detector, "fuzzed", "fuzzed", None).model_dump_json()


def words(draw: Draw, folder: Path) -> None:
    """Any text in a message can be printed and stored, in one line of bounded length."""
    text = draw(st.text(st.characters(), max_size=40)) * draw(st.sampled_from((1, 60)))
    shown(text).encode()
    line = told(ValueError(text))
    assert len(line) <= 500
    assert "\n" not in line
    assert all(c.isprintable() for c in line)
    raise DataError(text)


TARGETS: dict[str, Callable[[Draw, Path], None]] = {
    "names of files": file_names,
    "split file of VisA": visa_split,
    "split file of Real-IAD": real_iad_split,
    "predictions": prediction,
    "cards and configs": card_and_config,
    "messages": words,
}
