"""Executes one job: streams the images of every pass in fixed chunks and yields the cells they feed.

Everything here is deterministic given (job, device, thread count): chunks are fixed slices, random numbers
are keyed by sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import nan

import numpy as np
import torch
from torch import Tensor

from benchmark.data.canonical import canonical_shape
from benchmark.data.episodes import chunks
from benchmark.data.image_store import ImageStore
from benchmark.errors import ContractError, NotApplicableError, TrustADError
from benchmark.execution.batches import Chunk, Cost, in_halves
from benchmark.execution.clean_graph import CleanGraph
from benchmark.execution.fits import Fits
from benchmark.execution.memory import TRIMS, hold_heap
from benchmark.execution.overlap import ahead
from benchmark.execution.pass_run import CellFailure, Clock, PassRun, SharedFeatures, Tally, of_plugin
from benchmark.execution.perturb import perturb
from benchmark.execution.pixels import PixelCollector
from benchmark.execution.predictions import checked_prediction
from benchmark.execution.probes import run_probe
from benchmark.execution.target import EOT_DRAWS, BackboneAlone, BoundTarget, FlagModel, Unreachable, clean_flag
from benchmark.metrics.outcome import Floats
from benchmark.planning.jobs import CellSpec, DetectorSpec, Job, PassSpec
from benchmark.planning.passes import streams
from benchmark.planning.workbench import Workbench
from benchmark.registry import DATASETS
from benchmark.scoring.validity import dead_share, repeat_error
from benchmark.storage.cells import Cell, CellPixels
from benchmark.types import (
    AttackBatch,
    Dataset,
    FittedDetector,
    Prediction,
    Sample,
    TransductiveScorer,
)
from benchmark.types.precision import computing_in


@dataclass(frozen=True, slots=True)
class Example:
    """Images of one chunk before and after an attack, with what the detector says of them."""

    samples: tuple[Sample, ...]
    masks: Tensor
    clean: Tensor
    attacked: Tensor
    before: Prediction
    after: Prediction


def prepare_device(device: str) -> None:
    """Fix what the bits depend on: no TF32 in convolutions, deterministic kernels where torch has them; hold the heap.

    Raises:
        TrustADError: If the device is not there.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, without its seconds of imports
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass for nothing
    hold_heap()
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
    with computing_in(job.precision):
        bench = JobBench(job, dict(known))
        for passes in streams(job.passes):
            for run in bench.run(passes):
                yield from run.failures
                yield from run.done


