"""Cells: addressed by content, checked when read, recomputed when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import StoreError
from benchmark.storage.cells import Cell, CellPixels, CellStore, cell_address, run_lock

KEY = {"detector": "x", "budget": 2, "shots": 1}


def cell(key: dict[str, object] = KEY) -> Cell:
    pixels = CellPixels(
        0.5,
        2.5,
        np.array([0, 0], np.int32),
        np.array([-1, 0], np.int32),
        np.arange(2048, dtype=np.int32).reshape(2, 1024),
    )
    return Cell(cell_address(key), key, np.array([0.1, 0.2, 3.0], np.float32), pixels, {"forward": 2.0}, 0.5)


def test_round_trip(tmp_path: Path) -> None:
    store, made = CellStore(tmp_path), cell()
    assert made.address not in store
    store.save(made)
    loaded = store.load(made.address)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.scores, made.scores)
    assert loaded.pixels is not None
    assert made.pixels is not None
    np.testing.assert_array_equal(loaded.pixels.counts, made.pixels.counts)
    assert (loaded.pixels.low, loaded.pixels.high) == (0.5, 2.5)
    assert (loaded.key, loaded.facts, loaded.seconds) == (made.key, made.facts, made.seconds)
    assert list(store.addresses()) == [made.address]


@pytest.mark.parametrize("place", [0, 40, -1, -3000])
def test_one_flipped_bit_makes_a_cell_missing_and_reported(tmp_path: Path, place: int) -> None:
    store, made = CellStore(tmp_path), cell()
    store.save(made)
    path = store.path(made.address)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    assert store.load(made.address) is None
    assert len(store.corrupt) == 1
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 7, 100])
def test_a_truncated_cell_is_missing(tmp_path: Path, size: int) -> None:
    store, made = CellStore(tmp_path), cell()
    store.save(made)
    path = store.path(made.address)
    path.write_bytes(path.read_bytes()[:size])
    assert store.load(made.address) is None


def test_a_cell_under_a_foreign_address_is_refused(tmp_path: Path) -> None:
    store, made = CellStore(tmp_path), cell()
    foreign = replace(made, address=cell_address(KEY | {"shots": 4}))
    store.save(foreign)
    assert store.load(foreign.address) is None
    assert "another address" in store.corrupt[0]


def test_everything_in_the_key_moves_the_address() -> None:
    assert len({cell_address(KEY | {name: "other"}) for name in KEY} | {cell_address(KEY)}) == len(KEY) + 1


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(StoreError, match="another run"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another --out"), run_lock(tmp_path / "file" / "run"):
        pass
