"""Beside the attacks on a detector's page: natural corruptions, and the experiments of `benchmark.execution.probes`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from benchmark.results.rows import NO_BUDGET, MetricValue, ProbeValue
from leaderboard.record import Cell, quantum
from leaderboard.words import score, shots_words

EXPERIMENTS = {
    "support_poison": "one support image poisoned, {:g} grey levels",
    "universal": "one perturbation for a whole category, {:g} grey levels",
    "continuous_l2": "white box on float images, L2 radius {:g}",
    "continuous_linf": "white box on float images, {:g} grey levels",
    "smoothing": "median of noisy copies, σ = {:g}",
}
SEVERITIES = ("slight", "mild", "moderate", "strong", "severe")


@dataclass(frozen=True, slots=True)
class CorruptionTable:
    """AUROC by corruption and severity; ``mean`` is over all of them, None if one is missing."""

    severities: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    mean: Cell


def corruption_table(values: Iterable[MetricValue], shots: int) -> CorruptionTable:
    """Macro means of the AUROC on corrupted images at a support size."""
    found = {
        tuple((v.attack or "").partition(":")[::2]): cell_of(v)
        for v in values
        if v.budget == NO_BUDGET and v.metric == "auroc_robust" and v.goal == "two_sided" and v.shots == shots
    }
    present = {severity for _, severity in found}
    severities = tuple(s for s in SEVERITIES if s in present) + tuple(sorted(present - set(SEVERITIES)))
    missing = Cell(None, note="not measured")
    rows = tuple(
        (name, tuple(found.get((name, severity), missing) for severity in severities))
        for name in sorted({name for name, _ in found})
    )
    known = [cell.value for cell in found.values() if cell.value is not None]
    complete = bool(found) and len(known) == len(found)
    return CorruptionTable(severities, rows, Cell(round(fmean(known))) if complete else missing)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment: AUROC of its images clean and afterwards, and what is certified in words."""

    name: str
    clean: Cell
    left: Cell
    certified: str
    images: int


def experiments(probes: Iterable[ProbeValue]) -> list[Experiment]:
    """Macro means over the categories probed, one row per experiment, as ordered in the file."""
    whole = [p for p in probes if p.category is None]
    return [
        _experiment(probe, parameter, shots, list(found))
        for (probe, parameter, shots), found in groupby(whole, key=lambda p: (p.probe, p.parameter, p.shots))
    ]


def _experiment(probe: str, parameter: float, shots: int, found: list[ProbeValue]) -> Experiment:
    single = {p.metric: cell_of(p) for p in found if p.radius is None}
    missing = Cell(None, note="not measured")
    left = next((single[m] for m in ("auroc_robust", "smoothed_auroc") if m in single), missing)
    certified = [f"{score(quantum(p.value))} within {p.radius:g}" for p in found if p.radius is not None]
    name = EXPERIMENTS.get(probe, f"{probe.replace('_', ' ')} {{:g}}").format(parameter)
    images = max(p.n for p in found)
    return Experiment(f"{name}; {shots_words(shots)}", single.get("auroc", missing), left, ", ".join(certified), images)


def cell_of(value: MetricValue | ProbeValue | None) -> Cell:
    """A stored value as a cell."""
    if value is None:
        return Cell(None, note="not measured")
    return Cell(quantum(value.value), quantum(value.low), quantum(value.high), value.reason, value.n)
