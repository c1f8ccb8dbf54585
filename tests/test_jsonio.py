"""Canonical JSON, strict parsing and atomic files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.errors import ResultError, StoreError
from benchmark.storage.jsonio import (
    atomic_write,
    atomic_write_with,
    canonical_json,
    digest_file,
    digest_json,
    load_checked,
    save_checked,
    strict_loads,
)


def test_equal_values_give_equal_text() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_json_lacks(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": Infinity}', "not a JSON number"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
    ],
)
def test_strict_loads_names_the_fault(text: str | bytes, words: str) -> None:
    with pytest.raises(ResultError, match=words):
        strict_loads(text, source="file.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic_write(target, "old")

    def broken(temp: Path) -> None:
        temp.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="No space left"):
        atomic_write_with(target, broken)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_digest_file_is_the_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert digest_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_one_changed_letter_in_a_cache_entry_shows(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    save_checked(path, {"files": {"a.png": "abc"}})
    assert load_checked(path) == {"files": {"a.png": "abc"}}
    path.write_text(path.read_text().replace("abc", "abd"))
    with pytest.raises(ResultError, match="digest does not match"):
        load_checked(path)
    path.write_text('{"files": {}}')
    with pytest.raises(ResultError, match="not content with its digest"):
        load_checked(path)
