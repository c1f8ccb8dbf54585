"""Evidence: the per-image scores (and pixel counts) from which every metric of a result is recomputed.

`scores` files: one row per image and condition, columns `SCORE_COLUMNS`, sorted by the key. `pixels` files:
one row per image, condition and region (-1 = normal pixels), as sparse histograms on 1,024 bins of [low,
high]. `probes` files: one row per image and draw of an experiment beside the grid (`benchmark.execution.probes`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.errors import ResultError
from benchmark.storage.jsonio import atomic_write_with

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

KEY = ["dataset", "category", "sample_id", "detector", "shots", "seed", "attack", "goal", "budget"]
SCORE_COLUMNS = [*KEY[:3], "label", *KEY[3:], "score"]
PIXEL_COLUMNS = [*KEY, "region", "low", "high", "bins", "counts"]
PROBE_KEY = [*KEY[:6], "probe", "value", "draw"]
PROBE_COLUMNS = [*SCORE_COLUMNS[:7], "probe", "value", "draw", "score"]
MAX_ROWS = 5_000_000
PIXEL_BINS = 1024
_TEXT = {"dataset", "category", "sample_id", "detector", "attack", "goal", "budget", "probe"}


def _schema(columns: Iterable[str]) -> pa.Schema:
    import pyarrow as pa

    types: dict[str, Any] = {name: pa.string() for name in _TEXT}
    types |= {"label": pa.int8(), "shots": pa.int32(), "seed": pa.int32(), "score": pa.float32()}
    types |= {
        "value": pa.float64(),
        "draw": pa.int32(),
        "region": pa.int32(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
    types |= {"bins": pa.list_(pa.int16()), "counts": pa.list_(pa.int32())}
    nullable = {"attack", "goal", "budget"}
    return pa.schema([pa.field(name, types[name], nullable=name in nullable) for name in columns])


def write_evidence(path: Path, frame: pd.DataFrame, columns: list[str]) -> None:
    """Write rows sorted by their key: equal rows give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    order = [name for name in columns if name in {*KEY, *PROBE_KEY, "region"}]
    tidy = frame.sort_values(order, na_position="first", kind="stable")[columns]
    table = pa.Table.from_pandas(tidy, schema=_schema(columns), preserve_index=False).replace_schema_metadata(None)
    atomic_write_with(path, lambda temp: pq.write_table(table, temp, compression="zstd", version="2.6"))


def read_scores(path: Path) -> pd.DataFrame:
    """Read and check a `scores` file.

    Raises:
        ResultError: Naming the file and what is wrong: columns, types, size, duplicate keys, labels or scores.
    """
    frame = _read(path, SCORE_COLUMNS)
    _check_scores(path, frame)
    _check_keys(path, frame, KEY)
    attacked = frame["attack"].notna()
    if not (attacked == frame["goal"].notna()).all() or not (attacked == frame["budget"].notna()).all():
        raise ResultError(f"{path.name}: attack, goal and budget must be null together (clean) or given together")
    return frame


def read_probes(path: Path) -> pd.DataFrame:
    """Read and check a `probes` file.

    Raises:
        ResultError: As `read_scores`.
    """
    frame = _read(path, PROBE_COLUMNS)
    _check_scores(path, frame)
    _check_keys(path, frame, PROBE_KEY)
    return frame


def _check_scores(path: Path, frame: pd.DataFrame) -> None:
    if not np.isfinite(frame["score"]).all():
        raise ResultError(f"{path.name}: scores that are not finite")
    if not frame["label"].isin([0, 1]).all():
        raise ResultError(f"{path.name}: labels other than 0 and 1")


def read_pixels(path: Path) -> pd.DataFrame:
    """Read and check a `pixels` file.

    Raises:
        ResultError: As `read_scores`; also for bins outside 0..1023 or counts that are not positive.
    """
    frame = _read(path, PIXEL_COLUMNS)
    _check_keys(path, frame, [*KEY, "region"])
    for bins, counts in zip(frame["bins"], frame["counts"], strict=True):
        if len(bins) != len(counts) or (len(bins) and (min(bins) < 0 or max(bins) >= PIXEL_BINS or min(counts) < 1)):
            raise ResultError(f"{path.name}: a histogram whose bins and counts do not fit together")
    if not (np.isfinite(frame["low"]) & np.isfinite(frame["high"]) & (frame["low"] <= frame["high"])).all():
        raise ResultError(f"{path.name}: a bin range that is not low <= high")
    return frame


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True)
        if file.metadata.num_rows > MAX_ROWS:
            raise ResultError(f"{path.name}: {file.metadata.num_rows:,} rows; at most {MAX_ROWS:,} are allowed")
        if file.schema_arrow.remove_metadata() != _schema(columns):
            raise ResultError(f"{path.name}: columns or types differ from {', '.join(columns)}")
        frame: pd.DataFrame = file.read().to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ResultError(f"{path.name}: not a readable parquet file ({str(error).splitlines()[0]})") from error
    return frame


def _check_keys(path: Path, frame: pd.DataFrame, key: list[str]) -> None:
    twice = frame.duplicated(key)
    if twice.any():
        raise ResultError(f"{path.name}: {int(twice.sum())} rows repeat the key of another row")
    empty = [name for name in key if name not in {"attack", "goal", "budget"} and frame[name].isna().any()]
    if empty:
        raise ResultError(f"{path.name}: null in column {empty[0]}")


def sparse_histogram(counts: NDArray[np.int32]) -> tuple[list[int], list[int]]:
    """Bins that hold pixels, and how many."""
    bins = np.flatnonzero(counts)
    return bins.tolist(), counts[bins].tolist()


def dense_histograms(rows: pd.DataFrame) -> NDArray[np.int32]:
    """int32 [rows, 1024] of sparse rows."""
    dense = np.zeros((len(rows), PIXEL_BINS), np.int32)
    for place, (bins, counts) in enumerate(zip(rows["bins"], rows["counts"], strict=True)):
        dense[place, np.asarray(bins, np.int64)] = counts
    return dense
