"""Executes one job: streams the images of every pass in fixed chunks and yields the cells they feed.

Everything here is deterministic given (job, device, thread count): chunks are fixed slices, random numbers
are keyed by sample.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from benchmark.canonical import canonical_shape
from benchmark.clean_graph import CleanGraph
from benchmark.diagnostics import dead_share, repeat_error
from benchmark.episodes import as_tensor, chunks
from benchmark.errors import ContractError, NotApplicableError, TrustADError
from benchmark.fits import Fits
from benchmark.image_store import ImageStore
from benchmark.jobs import CellSpec, DetectorSpec, Job, PassSpec
from benchmark.passes import streams
from benchmark.perturb import perturb
from benchmark.pixels import PixelCollector
from benchmark.registry import DATASETS
from benchmark.store import Cell
from benchmark.target import BoundTarget, FlagModel, clean_flag
from benchmark.types import (
    AttackBatch,
    Dataset,
    Features,
    FeatureScorer,
    FittedDetector,
    Prediction,
    Sample,
    TransductiveScorer,
)
from benchmark.workbench import Workbench

EOT_DRAWS = 8


@dataclass(frozen=True, slots=True)
class CellFailure:
    """Cells that a pass could not give: the reason, and the traceback for the log where the fault was not ours."""

    cells: tuple[CellSpec, ...]
    reason: str
    not_applicable: bool
    details: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A fixed slice of the query set at canonical size."""

    samples: tuple[Sample, ...]
    batch: AttackBatch

    @property
    def ids(self) -> tuple[str, ...]:
        return self.batch.sample_ids


@dataclass(frozen=True, slots=True)
class Example:
    """Images of one chunk before and after an attack, with what the detector says of them."""

    samples: tuple[Sample, ...]
    masks: Tensor
    clean: Tensor
    attacked: Tensor
    before: Prediction
    after: Prediction


@dataclass
class _Cost:
    """What an attack spent at one budget, and the images on which it never saw a gradient."""

    forward: float = 0.0
    backward: float = 0.0
    dead: set[str] = field(default_factory=set)

    def per_image(self, images: int) -> dict[str, float]:
        """Passes per image."""
        return {"forward": self.forward / images, "backward": self.backward / images}


@dataclass
class _Tally:
    """What a pass adds up for one cell; ``seconds``: its own scoring and its share of the images and features."""

    scores: dict[str, float] = field(default_factory=dict)
    pixels: PixelCollector | None = None
    seconds: float = 0.0


