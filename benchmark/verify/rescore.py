"""Results again from their evidence, after a metric has changed: no detector and no data are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.results.evidence import read_pixels, read_probes, read_scores
from benchmark.results.schema import RunResult, load_result, save_result
from benchmark.scoring.image import metric_versions
from benchmark.scoring.score import score_evidence
from benchmark.verify.recompute import Difference, compare, compare_validity, recomputed_validity
from benchmark.verify.subject import Entry


@dataclass(frozen=True, slots=True)
class Rescored:
    """One result file.

    Attributes:
        path: The file.
        result: With every number computed anew.
        differences: What moved beyond the tolerances, old value first.
        versions: Metric -> (old version, new version), where they differ; 0 = absent.
    """

    path: Path
    result: RunResult
    differences: tuple[Difference, ...]
    versions: dict[str, tuple[int, int]]


def rescore(path: Path) -> Iterator[Rescored]:
    """Recompute a result file, or all of a submission, a run or a submissions folder. Nothing is written.

    Raises:
        UsageError: If there is no result.
        ResultError: If a result or its evidence is invalid.
    """
    files = [path] if path.is_file() else sorted(path.rglob("results/*.json"))
    if not files:
        raise UsageError(f"{path} holds no results/*.json")
    yield from map(_rescored, files)


def _rescored(path: Path) -> Rescored:
    old = load_result(path)
    evidence = {file.kind: path.parent.parent / "evidence" / file.file for file in old.evidence}
    scores = read_scores(evidence["scores"])
    pixels = read_pixels(evidence["pixels"]) if "pixels" in evidence else None
    probes = read_probes(evidence["probes"]) if "probes" in evidence else None
    entry = Entry(path, old, scores, pixels, probes)
    scored, validity = score_evidence(scores, pixels, entry.rules, probes), recomputed_validity(entry)
    metrics = metric_versions({value.metric: None for value in scored.values})
    names = sorted(old.metrics.keys() | metrics.keys())
    moved = {n: (old.metrics.get(n, 0), metrics.get(n, 0)) for n in names if old.metrics.get(n) != metrics.get(n)}
    new = old.model_copy(
        update={
            "scored": scored,
            "metrics": metrics,
            "validity": validity,
        }
    )
    return Rescored(path, new, (*compare(old, scored), *compare_validity(old.validity, validity)), moved)


def save(rescored: Rescored) -> bool:
    """Write the new result where something moved; True if it did."""
    if not rescored.differences and not rescored.versions:
        return False
    save_result(rescored.result, rescored.path)
    return True
