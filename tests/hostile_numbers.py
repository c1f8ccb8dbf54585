"""Attacks by JSON, evidence and numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.results.evidence import SCORE_COLUMNS, write_evidence
from hostile import attack, simple
from submissions import (
    STEM,
    edit_pixels,
    edit_result,
    edit_scores,
    edit_text,
    forge,
    pixels_path,
    result_path,
    scores_path,
    seal,
)

Change = Callable[[dict[str, Any]], object]


def result(change: Change) -> Callable[[Path], None]:
    """An attack that edits the result alone."""
    return lambda folder: edit_result(folder, lambda d: change(d) and None)


def scored(change: Change) -> Callable[[Path], None]:
    """An attack that edits the numbers of the result alone."""
    return result(lambda d: change(d["scored"]))


def number(text: str) -> Callable[[Path], None]:
    """An attack that writes something else for the first value."""

    def apply(folder: Path) -> None:
        edit_result(folder, lambda d: d["scored"]["values"][0].update(value=0.123456))
        edit_text(result_path(folder), "0.123456", text)

    return apply


def scores(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    """An attack that edits the evidence and its digest."""
    return lambda folder: edit_scores(folder, change)


def forged(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    """An attack that edits the evidence and recomputes everything."""
    return lambda folder: forge(folder, change)


def headline(data: dict[str, Any]) -> dict[str, Any]:
    """The clean macro AUROC."""
    return next(v for v in data["scored"]["values"] if v["metric"] == "auroc" and "category" not in v)


simple(
    "results",
    {
        "an unknown key in a result": ("Extra", result(lambda d: d.update(rank=1))),
        "NaN for a number": ("NaN", number("NaN")),
        "Infinity for a number": ("Infinity", number("Infinity")),
        "1e999, which parses as infinity": ("values.0.value", number("1e999")),
        "1e300, finite and absurd": ("values.0.value", number("1e300")),
        "an integer of 5,000 digits": ("JSON", number("9" * 5000)),
        "a number as text": ("values.0.value", number('"0.99"')),
        "true for a number": ("values.0.value", number("true")),
        "JSON nested 100,000 deep": ("JSON", number("[" * 100_000)),
        "JSON that is not UTF-8": ("JSON", lambda f: result_path(f).write_bytes(b'{"a": "\xff"}')),
        "a budget of 2/256": ("budget", scored(lambda s: s["values"][-1].update(budget="2/256"))),
        "a value without value and reason": (
            "scored.values.0",
            scored(lambda s: s["values"][0].update(value=None)),
        ),
        "one value given twice": (
            "two values share",
            scored(lambda s: s["values"].append(s["values"][0])),
        ),
        "evidence outside the folder": ("file", result(lambda d: d["evidence"][0].update(file="../../x.parquet"))),
        "no evidence at all": ("no scores file", result(lambda d: d.update(evidence=[]))),
        "evidence that is missing": ("is missing", lambda f: scores_path(f).unlink()),
        "evidence that belongs to no result": (
            "belongs to no result",
            lambda f: shutil.copy(scores_path(f), f / "evidence" / "demo-v1__digits.parquet") and None,
        ),
        "a number of rows that is not true": ("rows", result(lambda d: d["evidence"][0].update(rows=7))),
        "a score that is null": ("columns or types", lambda f: _parquet(f, _with_null(f))),
        "a score that is NaN": ("not finite", lambda f: _parquet(f, _with_nan(f))),
        "a score that is infinite": ("not finite", scores(lambda s: s.assign(score=np.float32("inf")))),
        "a label of 2": ("labels other than", scores(lambda s: s.assign(label=np.int8(2)))),
        "rows given twice": ("repeat the key", scores(lambda s: pd.concat([s, s.head(3)]))),
        "an attacked row without a goal": (
            "null together",
            scores(lambda s: s.assign(goal=None)),
        ),
    },
)


@attack("evidence with one bit flipped", "results", "SHA-256")
def _bit(folder: Path) -> None:
    path = scores_path(folder)
    frame = pd.read_parquet(path)
    values = frame["score"].to_numpy(np.float32).copy()
    values.view(np.uint32)[0] ^= 1
    write_evidence(path, frame.assign(score=values), SCORE_COLUMNS)


@attack("a second detector's results in one submission", "results", "results of 2 detectors")
def _two(folder: Path) -> None:
    digits = folder / "results" / "demo-v1__digits.json"
    data = json.loads(result_path(folder).read_text())
    data["detector"] |= {"name": "another", "family": "another"}
    data["dataset"]["name"] = "digits"
    for file, path in zip(data["evidence"], (scores_path(folder), pixels_path(folder)), strict=True):
        file["file"] = file["file"].replace(STEM, "demo-v1__digits")
        shutil.copy(path, path.with_name(file["file"]))
    digits.write_text(json.dumps(data))


def _another_track(folder: Path) -> None:
    edit_result(folder, lambda d: d["track"].update(name="easy"))
    for place, path in enumerate((scores_path(folder), pixels_path(folder))):
        name = path.name.replace("demo", "easy")
        edit_result(folder, lambda d, i=place, new=name: d["evidence"][i].update(file=new))
        path.rename(path.with_name(name))
    result_path(folder).rename(result_path(folder).with_name("easy-v1__procedural.json"))


def _with_nan(folder: Path) -> pa.Table:
    """Floating-point NaN, which parquet does not count as null."""
    table = pq.read_table(scores_path(folder))
    values = table["score"].to_numpy().copy()
    values[0] = np.nan
    place = table.schema.get_field_index("score")
    return table.set_column(place, table.schema.field("score"), pa.array(values, from_pandas=False))


def _with_null(folder: Path) -> pa.Table:
    table = pq.read_table(scores_path(folder))
    values = pa.array([None, *table["score"].to_pylist()[1:]], pa.float32())
    return table.set_column(table.schema.get_field_index("score"), pa.field("score", pa.float32()), values)


def _parquet(folder: Path, table: pa.Table) -> None:
    pq.write_table(table, scores_path(folder), compression="zstd", use_dictionary=True)
    seal(folder)


@attack("a parquet bomb: one text of 8 MB, a million times", "evidence files", "text of more than 300 bytes")
def _text_bomb(folder: Path) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, np.int32)), pa.array(["a" * 8_000_000]))
    pq.write_table(pa.table({"dataset": words}), scores_path(folder), compression="zstd")


@attack("a parquet bomb: 20 million rows in a few kilobytes", "evidence files", "rows")
def _row_bomb(folder: Path) -> None:
    pq.write_table(pa.table({"score": np.zeros(20_000_000, np.float32)}), scores_path(folder), compression="zstd")


@attack("a pickle named .parquet", "evidence files", "not readable as parquet")
def _pickle(folder: Path) -> None:
    from hostile_files import Payload

    pd.to_pickle(Payload(), scores_path(folder))


@attack("parquet with a broken footer", "evidence files", "not readable as parquet")
def _footer(folder: Path) -> None:
    data = bytearray(scores_path(folder).read_bytes())
    data[-60:-20] = b"\xff" * 40
    scores_path(folder).write_bytes(bytes(data))


@attack("a column too many in the evidence", "results", "columns or types")
def _column(folder: Path) -> None:
    _parquet(folder, pa.Table.from_pandas(pd.read_parquet(scores_path(folder)).assign(note="x")))


simple(
    "known parts",
    {
        "a track that does not exist": ("unknown track", _another_track),
        "another version of the protocol": ("protocol 7", result(lambda d: d["track"].update(protocol=7))),
        "another canonical edge": ("canonical edge", result(lambda d: d["track"].update(canonical_edge=56))),
        "data said to be redistributable under another licence": (
            "licence",
            result(lambda d: d["dataset"].update(licence="public domain")),
        ),
        "an attack with weaker settings under the same name": (
            "configuration",
            result(lambda d: next(a for a in d["attacks"] if a["name"] == "pgd_score_10")["config"].update(steps=1)),
        ),
        "noise passed off as a white box": (
            "knowledge",
            result(lambda d: next(a for a in d["attacks"] if a["name"] == "sign_noise").update(knowledge="white_box")),
        ),
        "an attack nobody knows": ("attack 'kind'", result(lambda d: d["attacks"][0].update(name="kind"))),
        "an old metric version": ("trustad rescore", result(lambda d: d["metrics"].update(auroc=0))),
        "the name of a registered detector": (
            "takes the name",
            lambda f: (
                edit_result(f, lambda d: d["detector"].update(name="knn", family="knn")),
                edit_scores(f, lambda s: s.assign(detector="knn")),
            ),
        ),
    },
)

simple(
    "provenance",
    {
        "negative times": ("negative times", result(lambda d: d["timing"].update(wall_seconds=-1.0))),
        "a run that ended before it began": (
            "finished before",
            result(lambda d: d["timing"].update(finished="2020-01-01T00:00:00+00:00")),
        ),
        "a date that is none": ("no UTC time", result(lambda d: d["timing"].update(started="yesterday"))),
        "a white box without a forward pass": (
            "without a single forward pass",
            result(lambda d: next(a for a in d["attacks"] if a["name"] == "pgd_score_10").update(forward_passes=0.0)),
        ),
        "no package versions": ("package versions", result(lambda d: d["environment"].update(packages={}))),
    },
)


def _swap_one(s: pd.DataFrame) -> pd.DataFrame:
    first = s.index[s["attack"] == "pgd_score_10"][0]
    return s.assign(label=s["label"].where(s.index != first, 1 - s["label"]))


def _swap_classes(s: pd.DataFrame) -> pd.DataFrame:
    good = s["sample_id"] == s[s["label"] == 0]["sample_id"].iloc[0]
    bad = s["sample_id"] == s[s["label"] == 1]["sample_id"].iloc[0]
    return s.assign(label=s["label"].where(~(good | bad), 1 - s["label"]))


def _from_nowhere(folder: Path) -> None:
    def rename(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(sample_id=frame["sample_id"].replace("weave/test/good/000.png", "weave/test/good/999.png"))

    edit_pixels(folder, rename)
    forge(folder, rename)


def _drop_image(s: pd.DataFrame) -> pd.DataFrame:
    return s[s["sample_id"] != s["sample_id"].iloc[0]]


simple(
    "rows",
    {
        "one label swapped in one condition": ("normal in one row", scores(_swap_one)),
        "every image called anomalous": ("the result says", scores(lambda s: s.assign(label=np.int8(1)))),
        "rows of another detector": ("another detector", scores(lambda s: s.assign(detector="patchcore@embedded"))),
        "rows of another data set": ("another detector or data set", scores(lambda s: s.assign(dataset="mvtec_ad"))),
        "evasion handed in as two-sided": (
            "goals other than",
            scores(lambda s: s.assign(goal=s["goal"].where(s["goal"].isna(), "evasion"))),
        ),
        "the hardest image left out everywhere": ("the result says", scores(_drop_image)),
    },
)

simple(
    "grid",
    {
        "the strongest attack left out": (
            "is missing, and no failure explains it",
            lambda f: (
                edit_result(f, lambda d: d["track"].update(restrictions=[], complete=True)),
                forge(f, lambda s: s[s["attack"] != "pgd_score_10"]),
            ),
        ),
        "an attack at a budget of its own choice": (
            "not part of track",
            scores(lambda s: s.assign(budget=s["budget"].replace("8", "1"))),
        ),
        "a seed of its own choice": ("not part of track", scores(lambda s: s.assign(seed=np.int32(7)))),
        "a hard image left out under attack only": (
            "images of",
            forged(lambda s: s.drop(s.index[s["attack"] == "pgd_score_10"][0])),
        ),
        "a restricted run that calls itself complete": (
            "complete is True",
            result(lambda d: d["track"].update(complete=True)),
        ),
        "restrictions deleted to be ranked": (
            "is missing, and no failure explains it",
            result(lambda d: d["track"].update(complete=True, restrictions=[])),
        ),
        "the white box excused as not applicable": (
            "applies to this detector",
            result(lambda d: d["failures"].append({**d["failures"][0], "attack": "pgd_score_10"})),
        ),
        "the strongest attack taken out of the worst case": (
            "full_coverage is False",
            lambda f: (
                edit_result(
                    f,
                    lambda d: next(a for a in d["attacks"] if a["name"] == "pgd_score_10").update(full_coverage=False),
                ),
                forge(f, lambda s: s),
            ),
        ),
    },
)

simple(
    "data",
    {
        "labels of two images exchanged throughout": ("has label", forged(_swap_classes)),
        "an image from nowhere": ("is no query image", _from_nowhere),
        "another manifest digest": ("manifest digest", result(lambda d: d["dataset"].update(manifest_digest="0" * 64))),
        "a support set chosen by hand": (
            "another support set",
            result(
                lambda d: d["dataset"]["categories"][0]["supports"][0].update(
                    sample_ids=["weave/train/good/017.png"], digest="1" * 64
                )
            ),
        ),
    },
)

simple(
    "numbers",
    {
        "an AUROC better by 0.000001": (
            "auroc 1: value",
            result(lambda d: headline(d).update(value=headline(d)["value"] - 1e-6)),
        ),
        "a narrower interval": ("low", result(lambda d: headline(d).update(low=headline(d)["low"] + 1e-5))),
        "a robust score of 1": (
            "robust_score",
            scored(lambda s: next(v for v in s["values"] if v["metric"] == "robust_score").update(value=1.0)),
        ),
        "a value left out": ("nothing claimed", result(lambda d: d["scored"]["values"].remove(headline(d)))),
        "a metric that nobody computed": (
            "a row claimed, nothing computed",
            scored(
                lambda s: s["values"].append({"metric": "auroc", "category": "nut", "shots": 1, "value": 1.0, "n": 6})
            ),
        ),
        "a sample size made larger": ("n: ", result(lambda d: headline(d).update(n=1000))),
        "replicates that make it significant": (
            "replicates",
            scored(lambda s: s["replicates"][0].update(values=[0.999] * len(s["replicates"][0]["values"]))),
        ),
        "a prettier reliability diagram": (
            "reliability",
            scored(lambda s: s["reliability"][0]["bins"][0].update(observed=0.5, predicted=0.5)),
        ),
        "a prettier entropy histogram": (
            "entropy",
            scored(lambda s: s["entropy"][0].update(counts=list(reversed(s["entropy"][0]["counts"])))),
        ),
        "evidence made better, old numbers kept": (
            "claimed",
            scores(lambda s: s.assign(score=(s["score"] + s["label"] * 10).astype("float32"))),
        ),
    },
)

simple(
    "validity",
    {
        "a green badge by hand": ("validity badge", result(lambda d: d["validity"].update(badge="green"))),
        "a check that failed said to pass": (
            "validity",
            result(lambda d: [c.update(status="pass") for c in d["validity"]["checks"]]),
        ),
        "a check left out": ("validity", result(lambda d: d["validity"]["checks"].pop(0))),
        "dead gradients left out of the run's facts": (
            "validity gradients",
            result(lambda d: d["validity"]["facts"].update(dead={})),
        ),
        "scores that did not repeat, said to": (
            "validity repeatable",
            result(lambda d: d["validity"]["facts"].update(repeat_error=0.1)),
        ),
    },
)


@attack("another submission's evidence under a new name", "duplicates", "correlate to 1.000000")
def _copied(folder: Path) -> Path:
    return _as_other(folder, lambda s: s)


@attack("another's evidence, scaled, shifted and with noise of 0.1 %", "duplicates", "correlate")
def _scaled(folder: Path) -> Path:
    noise = np.random.default_rng(0)
    return _as_other(
        folder,
        lambda s: s.assign(score=(s["score"] * 3 + 1 + noise.normal(0, 1e-3, len(s)) * s["score"].std()).astype("f4")),
    )


def _as_other(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    edit_text(other / "submission.toml", 'slug = "colours"', 'slug = "other"')
    edit_result(other, lambda d: d["detector"].update(name="other", family="other"))
    edit_pixels(other, lambda s: s.assign(detector="other"))
    forge(other, lambda s: change(s).assign(detector="other"))
    return other
