"""What a plan consists of: jobs, passes and cells. Plain data, so that any executor can carry it to any process.

A *probe* is an experiment beside the grid: a pass that fills one cell of its own kind.

A *job* is one (data set, category). It holds *passes*: one source of images (clean, noise, an attack on one
target) streamed in fixed chunks, whose images are scored by every *cell* that wants them. Passes are
unstored; cells are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmark.types import Sample
from benchmark.types.precision import Precision

REDUCED = "reduced precision"
"""Restriction that a result carries then: its scores are those of one kind of processor, so it is never ranked."""
LEAVE_ONE_OUT = "leave_one_out"
PROBES: Mapping[str, int] = {
    LEAVE_ONE_OUT: 1,
    "support_poison": 1,
    "universal": 1,
    "continuous_l2": 1,
    "continuous_linf": 1,
    "smoothing": 1,
}
"""Experiments beside the grid (`benchmark.execution.probes`) with the version that their cells depend on."""


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """How to build a detector in any process: registry name, backbone and options."""

    name: str
    backbone: str | None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """``name@backbone``, as in results."""
        return f"{self.name}@{self.backbone}" if self.backbone else self.name

    @property
    def variant(self) -> str:
        """The label with the options that differ from the detector's own: where results lie."""
        return "+".join([self.label, *(f"{name}={value}" for name, value in self.options)])


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """One support set of the job's category."""

    shots: int
    seed: int
    support: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class CellSpec:
    """One score vector to compute; ``probe`` is the name and the value of an experiment beside the grid."""

    detector: DetectorSpec
    shots: int
    seed: int
    attack: str | None
    budget: Fraction | None
    samples: tuple[Sample, ...]
    pixels: bool
    key: Mapping[str, Any]
    address: str
    probe: tuple[str, float] | None = None

    @property
    def condition(self) -> str | None:
        """Name of the attack or the probe; None = the query images as they are."""
        return self.attack if self.probe is None else self.probe[0]

    @property
    def is_clean(self) -> bool:
        """The query images as they are."""
        return self.condition is None


@dataclass(frozen=True, slots=True)
class PassSpec:
    """One stream of images and the cells it feeds.

    Attributes:
        attack: Attack that makes the images; None = clean.
        source: Detector under attack (white box, black box, or the source of a transfer); None where the images do not
            depend on a detector's score.
        extractor_of: For surrogate attacks, any detector with the backbone whose features the head reads.
        shots, seed: Episode that the attacked detector or head was fitted on; None where it does not matter.
        budgets: Budgets in grey levels, rising; (0,) for clean.
        cells: Everything that scores these images.
        probe: Name and value of the experiment that fills the only cell, instead of scoring a stream of images.
    """

    attack: str | None
    source: DetectorSpec | None
    extractor_of: DetectorSpec | None
    shots: int | None
    seed: int | None
    budgets: tuple[Fraction, ...]
    samples: tuple[Sample, ...]
    cells: tuple[CellSpec, ...]
    probe: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """All missing passes of one category.

    Attributes:
        query: The category's whole query set, in manifest order.
        clean: Address of the clean cell of every (detector label, shots, seed), for map ranges and flag calibrators.
    """

    dataset: str
    root: Path | None
    category: str
    class_name: str
    canonical_edge: int
    chunk_size: int
    device: str
    precision: Precision
    query: tuple[Sample, ...]
    episodes: tuple[EpisodeSpec, ...]
    passes: tuple[PassSpec, ...]
    clean: Mapping[tuple[str, int, int], str]
