"""Experiments beside the grid: one cell each, a table of their own, never ranked.

leave_one_out    scores of the support images, each by the detector fitted on the others (`support_only` thresholds)
support_poison   scores of the clean query images by the detector fitted on a support with one poisoned image
universal        scores under one perturbation a category, learned on the other half of the test images
continuous_l2    scores under PGD on float images in an L2 ball; continuous_linf: in a ball of half a grey level, say
smoothing        scores under Gaussian noise, draw after draw, for a certificate of the smoothed detector
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmark.calibration.crossfit import fold_of
from benchmark.data.episodes import DatasetSupport
from benchmark.errors import NotApplicableError
from benchmark.execution.batches import Cost
from benchmark.execution.perturb import checked, perturb_continuous
from benchmark.execution.poisoning import PoisonedSupport
from benchmark.execution.smoothing import smooth_scores
from benchmark.execution.target import EOT_DRAWS, BoundTarget
from benchmark.metrics.outcome import Floats as Scores
from benchmark.planning.jobs import LEAVE_ONE_OUT, CellSpec
from benchmark.registry import load_attribute
from benchmark.types import AttackBatch, Episode, FittedDetector, Norm, Sample, Support, keyed_seed

if TYPE_CHECKING:
    from benchmark.execution.batches import Chunk
    from benchmark.execution.runner import JobBench

LEARN_FROM = 4
"""Images of each class that a universal perturbation is learned on, hash-chosen from the other half."""


def run_probe(bench: JobBench, cell: CellSpec, cost: Cost) -> Scores:
    """Scores of a probe cell, one per sample; for ``smoothing`` one per draw and sample, draw by draw.

    Args:
        bench: The job's images and fits.
        cell: The cell.
        cost: Told what an attack on the detector spends; leave-one-out and poisoning have none.

    Raises:
        NotApplicableError: If the detector cannot be probed like this, with the reason.
    """
    assert cell.probe is not None
    name, value = cell.probe
    return _RUN[name](bench, cell, value, cost)


def _leave_one_out(bench: JobBench, cell: CellSpec, _: float, __: Cost) -> Scores:
    if len(cell.samples) < 2:
        raise NotApplicableError(f"leave-one-out needs at least 2 support images, got {len(cell.samples)}")
    images = bench.fits.support(cell.shots, cell.seed).images()
    found = []
    for place, image in enumerate(images):
        others = tuple(s for index, s in enumerate(cell.samples) if index != place)
        episode = Episode(bench.job.dataset, bench.job.category, len(others), cell.seed, others, ())
        fitted = _refitted(bench, cell, DatasetSupport(bench.dataset, episode, bench.job.canonical_edge))
        found.append(_scores(fitted, image[None].to(bench.job.device)))
    return np.concatenate(found)


def _support_poison(bench: JobBench, cell: CellSpec, value: float, _: Cost) -> Scores:
    extractor = bench.parts.detector(cell.detector).extractor
    if extractor is None or not cell.shots:
        raise NotApplicableError("a poisoned support needs support images and backbone features")
    support = bench.fits.support(cell.shots, cell.seed)
    bench.fits.fitted(cell.detector, cell.shots, cell.seed)  # its extractor is on the device from then on
    anomalies = _batch(bench, [s for s in cell.samples if s.label == 1])
    clean = AttackBatch(support.images()[0][None], torch.zeros(1, dtype=torch.int64), (support.samples[0].id,))
    poisoned = load_attribute("attacks.poison:poison_support")(extractor, support, anomalies.images, 0, int(value))
    image = checked("support_poison", poisoned[None].to(clean.images.device), clean, int(value))[0]
    fitted = _refitted(bench, cell, PoisonedSupport(support, 0, image))
    return _in_chunks(bench, cell.samples, lambda chunk: _scores(fitted, chunk.batch.images))


def _universal(bench: JobBench, cell: CellSpec, value: float, cost: Cost) -> Scores:
    query = bench.job.query
    folds = fold_of([s.id for s in query], [s.label for s in query])
    fold = {s.id: int(f) for s, f in zip(query, folds, strict=True)}
    deltas = []
    for half in (0, 1):
        others = _batch(bench, _few([s for s in query if fold[s.id] != half]))
        fit = load_attribute("attacks.universal:fit_universal")
        with _spending(bench, cell, others.sample_ids, cost) as target:
            deltas.append(fit(target, others, int(value)))

    def scores(chunk: Chunk) -> Scores:
        delta = torch.stack([deltas[fold[name]] for name in chunk.ids])
        images = load_attribute("attacks.universal:apply_universal")(delta, chunk.batch.images)
        return _predicted(bench, cell, chunk, checked("universal", images, chunk.batch, int(value)).float() / 255.0)

    return _in_chunks(bench, cell.samples, scores)


def _continuous(bench: JobBench, cell: CellSpec, norm: Norm, radius: float, cost: Cost) -> Scores:
    attack = load_attribute("attacks.continuous:ContinuousPGD")(norm)

    def scores(chunk: Chunk) -> Scores:
        with _spending(bench, cell, chunk.ids, cost) as target:
            (images,) = perturb_continuous(attack, target, chunk.batch, [radius])
        return _predicted(bench, cell, chunk, images)

    return _in_chunks(bench, cell.samples, scores)


def _smoothing(bench: JobBench, cell: CellSpec, value: float, cost: Cost) -> Scores:
    def draws(chunk: Chunk) -> Scores:
        with _spending(bench, cell, chunk.ids, cost) as target:
            return smooth_scores(target.predict, chunk.batch.images, chunk.ids, value).T

    return _in_chunks(bench, cell.samples, draws).T.ravel()


_RUN: Mapping[str, Callable[[JobBench, CellSpec, float, Cost], Scores]] = {
    LEAVE_ONE_OUT: _leave_one_out,
    "support_poison": _support_poison,
    "universal": _universal,
    "continuous_l2": lambda bench, cell, value, cost: _continuous(bench, cell, "L2", value, cost),
    "continuous_linf": lambda bench, cell, value, cost: _continuous(bench, cell, "Linf", value / 255, cost),
    "smoothing": _smoothing,
}


def _refitted(bench: JobBench, cell: CellSpec, support: Support) -> FittedDetector:
    """The cell's detector fitted to another support, with the seed of the episode."""
    detector, job = bench.parts.detector(cell.detector), bench.job
    if detector.card.transductive:
        raise NotApplicableError("the detector is fitted on the query images, not on the support")
    seed = keyed_seed("fit", job.dataset, job.category, cell.shots, cell.seed, cell.detector.label)
    return detector.fit(support, seed=seed)


