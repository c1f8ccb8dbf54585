"""Measures how often the 95 % intervals hold the truth, by simulation; prints the tables of docs/statistics.md.

Usage: OMP_NUM_THREADS=1 python -m tests.perf.coverage [--repetitions 4000]
Binormal scores: normal images N(0, 1), anomalous ones shifted so that the population AUROC is known. The score of an
image is an image effect, shared by all seeds and detectors, plus noise of its own (variances 0.64 and 0.36).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.stats import norm

from benchmark.metrics.outcome import Floats
from benchmark.metrics.ranking import auroc_value
from benchmark.statistics.bootstrap import REPLICATES, macro_auroc_replicates, percentile_interval
from benchmark.statistics.intervals import auroc_interval
from benchmark.statistics.ranking import rank_intervals
from benchmark.statistics.robust import robust_score

Category = tuple[Floats, Floats]


def draw(rng: np.random.Generator, normal: int, anomalous: int, areas: Floats) -> Category:
    """Labels [n] and scores [conditions, n] of one category whose population AUROC is ``areas`` [conditions]."""
    labels = np.repeat([0.0, 1.0], [normal, anomalous])
    shared, own = rng.normal(size=labels.size), rng.normal(size=(len(areas), labels.size))
    return labels, 0.8 * shared + 0.6 * own + labels * norm.ppf(areas)[:, None] * np.sqrt(2)


def category_coverage(repetitions: int) -> Iterator[str]:
    """Logit-DeLong per category."""
    yield "| images | anomalous | " + " | ".join(f"AUROC {area}" for area in AREAS) + " |"
    yield "|---|---|" + "---|" * len(AREAS)
    rng = np.random.default_rng(1)
    for n in (50, 200, 1000):
        for anomalous in (n // 2, int(0.7 * n)):
            held = []
            for area in AREAS:
                simulated = (draw(rng, n - anomalous, anomalous, np.array([area])) for _ in range(repetitions))
                intervals = [auroc_interval(labels, scores[0]) for labels, scores in simulated]
                held.append(np.mean([i is not None and i.low <= area <= i.high for i in intervals]))
            yield f"| {n} | {anomalous} | " + " | ".join(f"{share:.1%}" for share in held) + " |"


AREAS = (0.7, 0.8, 0.9, 0.95, 0.98)
BOARDS = (
    # categories, normal, anomalous, seeds, lowest and highest AUROC
    (8, 10, 10, 1, 0.55, 0.80),
    (8, 10, 10, 1, 0.70, 0.98),
    (8, 10, 10, 1, 0.95, 0.95),
    (8, 10, 10, 1, 0.90, 0.99),
    (5, 6, 6, 1, 0.70, 0.98),
    (15, 30, 80, 3, 0.80, 0.98),
    (12, 100, 100, 3, 0.80, 0.95),
)


def macro_coverage(repetitions: int) -> Iterator[str]:
    """Percentile bootstrap of the macro mean over categories and seeds."""
    yield "| categories | images (normal + anomalous) | seeds | AUROC | coverage | truth below | truth above |"
    yield "|---|---|---|---|---|---|---|"
    rng = np.random.default_rng(2)
    for categories, normal, anomalous, seeds, low, high in BOARDS:
        areas = np.linspace(low, high, categories)
        below = above = 0
        for repetition in range(repetitions):
            board = {str(k): draw(rng, normal, anomalous, np.full(seeds, area)) for k, area in enumerate(areas)}
            found = percentile_interval(macro_auroc_replicates(board, str(repetition), 400).mean(axis=0))
            below += areas.mean() < found.low
            above += areas.mean() > found.high
        shares = [1 - (below + above) / repetitions, below / repetitions, above / repetitions]
        cells = " | ".join(f"{share:.1%}" for share in shares)
        yield f"| {categories} | {normal} + {anomalous} | {seeds} | {low:.2f} to {high:.2f} | {cells} |"


def rank_overlap(repetitions: int) -> Iterator[str]:
    """Boards of 6 detectors, the first two copies of one, ranked by R over 3 budgets."""
    yield "| categories | images | fit-to-fit spread of a category's AUROC | boards where the rank intervals overlap |"
    yield "|---|---|---|---|"
    for (categories, images), spread in product(((8, 10), (15, 60)), (0.0, 0.01, 0.02)):
        rng = np.random.default_rng(3)
        overlap = 0
        for repetition in range(repetitions):
            found = rank_intervals(*_board(rng, categories, images, spread, str(repetition)))
            first, second = found[0], found[1]
            assert first is not None
            assert second is not None
            overlap += max(first.best, second.best) <= min(first.worst, second.worst)
        yield f"| {categories} | {images} + {images} | {spread:.2f} | {overlap / repetitions:.1%} |"


def _board(
    rng: np.random.Generator, categories: int, images: int, spread: float, key: str
) -> tuple[list[float], list[Floats]]:
    """R and its replicates for 6 detectors on categories of ``images`` normal and as many anomalous images."""
    population = np.outer((0.95, 0.95, 0.93, 0.9, 0.85, 0.8), (1.0, 0.9, 0.7))  # detectors x budgets
    board = {}
    for k in range(categories):
        areas = np.clip(population + rng.normal(0, spread, population.shape) - 0.005 * k, 0.5, 0.99)
        board[str(k)] = draw(rng, images, images, areas.ravel())
    replicates = macro_auroc_replicates(board, key, REPLICATES).reshape(*population.shape, REPLICATES)
    macro = np.mean(
        [[auroc_value(row[labels == 1], row[labels == 0]) for row in rows] for labels, rows in board.values()], axis=0
    ).reshape(population.shape)
    return [float(robust_score(row)) for row in macro], [robust_score(row) for row in replicates]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000, help="simulated samples per cell")
    repetitions = parser.parse_args().repetitions
    for title, table in (
        ("One category: logit-DeLong", category_coverage(repetitions)),
        ("Macro mean: stratified image bootstrap", macro_coverage(repetitions // 2)),
        ("Two copies of one detector", rank_overlap(repetitions // 8)),
    ):
        print(f"\n### {title}\n", *table, sep="\n", flush=True)


if __name__ == "__main__":
    main()
