"""Hostile input for every reader of files: what is tried, and the only errors that may come out.

`TARGETS` are functions ``(draw, folder)`` that make one case with hypothesis and give it to a reader. Anything that a
target raises other than the project's own errors is a fault; so is a case that takes more than `SECONDS` of CPU time.
"""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from PIL import Image

from benchmark.datasets.decode import image_size, read_image, read_mask
from benchmark.datasets.mvtec import Folder
from benchmark.errors import TrustADError
from benchmark.registry import DATASETS
from benchmark.results.evidence import PIXEL_COLUMNS, SCORE_COLUMNS, read_pixels, read_scores, write_evidence
from benchmark.results.schema import parse_result
from benchmark.results.submission import load_submission
from leaderboard_factory import Invented, write_submission

SECONDS = 30.0
Draw = Callable[[st.SearchStrategy[Any]], Any]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


class Hang(Exception):
    """A case that takes too much CPU time."""


@contextmanager
def cpu_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Raise `Hang` after so much CPU time of this process, whatever else the machine does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def attempt(target: Callable[[Draw, Path], None], draw: Draw, folder: Path) -> bool:
    """Whether one case was refused with one of the project's own errors."""
    try:
        with cpu_limit():
            target(draw, folder)
    except TrustADError:
        return True
    return False


# ---- mutations --------------------------------------------------------------------------------------------------


def mutated(draw: Draw, data: bytes) -> bytes:
    """Some bytes overwritten, cut out, doubled or inserted; perhaps truncated."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(changed) - 1)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            changed[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == 1:
            del changed[place : place + draw(st.integers(1, 64))]
        elif kind == 2:
            changed[place:place] = changed[place : place + draw(st.integers(1, 64))]
        elif kind == 3:
            changed[place:place] = draw(st.binary(max_size=8))
        else:
            changed[place : place + 4] = draw(st.sampled_from((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff")))
    return bytes(changed[: draw(st.integers(0, len(changed)))] if draw(st.integers(0, 9)) == 0 else changed)


def edited(draw: Draw, value: Any) -> Any:
    """A JSON value with one part, somewhere, replaced, removed, doubled or renamed."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 5)) == 0:
        return draw(JSON)
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], *_kept(draw, value[place]), *value[place + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: part for name, part in value.items() if name != key}
    name = draw(st.text(max_size=5)) if draw(st.integers(0, 9)) == 0 else key
    kept = _kept(draw, value[key])
    return rest | ({name: kept[0]} if kept else {})


def _kept(draw: Draw, part: Any) -> list[Any]:
    kind = draw(st.integers(0, 9))
    return [] if kind == 0 else [part, part] if kind == 1 else [edited(draw, part)]


# ---- material ---------------------------------------------------------------------------------------------------


@cache
def submission(root: Path) -> tuple[dict[str, Any], bytes]:
    """A small valid result as JSON, and a valid submission.toml."""
    made = Invented("fuzzed", "Fuzzed", datasets=("digits",), shots=(4,), attacks=("sign_noise",), levels=(2,))
    folder = write_submission(root, made)
    (result,) = (folder / "results").glob("*.json")
    data: dict[str, Any] = json.loads(result.read_text())
    for name in ("values", "replicates", "reliability", "entropy"):
        data["scored"][name] = data["scored"][name][:3]
    return data, (folder / "submission.toml").read_bytes()


@cache
def evidence(root: Path) -> dict[str, bytes]:
    """Valid evidence files of both kinds."""
    where = {"dataset": "d", "category": "c", "detector": "x", "shots": 1, "seed": 0}
    clean = pd.DataFrame({"sample_id": list("abcd"), "label": [0, 0, 1, 1], "score": [0.1, 0.2, 0.3, 0.4], **where})
    clean = clean.assign(attack=None, goal=None, budget=None)
    scores = pd.concat([clean, clean.assign(attack="noise", goal="two_sided", budget="2")])
    types = {"label": "int8", "shots": "int32", "seed": "int32", "score": "float32"}
    write_evidence(root / "scores.parquet", scores[SCORE_COLUMNS].astype(types), SCORE_COLUMNS)
    pixels = clean.assign(region=-1, low=0.0, high=1.0, bins=[[1, 5]] * 4, counts=[[3, 4]] * 4)
    write_evidence(root / "pixels.parquet", pixels[PIXEL_COLUMNS], PIXEL_COLUMNS)
    return {kind: (root / f"{kind}.parquet").read_bytes() for kind in ("scores", "pixels")}