def _scores(fitted: FittedDetector, images: Tensor) -> Scores:
    """Scores [B] of uint8 images [B, 3, H, W]."""
    return np.asarray(fitted(images.float() / 255.0).score.double().cpu().numpy())


def _target(bench: JobBench, cell: CellSpec, ids: tuple[str, ...]) -> BoundTarget:
    card = bench.parts.detector(cell.detector).card
    if not card.differentiable and cell.probe is not None and cell.probe[0] != "smoothing":
        raise NotApplicableError("the detector declares differentiable = False")
    draws = 1 if card.deterministic else EOT_DRAWS
    return BoundTarget(bench.fits.fitted(cell.detector, cell.shots, cell.seed), ids, draws=draws)


@contextmanager
def _spending(bench: JobBench, cell: CellSpec, ids: tuple[str, ...], cost: Cost) -> Iterator[BoundTarget]:
    """A target whose passes count."""
    target = _target(bench, cell, ids)
    yield target
    cost.add(Cost(target.forwards, target.backwards))


def _predicted(bench: JobBench, cell: CellSpec, chunk: Chunk, images: Tensor) -> Scores:
    return np.asarray(_target(bench, cell, chunk.ids).predict(images).score.double().cpu().numpy())


def _in_chunks(bench: JobBench, samples: Sequence[Sample], rows: Callable[[Chunk], Scores]) -> Scores:
    """``rows`` of every chunk [B, ...], put back into the order of the samples [N, ...]."""
    found = {name: row for chunk in bench.chunks(samples) for name, row in zip(chunk.ids, rows(chunk), strict=True)}
    return np.stack([found[s.id] for s in samples])


def _batch(bench: JobBench, samples: Sequence[Sample]) -> AttackBatch:
    """All the samples as one batch.

    Raises:
        NotApplicableError: If their canonical images have several shapes.
    """
    parts = [chunk.batch for chunk in bench.chunks(samples)]
    if len({part.images.shape[1:] for part in parts}) != 1:
        raise NotApplicableError("the probe works on all images at once, which must have one shape")
    ids = tuple(name for part in parts for name in part.sample_ids)
    return AttackBatch(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]), ids)


def _few(samples: Sequence[Sample]) -> list[Sample]:
    """At most `LEARN_FROM` hash-chosen samples of each class."""
    ordered = sorted(samples, key=lambda s: keyed_seed("universal", s.id))
    return [s for label in (0, 1) for s in [s for s in ordered if s.label == label][:LEARN_FROM]]
