"""A cost model fitted on the cells of measured runs, and what it says of a large grid. Writes part of docs/scale.md.

    python -m tests.perf.cost_model RUN... [--forward-ms 40] [--record]

RUN are output folders of `trustad run`. Every cell knows how many forward and backward passes per image its attack
spent, and its share of the pass's wall time. For each detector, passes that nobody shares are fitted by

    seconds per image = score + forwards * forward + backwards * backward

with terms >= 0, relative errors weighted equally, on the generated images alone; the digits are the test. The grid is
the few-shot track with 100 such detectors on its four data sets; ``--forward-ms`` is the time of one image through the
track's backbone on one worker, and the fitted ratio of backward to forward carries over.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from benchmark.datasets.published import PUBLISHED
from benchmark.planning.workbench import build_attack
from benchmark.storage.cells import Cell, CellStore
from benchmark.tracks import load_track
from tests.perf.doc_part import write_part

DETECTORS = 100
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Pass:
    """One attack on one detector and data set: means per image and budget."""

    detector: str
    dataset: str
    attack: str
    forwards: float
    backwards: float
    seconds: float

    @property
    def terms(self) -> list[float]:
        return [1.0, self.forwards, self.backwards]


def passes(runs: Sequence[Path]) -> tuple[list[Pass], Cell]:
    """Measured passes that one detector has for itself, and the largest cell."""
    found: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    largest: Cell | None = None
    for store in map(CellStore, runs):
        for cell in filter(None, map(store.load, store.addresses())):
            largest = cell if largest is None or _size(cell) > _size(largest) else largest
            attack = cell.key.get("attack")
            if attack and build_attack(attack["name"]).card.knowledge in ("white_box", "black_box"):
                found[cell.key["detector"]["name"], cell.key["dataset"][0], attack["name"]].append(cell)
    if largest is None:
        raise SystemExit("these folders hold no cells")
    return [_pass(place, cells) for place, cells in sorted(found.items())], largest


def _size(cell: Cell) -> int:
    return cell.scores.nbytes + (cell.pixels.counts.nbytes if cell.pixels else 0)


def _pass(place: tuple[str, str, str], cells: list[Cell]) -> Pass:
    images = sum(cell.scores.size for cell in cells)
    spent = [sum(c.facts[name] * c.scores.size for c in cells) / images for name in ("forward", "backward")]
    return Pass(*place, *spent, sum(cell.seconds for cell in cells) / images)


def fit(measured: Sequence[Pass]) -> np.ndarray:
    """(score, forward, backward) in seconds per image."""
    matrix = np.array([p.terms for p in measured]) / np.array([[p.seconds] for p in measured])
    return np.asarray(nnls(matrix, np.ones(len(measured)))[0])


def errors(measured: Sequence[Pass], terms: np.ndarray) -> np.ndarray:
    """Relative errors of the prediction."""
    return np.array([float(np.dot(p.terms, terms)) / p.seconds - 1 for p in measured])


def per_image(forward: float, ratio: float) -> tuple[float, float]:
    """Seconds for one image of the few-shot grid: of each detector for itself, and once for all of a backbone."""
    track = load_track("few-shot")
    own = shared = 0.0
    for tier in track.tiers:
        episodes, subset = len(tier.shots) * len(tier.seeds), tier.subset_per_class is not None
        for name in tier.attacks if not subset else ():
            attack, budgets = build_attack(name), len(tier.budgets)
            steps = float(attack.config.get("steps", 1))  # type: ignore[arg-type]
            if attack.card.knowledge in ("white_box", "black_box", "transfer"):
                cost = episodes * budgets * ((steps + 2) * forward + steps * ratio * forward)
                own, shared = (own, shared + cost) if attack.card.knowledge == "transfer" else (own + cost, shared)
            elif attack.card.knowledge == "surrogate":
                shared += episodes * ((1 + ratio) + budgets) * forward
            else:
                shared += budgets * forward
    return own, shared + forward


def makespan(jobs: Sequence[float], workers: int) -> float:
    """Longest worker when the longest jobs start first."""
    load = [0.0] * workers
    for job in sorted(jobs, reverse=True):
        load[load.index(min(load))] += job
    return max(load)


def save_seconds(cell: Cell, times: int = 200) -> float:
    """Wall time of storing a cell durably."""
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        for place in range(times):
            CellStore(Path(scratch, str(place % 20))).save(cell)
        return (time.perf_counter() - started) / times


def report(runs: Sequence[Path], forward_ms: float) -> Iterator[str]:
    """Fit, test and predict, in words."""
    measured, largest = passes(runs)
    yield "| detector | score ms | forward ms | backward ms | error on the fitted images | error on the digits |"
    yield "|---|---:|---:|---:|---:|---:|"
    ratios = []
    for name in sorted({p.detector for p in measured}):
        mine = [p for p in measured if p.detector == name]
        known, held = ([p for p in mine if (p.dataset == "digits") is side] for side in (False, True))
        terms = fit(known)
        ratios.append(terms[2] / terms[1])
        inside, outside = (f"{np.median(np.abs(errors(part, terms))):.0%}" for part in (known, held))
        score, forward, backward = (f"{1000 * term:.2f}" for term in terms)
        yield f"| {name} | {score} | {forward} | {backward} | {inside} | {outside} |"
    ratio = float(np.median(ratios))
    sizes = {(d.name, c): n["good"] + n["bad"] for d in load_track("few-shot").datasets for c, n in _counts(d.name)}
    own, shared = per_image(forward_ms / 1000, ratio)
    one = [n * (DETECTORS * own + shared) for n in sizes.values()]
    split = [n * own for n in sizes.values() for _ in range(DETECTORS)] + [n * shared for n in sizes.values()]
    cells = DETECTORS * len(sizes) * _cells_per_category()
    total, hours = sum(one), sum(one) / 3600
    yield ""
    yield f"Errors: medians over attacks of the absolute relative error. Backward over forward: {ratio:.1f} (median)."
    yield ""
    yield f"{DETECTORS} detectors of one backbone at {forward_ms:g} ms a forward pass, few-shot track, {len(sizes)}"
    yield f"categories, {sum(sizes.values()):,} query images, {cells:,} cells: {hours:,.0f} worker hours,"
    yield f"{sum(sizes.values()) * shared / 3600:,.1f} of them for what all detectors share. Audit tiers are left out."
    yield ""
    yield "| workers | hours, one run | speed-up | hours, one run per detector | speed-up |"
    yield "|---:|---:|---:|---:|---:|"
    for workers in WORKERS:
        spans = [(makespan(jobs, workers), sum(jobs)) for jobs in (one, split)]
        yield f"| {workers} | " + " | ".join(f"{span / 3600:,.1f} | {work / span:.1f}" for span, work in spans) + " |"
    save = save_seconds(largest)
    yield ""
    yield f"One run cannot be faster than its largest category: a speed-up of {total / max(one):.1f}. The driver stores"
    yield f"the largest cell of these runs ({_size(largest):,} bytes) durably in {save * 1000:.1f} ms, all {cells:,} in"
    yield f"{cells * save / 3600:.1f} hours: from {total / (cells * save):,.0f} workers on, storing would be the limit."


def _counts(dataset: str) -> list[tuple[str, dict[str, int]]]:
    return [(category, dict(counts)) for category, counts in PUBLISHED[dataset].items()]


def _cells_per_category() -> int:
    tiers = load_track("few-shot").tiers
    return sum(len(t.shots) * len(t.seeds) * max(1, len(t.attacks) * len(t.budgets)) for t in tiers)


def main() -> None:
    """Print, and perhaps record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--forward-ms", type=float, default=40.0)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    lines = list(report(options.runs, options.forward_ms))
    if options.record:
        write_part("scale.md", "cost-model", lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
