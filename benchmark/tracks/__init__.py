"""Tracks: the fixed grids, versioned data files beside this module. Anything that changes a file bumps its
``version``.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmark.errors import UnknownNameError, UsageError
from benchmark.types.condition import parse_budget

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Positive = Annotated[int, Field(ge=1)]


def _budget(written: object) -> Fraction:
    if isinstance(written, Fraction):
        return written
    if not isinstance(written, str):
        raise ValueError(f'budget {written!r} is not text; write "1/256" or "4"')
    try:
        return parse_budget(written)
    except UsageError as error:
        raise ValueError(str(error)) from None


Budget = Annotated[Fraction, BeforeValidator(_budget)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TrackDataset(_Data):
    """A data set of the grid; ``categories`` empty = all; ``limit`` = query images per class and category."""

    name: str
    categories: tuple[str, ...] = ()
    limit: Positive | None = None


class Tier(_Data):
    """A block of the grid: attacks x shots x seeds x budgets.

    ``subset_per_class`` limits it to that many hash-chosen images of each class in a category, ``subset_categories`` to
    that many hash-chosen categories; both None = all query images.
    """

    name: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    attacks: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    subset_per_class: Positive | None = None
    subset_categories: Positive | None = None


class Probe(_Data):
    """An experiment beside the grid, with a table of its own and no rank (see `benchmark.execution.probes`).

    ``values`` are its budgets, radii or noise levels; (0,) where it has none. Subsets are those of a `Tier`.
    """

    name: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    values: tuple[float, ...] = (0.0,)
    subset_per_class: Positive | None = None
    subset_categories: Positive | None = None


class Track(_Data):
    """A fixed grid. See PROTOCOL.md section 3 for the tiers and docs/protocol.md for the words."""

    name: str
    version: Positive
    title: str
    summary: str
    canonical_edge: Positive
    chunk_size: Positive
    backbone: str
    ranked_shots: int
    ranked_budgets: tuple[Budget, ...]
    detectors: tuple[str, ...]
    datasets: tuple[TrackDataset, ...]
    tiers: tuple[Tier, ...]
    probes: tuple[Probe, ...] = ()


def track_names() -> tuple[str, ...]:
    """All tracks, sorted."""
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def load_track(name: str) -> Track:
    """Load a track by name.

    Raises:
        UnknownNameError: If there is no such track.
        UsageError: If the file is malformed.
    """
    if name not in track_names():
        raise UnknownNameError("track", name, track_names(), "List them with `trustad list tracks`.")
    text = (files(__name__) / f"{name}.toml").read_text("utf-8")
    try:
        return Track.model_validate_json(_as_json(tomllib.loads(text)))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"track file {name}.toml is malformed: {error}") from error


def _as_json(data: dict[str, object]) -> str:
    from benchmark.storage.jsonio import canonical_json

    return canonical_json(data)