class JobBench:
    """Runs the passes of one job on its images and fits."""

    def __init__(self, job: Job, known: dict[str, Cell]) -> None:
        self.job = job
        self.parts = Workbench()
        self.dataset: Dataset = DATASETS.get(job.dataset)(job.root)
        self.images = ImageStore(job.canonical_edge)
        self.fits = Fits(job, self.dataset, self.images, self.parts)
        self.known = known
        self.lost: dict[str, CellFailure] = {}
        self._sources: dict[tuple[DetectorSpec, int, int], dict[str, float]] = {}

    @torch.no_grad()
    def run(self, passes: Sequence[PassSpec]) -> list[PassRun]:
        """Run passes over the same images side by side, chunk by chunk.

        Clean cells are kept: later passes read map ranges and flag calibrators from them.
        """
        runs = [PassRun(spec, self.job.chunk_size) for spec in passes]
        for run in runs:
            if run.spec.probe is not None:
                self._probe(run)
                return runs
            for cell in run.spec.cells:
                with run.guard(cell):
                    scores = dict.fromkeys((s.id for s in cell.samples), nan)  # a table that need not grow in a batch
                    run.tallies[cell.address] = Tally(scores, self._collector(cell))
        try:
            for chunk in ahead(self.chunks(passes[0].samples)):
                clean = CleanGraph(chunk.batch.images)
                for run in runs:
                    with run.guard():
                        run.size = in_halves(chunk, run.size, partial(self._feed, run, clean))
                del clean  # its graph goes back with the rest
                TRIMS()
        except BaseException as error:  # images that cannot be read
            if not of_plugin(error):
                raise
            for run in runs:
                run.fail(error)
        for run in runs:
            with run.guard():
                run.done = self._finish(run)
                self.known.update((cell.address, cell) for cell in run.done if run.spec.attack is None)
            self.lost.update((cell.address, failure) for failure in run.failures for cell in failure.cells)
        return runs

    def _probe(self, run: PassRun) -> None:
        for cell in run.spec.cells:
            with run.guard():
                clock, cost = Clock(self.job.device), Cost()
                scores = run_probe(self, cell, cost)
                facts = cost.per_image(len(cell.samples)) if cost.forward else {}
                run.done.append(_cell(cell, scores, None, facts, clock.lap()))

    def _feed(self, run: PassRun, clean: CleanGraph, chunk: Chunk) -> None:
        """Attack and score some images; their cost counts once they are through."""
        if not run.cells:
            return
        spent = {budget: Cost() for budget in run.costs}
        clock = Clock(self.job.device)
        for budget, images in self._images(run.spec, chunk, spent, clean.of(chunk.batch.images)):
            made = clock.lap()
            wanted = [cell for cell in run.cells.values() if (cell.budget or Fraction(0)) == budget]
            self._score(run, wanted, chunk, images, run.tallies)
            for cell in wanted:
                run.tallies[cell.address].seconds += made / len(wanted)
            clock.lap()
        for budget, cost in spent.items():
            run.costs[budget].add(cost)

    def _finish(self, run: PassRun) -> list[Cell]:
        repeats = self._repeat(run)
        halved = {"batch": float(run.size)} if run.size < self.job.chunk_size else {}
        done = []
        for cell in list(run.cells.values()):
            with run.guard(cell):
                done.append(self._finished(run, cell, repeats.get(cell.address, {}) | halved))
        return done

    def _finished(self, run: PassRun, cell: CellSpec, facts: dict[str, float]) -> Cell:
        cost, tally = run.costs[cell.budget or Fraction(0)], run.tallies[cell.address]
        facts = cost.per_image(len(run.spec.samples)) | self._dead(run.spec, cost) | facts
        pixels = None if tally.pixels is None else tally.pixels.finish([s.id for s in cell.samples])
        scores = np.array([tally.scores[s.id] for s in cell.samples])
        return _cell(cell, scores, pixels, facts, tally.seconds)

    def examples(self, spec: PassSpec) -> Iterator[Example]:
        """The images of a white-box pass themselves, one by one, for the gallery (data sets with masks)."""
        assert spec.source is not None
        fitted = self.fits.fitted(spec.source, spec.shots or 0, spec.seed or 0)
        for chunk in (one for whole in self.chunks(spec.samples) for one in whole.split(1)):
            scorer = _scorer(fitted, chunk.ids)
            before = scorer(chunk.batch.images.float() / 255.0)
            costs = {n: Cost() for n in spec.budgets}
            for _, images in self._images(spec, chunk, costs, CleanGraph(chunk.batch.images)):
                assert chunk.batch.masks is not None
                after = scorer(images.float() / 255.0)
                yield Example(chunk.samples, chunk.batch.masks, chunk.batch.images, images, before, after)

    def _dead(self, spec: PassSpec, cost: Cost) -> dict[str, float]:
        """Share of images that gave a white-box attack no gradient although their score could still move."""
        if spec.attack is None or self.parts.attack(spec.attack).card.knowledge != "white_box":
            return {}
        assert spec.source
        scores = self._clean_scores(spec.source, spec.shots or 0, spec.seed or 0)
        rows = [(s.id in cost.dead, scores[s.id], s.label) for s in spec.samples]
        dead, clean, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
        return {"dead": dead_share(dead, clean, labels)}

    def _repeat(self, run: PassRun) -> dict[str, dict[str, float]]:
        """Clean cells: how far the scores of the first chunk move when they are computed once more, by address."""
        if run.spec.attack is not None or not run.cells:
            return {}
        chunk = next(next(self.chunks(run.spec.samples)).split(run.size))
        again = {address: Tally() for address in run.cells}
        self._score(run, list(run.cells.values()), chunk, chunk.batch.images, again)
        return {
            address: {"repeat_error": repeat_error(run.tallies[address].scores, again[address].scores)}
            for address in run.cells
        }

    def _images(
        self, spec: PassSpec, chunk: Chunk, costs: Mapping[Fraction, Cost], clean: CleanGraph
    ) -> Iterator[tuple[Fraction, Tensor]]:
        """The images of a chunk at every budget.

        Costs and dead gradients are those of each budget run alone, so that they do not depend on which cells were
        missing: a budget that spends nothing of its own shares the backward pass of the first and is charged with it.
        """
        if spec.attack is None:
            yield Fraction(0), chunk.batch.images
            return
        chunk = chunk if self.parts.attack(spec.attack).card.uses_masks else chunk.without_masks()
        attack = self.parts.attack(spec.attack)
        together = [spec.budgets] if attack.card.knowledge == "surrogate" else [(n,) for n in spec.budgets]
        for group in together:
            target = self._target(spec, chunk, clean)
            spent, first = (0, 0), (0, 0)
            for budget, images in zip(
                group, perturb(attack, target, chunk.batch, [int(n) for n in group]), strict=True
            ):
                own = (target.forwards - spent[0], target.backwards - spent[1])
                spent = (target.forwards, target.backwards)
                first = first if any(first) else own
                cost = costs[budget]
                cost.forward += (own if any(own) else first)[0]
                cost.backward += (own if any(own) else first)[1]
                cost.dead.update(name for name, dead in zip(target.queried, target.dead.tolist(), strict=True) if dead)
                yield budget, images

    def _score(
        self, run: PassRun, cells: Sequence[CellSpec], chunk: Chunk, images: Tensor, tallies: Mapping[str, Tally]
    ) -> None:
        """Score images with every cell's detector; those with one extractor share its features and their time."""
        floats, halve = images.float() / 255.0, len(chunk.samples) > 1
        scorers: dict[str, FittedDetector] = {}
        for cell in cells:
            with run.guard(cell, halve=halve):
                scorers[cell.address] = _scorer(self.fits.fitted(cell.detector, cell.shots, cell.seed), chunk.ids)
        clock = Clock(self.job.device)
        shared = SharedFeatures(floats, scorers.values(), clock)
        for address, scorer in scorers.items():
            with run.guard(run.cells[address], halve=halve):
                clock.lap()
                label = run.cells[address].detector.label
                found, share = shared.predict(label, scorer)
                prediction = checked_prediction(label, found, floats, chunk.ids)
                tally = tallies[address]
                tally.scores.update(zip(chunk.ids, prediction.score.double().tolist(), strict=True))
                tally.seconds += share + clock.lap()
                if tally.pixels is not None:
                    tally.pixels.add(prediction, chunk.ids)

    # ---- images ---------------------------------------------------------------------------------------------

    def chunks(self, samples: Sequence[Sample]) -> Iterator[Chunk]:
        """Fixed slices of query samples with their canonical images.

        Made with numpy: torch would start a second team of OpenMP threads in the thread that runs ahead, and more
        threads than processors make every parallel loop of the first one wait (15 % of a pass).
        """
        shapes = [canonical_shape(s.height, s.width, self.job.canonical_edge) for s in samples]
        for group in chunks(samples, shapes, self.job.chunk_size):
            pixels = np.stack(self.images.get(self.dataset, group)).transpose(0, 3, 1, 2)
            images = self._on_device(torch.from_numpy(np.ascontiguousarray(pixels)))
            masks = self._on_device(self._masks(group)) if self.dataset.info.has_masks else None
            labels = torch.tensor([s.label for s in group])
            ids = tuple(s.id for s in group)
            yield Chunk(group, AttackBatch(images, self._on_device(labels), ids, masks))

    def _on_device(self, made: Tensor) -> Tensor:
        """On the job's device; to a GPU from pinned memory, so that the copy runs beside its work."""
        return made.pin_memory().to(self.job.device, non_blocking=True) if self.job.device.startswith("cuda") else made

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
        return torch.from_numpy(np.stack(self.images.masks(self.dataset, group)))

    def _clean_scores(self, spec: DetectorSpec, shots: int, seed: int) -> dict[str, float]:
        """Clean scores by sample id; computed here for the source of a transfer that is not evaluated itself."""
        if (spec.label, shots, seed) in self.job.clean:
            values = self._clean(spec, shots, seed).scores.tolist()
            return dict(zip((s.id for s in self.job.query), values, strict=True))
        if (spec, shots, seed) not in self._sources:
            scores: dict[str, float] = {}
            for chunk in self.chunks(self.job.query):
                found = _scorer(self.fits.fitted(spec, shots, seed), chunk.ids)(chunk.batch.images / 255.0).score
                scores.update(zip(chunk.ids, found.tolist(), strict=True))
            self._sources[spec, shots, seed] = scores
        return self._sources[spec, shots, seed]

    def _clean(self, spec: DetectorSpec, shots: int, seed: int) -> Cell:
        """The clean cell of the same fitted detector."""
        address = self.job.clean[spec.label, shots, seed]
        if address in self.known:
            return self.known[address]
        lost = self.lost.get(address)
        if lost is not None and lost.not_applicable:
            raise NotApplicableError(lost.reason)
        raise ContractError(f"no clean scores to build on: {lost.reason if lost else 'they were not computed'}")

    # ---- what attacks may query -----------------------------------------------------------------------------

    def _target(self, spec: PassSpec, chunk: Chunk, clean: CleanGraph) -> BoundTarget:
        """What the attack of a pass may query."""
        if spec.attack is None or (spec.source or spec.extractor_of) is None:
            return BoundTarget(Unreachable(), chunk.ids)
        shots, seed = spec.shots or 0, spec.seed or 0
        if spec.extractor_of is not None:
            victim = spec.extractor_of
            oracle = getattr(self.parts.attack(spec.attack), "head", "synthetic") == "oracle"
            logit = self.fits.oracle(victim, chunk.ids) if oracle else self.fits.surrogate(victim, shots, seed)
            return BoundTarget(BackboneAlone(self.fits.extractor(victim)), chunk.ids, surrogate=logit, clean=clean)
        assert spec.source is not None
        fitted = self.fits.fitted(spec.source, shots, seed)
        draws = 1 if self.parts.detector(spec.source).card.deterministic else EOT_DRAWS
        return BoundTarget(fitted, chunk.ids, flag=self._flag(spec.source, shots, seed), draws=draws)

    def _flag(self, spec: DetectorSpec, shots: int, seed: int) -> FlagModel | None:
        """The clean decision rule that `flag_adaptive` knows; None without clean scores of both classes."""
        clean = self.known.get(self.job.clean.get((spec.label, shots, seed), ""))
        labels = [sample.label for sample in self.job.query]
        return None if clean is None or len(set(labels)) < 2 else clean_flag(clean.scores, labels)


def _scorer(fitted: FittedDetector, ids: tuple[str, ...]) -> FittedDetector:
    """The detector for exactly these samples."""
    return fitted.excluding(ids) if isinstance(fitted, TransductiveScorer) else fitted


def _cell(cell: CellSpec, scores: Floats, pixels: CellPixels | None, facts: dict[str, float], seconds: float) -> Cell:
    with np.errstate(over="ignore"):
        stored = scores.astype(np.float32)
    if not np.isfinite(stored).all():
        raise ContractError(f"detector {cell.detector.label}: scores that are not finite in float32")
    return Cell(cell.address, cell.key, stored, pixels, facts, seconds)