class _Clock:
    """Seconds since the last look, all work of the device done."""

    def __init__(self, device: str) -> None:
        self._cuda, self._last = device.startswith("cuda"), 0.0
        self.lap()

    def lap(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        before, self._last = self._last, time.perf_counter()
        return self._last - before


@dataclass
class PassRun:
    """A pass in flight and what came of it."""

    spec: PassSpec
    tallies: dict[str, _Tally] = field(default_factory=dict)
    costs: dict[int, _Cost] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    failure: CellFailure | None = None


@contextmanager
def _caught(runs: Sequence[PassRun]) -> Iterator[None]:
    """A fault fails the cells of these passes, never the run."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, TrustADError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"[:500]
        details = "" if known else traceback.format_exc()
        for run in runs:
            missing = isinstance(error, NotApplicableError)
            run.failure = run.failure or CellFailure(run.spec.cells, reason, missing, details)


def prepare_device(device: str) -> None:
    """Fix what the bits depend on: TF32 off, deterministic kernels where torch has them."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise TrustADError(f"--device {device}: no CUDA device here; use --device cpu")


def run_job(job: Job, known: Mapping[str, Cell]) -> Iterator[Cell | CellFailure]:
    """Run all passes of a job.

    Args:
        job: What is missing.
        known: Stored clean cells by address, for map ranges and flag calibrators.

    Yields:
        Cells as their passes complete, and failures; a failing pass does not stop the others.
    """
    prepare_device(job.device)
    bench = JobBench(job, dict(known))
    for passes in streams(job.passes):
        for run in bench.run(passes):
            if run.failure is not None:
                yield run.failure
            else:
                yield from run.cells


class JobBench:
    """Runs the passes of one job on its images and fits."""

    def __init__(self, job: Job, known: dict[str, Cell]) -> None:
        self.job = job
        self.parts = Workbench()
        self.dataset: Dataset = DATASETS.get(job.dataset)(job.root)
        self.images = ImageStore(job.canonical_edge)
        self.fits = Fits(job, self.dataset, self.images, self.parts)
        self.known = known

    @torch.no_grad()
    def run(self, passes: Sequence[PassSpec]) -> list[PassRun]:
        """Run passes over the same images side by side, chunk by chunk.

        Clean cells are kept: later passes read map ranges and flag calibrators from them.
        """
        runs = [PassRun(spec) for spec in passes]
        for run in runs:
            with _caught([run]):
                run.tallies = {cell.address: _Tally(pixels=self._collector(cell)) for cell in run.spec.cells}
                run.costs = {epsilon: _Cost() for epsilon in run.spec.epsilons}
        with _caught(runs):
            for chunk in self._chunks(passes[0].samples):
                clean = CleanGraph(chunk.batch.images)
                for run in runs:
                    if run.failure is None:
                        with _caught([run]):
                            self._advance(run, chunk, clean)
        for run in runs:
            if run.failure is None:
                with _caught([run]):
                    run.cells = self._finish(run)
                    self.known.update((cell.address, cell) for cell in run.cells if run.spec.attack is None)
        return runs

    def _advance(self, run: PassRun, chunk: Chunk, clean: CleanGraph) -> None:
        clock = _Clock(self.job.device)
        for epsilon, images in self._images(run.spec, chunk, run.costs, clean):
            made = clock.lap()
            wanted = [cell for cell in run.spec.cells if (cell.epsilon or 0) == epsilon]
            self._score(wanted, chunk, images, run.tallies)
            for cell in wanted:
                run.tallies[cell.address].seconds += made / len(wanted)
            clock.lap()

    def _finish(self, run: PassRun) -> list[Cell]:
        repeats = self._repeat(run.spec, run.tallies)
        done = []
        for cell in run.spec.cells:
            cost = run.costs[cell.epsilon or 0]
            facts = cost.per_image(len(run.spec.samples)) | self._dead(run.spec, cost) | repeats.get(cell.address, {})
            done.append(_cell(cell, run.tallies[cell.address], facts))
        return done

    def examples(self, spec: PassSpec) -> Iterator[Example]:
        """The images of a white-box pass themselves, for the gallery (data sets with masks)."""
        assert spec.source is not None
        fitted = self.fits.fitted(spec.source, spec.shots or 0, spec.seed or 0)
        for chunk in self._chunks(spec.samples):
            scorer = _scorer(fitted, chunk.ids)
            before = scorer(chunk.batch.images.float() / 255.0)
            costs = {n: _Cost() for n in spec.epsilons}
            for _, images in self._images(spec, chunk, costs, CleanGraph(chunk.batch.images)):
                assert chunk.batch.masks is not None
                after = scorer(images.float() / 255.0)
                yield Example(chunk.samples, chunk.batch.masks, chunk.batch.images, images, before, after)

    def _dead(self, spec: PassSpec, cost: _Cost) -> dict[str, float]:
        """Share of images that gave a white-box attack no gradient although their score could still move."""
        if spec.attack is None or self.parts.attack(spec.attack).card.knowledge != "white_box":
            return {}
        assert spec.source is not None
        clean = self._clean(spec.source, spec.shots or 0, spec.seed or 0)
        scores = dict(zip((s.id for s in self.job.query), clean.scores.tolist(), strict=True))
        dead = torch.tensor([s.id in cost.dead for s in spec.samples])
        labels = torch.tensor([s.label for s in spec.samples])
        return {"dead": dead_share(dead, torch.tensor([scores[s.id] for s in spec.samples]), labels)}

    def _repeat(self, spec: PassSpec, tallies: Mapping[str, _Tally]) -> dict[str, dict[str, float]]:
        """Clean cells: how far the scores of the first chunk move when they are computed once more, by address."""
        if spec.attack is not None:
            return {}
        chunk = next(self._chunks(spec.samples))
        again = {cell.address: _Tally() for cell in spec.cells}
        self._score(spec.cells, chunk, chunk.batch.images, again)
        return {
            address: {"repeat_error": repeat_error(tallies[address].scores, tally.scores)}
            for address, tally in again.items()
        }

    def _images(
        self, spec: PassSpec, chunk: Chunk, costs: Mapping[int, _Cost], clean: CleanGraph
    ) -> Iterator[tuple[int, Tensor]]:
        """The images of a chunk at every budget.

        Costs and dead gradients are those of each budget run alone, so that they do not depend on which cells were
        missing: a budget that spends nothing of its own shares the backward pass of the first and is charged with it.
        """
        if spec.attack is None:
            yield 0, chunk.batch.images
            return
        attack = self.parts.attack(spec.attack)
        together = [spec.epsilons] if attack.card.knowledge == "surrogate" else [(n,) for n in spec.epsilons]
        for group in together:
            target = self._target(spec, chunk, clean)
            spent, first = (0, 0), (0, 0)
            for epsilon, images in zip(group, perturb(attack, target, chunk.batch, group), strict=True):
                own = (target.forwards - spent[0], target.backwards - spent[1])
                spent = (target.forwards, target.backwards)
                first = first if any(first) else own
                cost = costs[epsilon]
                cost.forward += (own if any(own) else first)[0]
                cost.backward += (own if any(own) else first)[1]
                cost.dead.update(name for name, dead in zip(target.queried, target.dead.tolist(), strict=True) if dead)
                yield epsilon, images

    def _score(self, cells: Sequence[CellSpec], chunk: Chunk, images: Tensor, tallies: Mapping[str, _Tally]) -> None:
        """Score images with every cell's detector; those with one extractor share its features and their time."""
        floats = images.float() / 255.0
        scorers = [_scorer(self.fits.fitted(cell.detector, cell.shots, cell.seed), chunk.ids) for cell in cells]
        users = Counter(scorer.extractor.id for scorer in scorers if isinstance(scorer, FeatureScorer))
        shared: dict[str, tuple[Features, float]] = {}
        clock = _Clock(self.job.device)
        for cell, scorer in zip(cells, scorers, strict=True):
            tally = tallies[cell.address]
            if isinstance(scorer, FeatureScorer):
                name = scorer.extractor.id
                if name not in shared:
                    clock.lap()
                    shared[name] = scorer.extractor(floats), clock.lap() / users[name]
                features, share = shared[name]
                prediction = scorer.score(features)
                tally.seconds += share
            else:
                prediction = scorer(floats)
            tally.scores.update(zip(chunk.ids, prediction.score.double().tolist(), strict=True))
            tally.seconds += clock.lap()
            if tally.pixels is not None:
                tally.pixels.add(prediction, chunk.ids)
                clock.lap()

    # ---- images ---------------------------------------------------------------------------------------------

    def _chunks(self, samples: Sequence[Sample]) -> Iterator[Chunk]:
        shapes = [canonical_shape(s.height, s.width, self.job.canonical_edge) for s in samples]
        for group in chunks(samples, shapes, self.job.chunk_size):
            images = torch.stack([as_tensor(image) for image in self.images.get(self.dataset, group)])
            masks = self._masks(group).to(self.job.device) if self.dataset.info.has_masks else None
            labels = torch.tensor([s.label for s in group])
            batch = AttackBatch(
                images.to(self.job.device), labels.to(self.job.device), tuple(s.id for s in group), masks
            )
            yield Chunk(group, batch)

    def _collector(self, cell: CellSpec) -> PixelCollector | None:
        if not cell.pixels:
            return None
        samples = {s.id: s for s in cell.samples}
        span = None
        if cell.attack is not None:
            clean = self._clean(cell.detector, cell.shots, cell.seed)
            assert clean.pixels is not None
            span = (clean.pixels.low, clean.pixels.high)
        return PixelCollector(lambda ids: self._masks([samples[i] for i in ids]), span)

    def _masks(self, group: Sequence[Sample]) -> Tensor:
        return torch.stack([torch.from_numpy(mask) for mask in self.images.masks(self.dataset, group)])

    def _clean(self, spec: DetectorSpec, shots: int, seed: int) -> Cell:
        """The clean cell of the same fitted detector."""
        cell = self.known.get(self.job.clean[spec.label, shots, seed])
        if cell is None:
            raise NotApplicableError("the clean scores of this episode are missing")
        return cell

    # ---- what attacks may query -----------------------------------------------------------------------------

    def _target(self, spec: PassSpec, chunk: Chunk, clean: CleanGraph) -> BoundTarget:
        """What the attack of a pass may query."""
        victim = spec.source or spec.extractor_of
        if victim is None:
            return BoundTarget(_Unreachable(), chunk.ids)
        assert spec.attack is not None
        assert spec.shots is not None
        assert spec.seed is not None
        fitted = self.fits.fitted(victim, spec.shots, spec.seed)
        if spec.source is None:
            oracle = getattr(self.parts.attack(spec.attack), "head", "synthetic") == "oracle"
            logit = (
                self.fits.oracle(victim, chunk.ids) if oracle else self.fits.surrogate(victim, spec.shots, spec.seed)
            )
            return BoundTarget(fitted, chunk.ids, surrogate=logit, clean=clean)
        draws = 1 if self.parts.detector(victim).card.deterministic else EOT_DRAWS
        return BoundTarget(fitted, chunk.ids, flag=self._flag(victim, spec.shots, spec.seed), draws=draws)

    def _flag(self, spec: DetectorSpec, shots: int, seed: int) -> FlagModel | None:
        """The clean decision rule that `flag_adaptive` knows; None where the clean scores lack a class."""
        clean = self.known.get(self.job.clean[spec.label, shots, seed])
        labels = [sample.label for sample in self.job.query]
        return None if clean is None or len(set(labels)) < 2 else clean_flag(clean.scores, labels)


def _scorer(fitted: FittedDetector, ids: tuple[str, ...]) -> FittedDetector:
    """The detector for exactly these samples."""
    return fitted.excluding(ids) if isinstance(fitted, TransductiveScorer) else fitted


def _cell(cell: CellSpec, tally: _Tally, facts: dict[str, float]) -> Cell:
    scores = np.array([tally.scores[s.id] for s in cell.samples], np.float32)
    if not np.isfinite(scores).all():
        raise ContractError(f"detector {cell.detector.label}: scores that are not finite")
    pixels = None if tally.pixels is None else tally.pixels.finish([s.id for s in cell.samples])
    return Cell(cell.address, cell.key, scores, pixels, facts, tally.seconds)


class _Unreachable(FittedDetector):
    """Stands for the detector where the attacker knows nothing (`none`)."""

    def __call__(self, images: Tensor) -> Prediction:
        raise ContractError("an attack with knowledge 'none' queried the detector")
