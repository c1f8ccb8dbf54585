"""What the checks look at: one submission folder, filled in as earlier checks pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmark.results.schema import RunResult
from benchmark.results.submission import Submission
from benchmark.scoring.score import Rules
from benchmark.tracks import Track, load_track

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd


@dataclass(frozen=True)
class Entry:
    """One result with its evidence."""

    path: Path
    result: RunResult
    scores: pd.DataFrame
    pixels: pd.DataFrame | None
    probes: pd.DataFrame | None = None

    @cached_property
    def track(self) -> Track:
        """The track it claims.

        Raises:
            UnknownNameError: If there is none of that name.
        """
        return load_track(self.result.track.name)

    @cached_property
    def episodes(self) -> dict[tuple[str, int, int], pd.DataFrame]:
        """Evidence rows by category, shots and seed."""
        groups = self.scores.groupby(["category", "shots", "seed"], observed=True)
        keyed = cast("Iterable[tuple[tuple[str, int, int], pd.DataFrame]]", groups)
        return {(category, int(shots), int(seed)): rows for (category, shots, seed), rows in keyed}

    @property
    def rules(self) -> Rules:
        """Scoring rules as the project's own track file gives them."""
        return Rules(
            dataset=self.result.dataset.name,
            ranked_shots=self.track.ranked_shots,
            ranked_budgets=self.track.ranked_budgets,
            full_coverage=frozenset(a.name for a in self.result.attacks if a.full_coverage),
            has_normals=self.result.dataset.has_normals,
        )


@dataclass
class Subject:
    """A submission under examination.

    Attributes:
        folder: submissions/<slug>.
        data_root: Where data sets that are read from disk lie, if they are here.
        submission: submission.toml, once it was read.
        entries: Results with evidence, once they were read.
    """

    folder: Path
    data_root: Path | None = None
    submission: Submission | None = None
    entries: list[Entry] = field(default_factory=list)

    @property
    def code(self) -> Path | None:
        """The folder's detector.py, if it has one."""
        path = self.folder / "detector.py"
        return path if path.exists() else None

    def siblings(self) -> list[Path]:
        """The other submissions beside it, sorted."""
        folders = (p for p in self.folder.resolve().parent.iterdir() if p.is_dir() and not p.is_symlink())
        return sorted(p for p in folders if p.name != self.folder.name and (p / "submission.toml").is_file())
