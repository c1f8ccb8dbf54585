"""Beside the attacks on a detector's page: natural corruptions, and the experiments of `benchmark.probes`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmark.result_rows import NO_BUDGET, MetricValue, ProbeValue
from leaderboard.record import Cell, quantum
from leaderboard.words import shots_words

EXPERIMENTS = {
    "support_poison": "one support image poisoned, {:g}/255",
    "universal": "one perturbation a category, {:g}/255",
    "continuous_l2": "white box on float images, L2 radius {:g}",
    "continuous_linf": "white box on float images, {:g}/255",
    "smoothing": "median smoothing, σ = {:g}",
}
METRICS = {
    "auroc": "AUROC, clean",
    "auroc_robust": "AUROC, attacked",
    "smoothed_auroc": "AUROC of the median",
    "certified_auroc": "certified AUROC",
}


@dataclass(frozen=True, slots=True)
class BesideRow:
    """One line: what was done, what was measured, the number."""

    name: str
    metric: str
    cell: Cell


def corruptions(values: Iterable[MetricValue], shots: int) -> Iterator[BesideRow]:
    """Macro means of the AUROC on corrupted images, by corruption and severity."""
    found = [v for v in values if v.epsilon == NO_BUDGET and v.metric == "auroc_robust" and v.goal == "two_sided"]
    for v in sorted((v for v in found if v.shots == shots), key=lambda v: v.attack or ""):
        yield BesideRow((v.attack or "").replace(":", ", "), "AUROC", _cell(v))


def experiments(probes: Iterable[ProbeValue]) -> Iterator[BesideRow]:
    """Macro means of the probes over the categories probed, as stored."""
    for p in probes:
        if p.category is None:
            what = EXPERIMENTS.get(p.probe, f"{p.probe} {{:g}}").format(p.parameter)
            within = "" if p.radius is None else f" within L2 {p.radius:g}"
            yield BesideRow(f"{what}, {shots_words(p.shots)}", METRICS.get(p.metric, p.metric) + within, _cell(p))


def _cell(value: MetricValue | ProbeValue) -> Cell:
    return Cell(quantum(value.value), quantum(value.low), quantum(value.high), value.reason, value.n)