@cache
def pictures() -> dict[str, tuple[bytes, ...]]:
    """Small valid images by suffix: colour, grey, palette, 16 bits, compressed and not."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    kinds: dict[str, list[tuple[Image.Image, dict[str, Any]]]] = {
        "png": [(colour, {}), (colour.convert("P"), {}), (deep, {}), (colour.convert("LA"), {})],
        "jpg": [(colour, {"progressive": True}), (colour.convert("L"), {}), (colour.convert("CMYK"), {})],
        "tif": [(colour, {"compression": c}) for c in ("raw", "tiff_lzw", "tiff_deflate")] + [(deep, {})],
        "bmp": [(colour, {}), (colour.convert("P"), {}), (colour.convert("1"), {})],
    }
    names = {"jpg": "JPEG", "tif": "TIFF"}
    return {suffix: tuple(_saved(i, names.get(suffix, suffix.upper()), o) for i, o in k) for suffix, k in kinds.items()}


def _saved(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# ---- targets ----------------------------------------------------------------------------------------------------


def result_file(draw: Draw, folder: Path) -> None:
    """The result schema: edited JSON, and damaged bytes."""
    data, _ = submission(folder / "material")
    if draw(st.booleans()):
        parse_result(json.dumps(edited(draw, data)).encode(), source="result.json")
    else:
        parse_result(mutated(draw, json.dumps(data).encode()), source="result.json")


def evidence_file(draw: Draw, folder: Path) -> None:
    """The evidence reader: damaged parquet of both kinds."""
    kind = draw(st.sampled_from(("scores", "pixels")))
    path = folder / "case.parquet"
    path.write_bytes(mutated(draw, evidence(folder)[kind]))
    (read_scores if kind == "scores" else read_pixels)(path)


def submission_file(draw: Draw, folder: Path) -> None:
    """submission.toml: damaged bytes, and lines of any values."""
    _, text = submission(folder / "material")
    case = folder / "fuzzed"
    case.mkdir(exist_ok=True)
    if draw(st.booleans()):
        lines = text.splitlines()
        place = draw(st.integers(0, len(lines) - 1))
        lines[place] = lines[place].partition(b"=")[0] + b"=" + draw(st.text(max_size=20)).encode()
        text = b"\n".join(lines)
    else:
        text = mutated(draw, text)
    (case / "submission.toml").write_bytes(text)
    load_submission(case)


def image_file(draw: Draw, folder: Path) -> None:
    """Decoders: damaged PNG, JPEG, TIFF and BMP, under their own suffix or another."""
    kind = draw(st.sampled_from(sorted(pictures())))
    suffix = kind if draw(st.integers(0, 9)) else draw(st.sampled_from(sorted(pictures())))
    path = folder / f"case.{suffix}"
    path.write_bytes(mutated(draw, draw(st.sampled_from(pictures()[kind]))))
    try:
        image_size(path)
    finally:
        reader = draw(st.sampled_from((read_image, read_mask)))
        pixels = reader(path)
        assert pixels.ndim == (3 if reader is read_image else 2)


NAMES = st.sampled_from(
    ("000.png", "001.png", "000_mask.png", "000.bmp", "x.csv", "a b.JPG", ".hidden.png", "ü.tif", "0.txt", "000.json")
)
FOLDERS = st.sampled_from(
    [
        *("", "train", "train/good", "test", "test/good", "test/bad", "ground_truth", "ground_truth/bad", "label"),
        *("Data/Images", "Data/Masks", "Data/Images/Normal", "Data/Images/Anomaly", "split_csv", "train/ok", "images"),
    ]
)
HOMES = st.sampled_from(("bottle", "candle", "01", "02", "bracket_black", "audiojack", "can", "breakfast_box", ""))


def dataset_tree(draw: Draw, folder: Path) -> None:
    """Indexers: trees of right, wrong, empty and damaged files below the folder names that layouts know."""
    name = draw(st.sampled_from([*sorted(set(DATASETS.names()) - {"procedural", "digits"})]))
    root = folder / f"tree-{draw(st.integers(0, 2**48))}" / name
    for _ in range(draw(st.integers(0, 5))):
        path = root / draw(HOMES) / draw(FOLDERS) / draw(NAMES)
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = pictures()[draw(st.sampled_from(sorted(pictures())))][0]
        path.write_bytes(sound if draw(st.booleans()) else mutated(draw, sound))
    root.mkdir(parents=True, exist_ok=True)
    found = (Folder if name == "folder" else DATASETS.get(name))(root)
    manifest = found.index()
    for sample in manifest.samples[:2]:
        found.image(sample)
        found.mask(sample)


TARGETS: dict[str, Callable[[Draw, Path], None]] = {
    "results schema": result_file,
    "evidence reader": evidence_file,
    "submission.toml": submission_file,
    "images": image_file,
    "data set indexers": dataset_tree,
}
