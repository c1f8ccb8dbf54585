"""The result file: one strict JSON per detector x track x data set.

Frozen pydantic models; unknown keys, NaN, infinity, wrong types and duplicate keys are refused. Everything
but the top-level ``timing`` object is a function of the evidence and of what was run: two runs on one machine
give the same bytes outside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from benchmark.errors import ResultError
from benchmark.results.rows import (
    Count,
    Https,
    Name,
    Real,
    Scalar,
    Scored,
    Sha256,
    Strict,
    Text,
)
from benchmark.storage.jsonio import atomic_write, canonical_json, strict_loads

SCHEMA_VERSION = 2
PROTOCOL_VERSION = 1
MAX_RESULT_BYTES = 10_000_000
MAX_EVIDENCE_BYTES = 10_000_000


class TrackRef(Strict):
    """The fixed grid that was run. ``complete`` is False when options left out a part of it: listed, never ranked."""

    name: Name
    version: Count
    protocol: Count
    canonical_edge: Count
    complete: bool
    restrictions: tuple[Text, ...] = ()


class Flags(Strict):
    """Capabilities and conditions that the board filters by (see `benchmark.types.Card`)."""

    zero_shot: bool
    few_shot: bool
    transductive: bool
    auxiliary_labels: bool
    differentiable: bool
    deterministic: bool
    has_map: bool
    random_weights: bool


class DetectorRef(Strict):
    """Which detector, exactly."""

    name: Name
    family: Name
    backbone: Name | None
    version: Count
    title: Text
    summary: Text
    paper: Text
    url: Https
    licence: Text
    training_data: Text
    config: dict[Name, Scalar | tuple[Scalar, ...]]
    weights: dict[Text, Sha256]
    flags: Flags


class SupportRef(Strict):
    """The published support set of one episode."""

    shots: Count
    seed: Count
    sample_ids: tuple[Text, ...]
    digest: Sha256


class CategoryRef(Strict):
    """One category. ``empty_masks``: anomalous images without a mask; ``shortcuts``: see `benchmark.data.shortcuts`."""

    name: Name
    normals: Count
    anomalies: Count
    empty_masks: Count
    supports: tuple[SupportRef, ...]
    shortcuts: dict[Name, Real] = Field(default_factory=dict)
    warnings: tuple[Text, ...] = ()


class DatasetRef(Strict):
    """Which data, exactly."""

    name: Name
    version: Count
    title: Text
    licence: Text
    url: Https
    manifest_digest: Sha256
    has_normals: bool
    has_masks: bool
    redistributable: bool
    categories: tuple[CategoryRef, ...]


class AttackRef(Strict):
    """One attack of the grid with its measured cost per image (counted passes, not seconds)."""

    name: Name
    version: Count
    knowledge: Literal["none", "surrogate", "white_box", "black_box", "transfer"]
    norm: Literal["Linf", "L2"]
    full_coverage: bool
    config: dict[Name, Scalar | tuple[Scalar, ...]]
    forward_passes: Real
    backward_passes: Real


class EvidenceFile(Strict):
    """A parquet file in the evidence folder, named relative to it."""

    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\.parquet$")]
    kind: Literal["scores", "pixels", "probes"]
    sha256: Sha256
    rows: Count


class Check(Strict):
    """One attack-validity check (PROTOCOL.md section 4) with its finding in words."""

    name: Name
    status: Literal["pass", "amber", "red", "skipped"]
    detail: Text


class RunFacts(Strict):
    """What the validity checks read beside the evidence; measured by the run, tested by the spot re-run.

    ``repeat_error``: see `benchmark.scoring.validity`; None = not measured. ``dead``: white-box attack -> `dead_share`.
    """

    repeat_error: Annotated[float, Field(ge=0, le=1e12)] | None = None
    dead: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)


class Validity(Strict):
    """The badge: red is listed but not ranked. It follows from the evidence, the flags and ``facts``."""

    badge: Literal["green", "amber", "red"]
    checks: tuple[Check, ...]
    facts: RunFacts = RunFacts()


class Failure(Strict):
    """A part of the grid without values, with the reason. ``not_applicable`` parts do not make a result incomplete."""

    kind: Literal["failed", "not_applicable"] = "failed"
    category: Name
    shots: Count | None = None
    seed: Count | None = None
    attack: Name | None = None
    reason: Text


class Environment(Strict):
    """Where it ran; recorded because scores may differ in the last bits elsewhere."""

    python: Text
    platform: Text
    device: Text
    threads: Count
    precision: Text
    chunk_size: Count
    packages: dict[Name, Text]


class Code(Strict):
    """Which program ran. ``dirty`` is True when the working tree differed from the commit."""

    version: Text
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None
    dirty: bool | None


class Timing(Strict):
    """Every measured time and date of the file."""

    started: Text
    finished: Text
    wall_seconds: Real
    seconds_per_image: Real | None
    peak_memory_bytes: Count
    passes: dict[Name, Real] = Field(default_factory=dict)


class RunResult(Strict):
    """The whole file."""

    schema_version: Literal[2]
    track: TrackRef
    detector: DetectorRef
    dataset: DatasetRef
    attacks: tuple[AttackRef, ...]
    metrics: dict[Name, Count]
    scored: Scored
    evidence: tuple[EvidenceFile, ...]
    validity: Validity
    failures: tuple[Failure, ...]
    environment: Environment
    code: Code
    timing: Timing

    @property
    def stem(self) -> str:
        """File name without suffix: ``<track>-v<N>__<dataset>``."""
        return f"{self.track.name}-v{self.track.version}__{self.dataset.name}"


def dump_result(result: RunResult) -> str:
    """JSON text: one line per value row, so that diffs in a pull request read well; defaults are left out of rows."""
    return "".join(_lines(result.model_dump(mode="json")))


_ROWS = frozenset({"values", "probes", "replicates", "reliability", "entropy", "attacks", "failures"})


def _lines(data: dict[str, Any], indent: str = "") -> Iterator[str]:
    yield "{\n"
    keys = sorted(data)
    for position, key in enumerate(keys):
        comma = "," if position < len(keys) - 1 else ""
        yield f'{indent} "{key}": '
        if key == "scored":
            yield from _lines(data[key], f"{indent} ")
        elif key in _ROWS and data[key]:
            rows = f",\n{indent}  ".join(canonical_json(_without_null(key, row)) for row in data[key])
            yield f"[\n{indent}  {rows}\n{indent} ]"
        else:
            yield canonical_json(data[key])
        yield f"{comma}\n"
    yield f"{indent}}}" if indent else "}\n"


def _without_null(key: str, row: dict[str, Any]) -> dict[str, Any]:
    keep = {"value"} if key in ("values", "probes") else set()
    return {name: value for name, value in row.items() if value is not None or name in keep}


def parse_result(text: str | bytes, *, source: str) -> RunResult:
    """Validate result JSON.

    Raises:
        ResultError: One line with the source, the first offending field and what is wrong with it.
    """
    if len(text) > MAX_RESULT_BYTES:
        raise ResultError(f"{source}: {len(text):,} bytes; a result may have {MAX_RESULT_BYTES:,}")
    strict_loads(text, source=source)
    try:
        return RunResult.model_validate_json(text)
    except ValidationError as error:
        raise ResultError(f"{source}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return re.sub(r"\s+", " ", f"{where}: {first['msg']}{more}")


def load_result(path: Path) -> RunResult:
    """Read and validate a result file.

    Raises:
        ResultError: If it is missing, too large or invalid.
    """
    try:
        if path.stat().st_size > MAX_RESULT_BYTES:
            raise ResultError(f"{path}: {path.stat().st_size:,} bytes; a result may have {MAX_RESULT_BYTES:,}")
        return parse_result(path.read_bytes(), source=str(path))
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror}") from error


def save_result(result: RunResult, path: Path) -> None:
    """Write a result atomically."""
    atomic_write(path, dump_result(result))
