"""Executes one job: streams the images of every pass in fixed chunks and yields the cells they feed.

All is deterministic given (job, device, thread count): chunks are fixed slices, random numbers keyed by sample.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.batches import Chunk, Cost, in_halves
from benchmark.calibration.crossfit import fold_of
from benchmark.canonical import canonical_shape
from benchmark.diagnostics import dead_share, repeat_error
from benchmark.episodes import DatasetSupport, as_tensor, chunks
from benchmark.errors import ContractError, NotApplicableError, StoreError, TrustADError
from benchmark.image_store import ImageStore
from benchmark.jobs import CellSpec, DetectorSpec, EpisodeSpec, Job, PassSpec
from benchmark.metrics.outcome import Floats
from benchmark.perturb import perturb
from benchmark.pixels import PixelCollector
from benchmark.probes import run_probe
from benchmark.registry import DATASETS, load_attribute
from benchmark.store import Cell, CellPixels
from benchmark.target import EOT_DRAWS, BoundTarget, FlagModel, Unreachable, clean_flag
from benchmark.types import (
    AttackBatch,
    Dataset,
    Episode,
    Features,
    FeatureScorer,
    FittedDetector,
    Prediction,
    Sample,
    TransductiveScorer,
    keyed_seed,
)
from benchmark.workbench import Workbench


@dataclass(frozen=True, slots=True)
class CellFailure:
    """Cells that a pass could not give: the reason, and the traceback for the log where the fault was not ours."""

    cells: tuple[CellSpec, ...]
    reason: str
    not_applicable: bool
    details: str = ""


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
class _Tally:
    """What a pass adds up for one cell."""

    scores: dict[str, float] = field(default_factory=dict)
    pixels: PixelCollector | None = None


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
        Cells as they complete, and failures; a failing pass does not stop the others.
    """
    prepare_device(job.device)
    bench = JobBench(job, dict(known))
    for spec in job.passes:
        yield from _outcomes(bench, spec)


def _outcomes(bench: JobBench, spec: PassSpec) -> Iterator[Cell | CellFailure]:
    """Cells of a pass, or why there are none. Where a shared pass fails, every detector runs its own, so that only the
    culprit's cells are lost.
    """
    started = time.perf_counter()
    try:
        with torch.no_grad():
            cells = bench.run(spec)
    except StoreError:  # a full or read-only disk is nobody's result
        raise
    except Exception as error:  # a third party's fault fails its cells, never the run
        failure = _failure(spec, error)
    else:
        seconds = (time.perf_counter() - started) / len(cells)
        for cell, done in cells:
            bench.remember(cell, done)
            yield replace(done, seconds=seconds)
        return
    detectors = dict.fromkeys(cell.detector for cell in spec.cells)
    if len(detectors) == 1:
        yield failure
        return
    for detector in detectors:
        own = tuple(cell for cell in spec.cells if cell.detector == detector)
        yield from _outcomes(bench, replace(spec, cells=own))


def _failure(spec: PassSpec, error: Exception) -> CellFailure:
    if isinstance(error, TrustADError):
        return CellFailure(spec.cells, str(error), isinstance(error, NotApplicableError))
    reason = f"{type(error).__name__}: {error}"[:500]
    return CellFailure(spec.cells, reason, False, "".join(traceback.format_exception(error)))


class JobBench:
    """The live objects of one job: images, detectors, fits and surrogate heads, each made once."""

    def __init__(self, job: Job, known: dict[str, Cell]) -> None:
        self.job = job
        self.device = job.device
        self.parts = Workbench()
        self.dataset: Dataset = DATASETS.get(job.dataset)(job.root)
        self.images = ImageStore(job.canonical_edge)
        self.known = known
        self._fitted: dict[tuple[str, int, int], FittedDetector] = {}
        self._heads: dict[tuple[Any, ...], Any] = {}
        self._supports: dict[tuple[int, int], DatasetSupport] = {}

    def remember(self, cell: CellSpec, done: Cell) -> None:
        """Keep clean cells: later passes read map ranges and flag calibrators from them."""
        if cell.is_clean:
            self.known[cell.address] = done

    # ---- one pass -------------------------------------------------------------------------------------------

    def run(self, spec: PassSpec) -> list[tuple[CellSpec, Cell]]:
        """All cells of a pass."""
        if spec.probe is not None:
            return [(cell, _cell(cell, run_probe(self, cell), None, {})) for cell in spec.cells]
        tallies = {cell.address: _Tally(pixels=self._collector(cell)) for cell in spec.cells}
        costs = {epsilon: Cost() for epsilon in spec.epsilons}
        size = self.job.chunk_size
        for chunk in self.chunks(spec.samples):
            size = in_halves(chunk, size, lambda part: self._feed(spec, part, tallies, costs))
        repeats = self._repeat(spec, size, tallies)
        halved = {"batch": float(size)} if size < self.job.chunk_size else {}
        done = []
        for cell in spec.cells:
            cost = costs[cell.epsilon or 0]
            facts = cost.per_image(len(spec.samples)) | self._dead(spec, cost) | repeats.get(cell.address, {}) | halved
            done.append((cell, _finish(cell, tallies[cell.address], facts)))
        return done

    def _feed(self, spec: PassSpec, chunk: Chunk, tallies: Mapping[str, _Tally], costs: Mapping[int, Cost]) -> None:
        """Attack and score some images; their cost counts once they are through."""
        spent = {epsilon: Cost() for epsilon in costs}
        for epsilon, images in self._images(spec, chunk, spent):
            wanted = [cell for cell in spec.cells if (cell.epsilon or 0) == epsilon]
            self._score(wanted, chunk, images, tallies)
        for epsilon, cost in spent.items():
            costs[epsilon].add(cost)

    def examples(self, spec: PassSpec) -> Iterator[Example]:
        """The images of a white-box pass themselves, one by one, for the gallery (data sets with masks)."""
        assert spec.source is not None
        for chunk in (one for whole in self.chunks(spec.samples) for one in whole.split(1)):
            fitted = self.fitted(spec.source, spec.shots or 0, spec.seed or 0)
            before = self._predict(fitted, chunk.batch.images.float() / 255.0, chunk.ids, {})
            for _, images in self._images(spec, chunk, {n: Cost() for n in spec.epsilons}):
                after = self._predict(fitted, images.float() / 255.0, chunk.ids, {})
                assert chunk.batch.masks is not None
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

    def _repeat(self, spec: PassSpec, size: int, tallies: Mapping[str, _Tally]) -> dict[str, dict[str, float]]:
        """Clean cells: how far the scores of the first chunk move when they are computed once more, by address."""
        if spec.attack is not None:
            return {}
        chunk = next(next(self.chunks(spec.samples)).split(size))
        again = {cell.address: _Tally() for cell in spec.cells}
        self._score(spec.cells, chunk, chunk.batch.images, again)
        return {
            address: {"repeat_error": repeat_error(tallies[address].scores, tally.scores)}
            for address, tally in again.items()
        }

    def _images(self, spec: PassSpec, chunk: Chunk, costs: Mapping[int, Cost]) -> Iterator[tuple[int, Tensor]]:
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
            target = self._target(spec, chunk)
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
        floats = images.float() / 255.0
        shared: dict[str, Features] = {}
        for cell in cells:
            prediction = self._predict(self.fitted(cell.detector, cell.shots, cell.seed), floats, chunk.ids, shared)
            tally = tallies[cell.address]
            tally.scores.update(zip(chunk.ids, prediction.score.double().tolist(), strict=True))
            if tally.pixels is not None:
                tally.pixels.add(prediction, chunk.ids)

    def _predict(
        self, fitted: FittedDetector, images: Tensor, ids: tuple[str, ...], shared: dict[str, Features]
    ) -> Prediction:
        scorer = fitted.excluding(ids) if isinstance(fitted, TransductiveScorer) else fitted
        if not isinstance(scorer, FeatureScorer):
            return scorer(images)
        if scorer.extractor.id not in shared:
            shared[scorer.extractor.id] = scorer.extractor(images)
        return scorer.score(shared[scorer.extractor.id])

    # ---- images ---------------------------------------------------------------------------------------------

    def chunks(self, samples: Sequence[Sample]) -> Iterator[Chunk]:
        """The samples in fixed batches of one shape."""
        shapes = [canonical_shape(s.height, s.width, self.job.canonical_edge) for s in samples]
        for group in chunks(samples, shapes, self.job.chunk_size):
            images = torch.stack([as_tensor(image) for image in self.images.get(self.dataset, group)])
            masks = self._masks(group).to(self.device) if self.dataset.info.has_masks else None
            labels = torch.tensor([s.label for s in group])
            batch = AttackBatch(images.to(self.device), labels.to(self.device), tuple(s.id for s in group), masks)
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

    def _clean_scores(self, spec: DetectorSpec, shots: int, seed: int) -> dict[str, float]:
        """Clean scores by sample id; computed here for the source of a transfer that is not evaluated itself."""
        if (spec.label, shots, seed) in self.job.clean:
            values = self._clean(spec, shots, seed).scores.tolist()
            return dict(zip((s.id for s in self.job.query), values, strict=True))
        scores: dict[str, float] = {}
        for chunk in self.chunks(self.job.query):
            found = self._predict(self.fitted(spec, shots, seed), chunk.batch.images / 255.0, chunk.ids, {}).score
            scores.update(zip(chunk.ids, found.tolist(), strict=True))
        return scores

    def _clean(self, spec: DetectorSpec, shots: int, seed: int) -> Cell:
        """The clean cell of the same fitted detector."""
        cell = self.known.get(self.job.clean[spec.label, shots, seed])
        if cell is None:
            raise NotApplicableError("the clean scores of this episode are missing")
        return cell

    # ---- fitted things --------------------------------------------------------------------------------------

    def support(self, shots: int, seed: int) -> DatasetSupport:
        """The support set of one episode of this category."""
        if (shots, seed) not in self._supports:
            spec: EpisodeSpec = next(e for e in self.job.episodes if (e.shots, e.seed) == (shots, seed))
            episode = Episode(self.job.dataset, self.job.category, shots, seed, spec.support, ())
            self._supports[shots, seed] = DatasetSupport(self.dataset, episode, self.job.canonical_edge)
        return self._supports[shots, seed]

    def fitted(self, spec: DetectorSpec, shots: int, seed: int) -> FittedDetector:
        """A detector fitted to one episode."""
        key = (spec.label, shots, seed)
        if key not in self._fitted:
            detector = self.parts.detector(spec)
            if detector.extractor is not None:
                detector.extractor = detector.extractor.to(self.device)
            fit_seed = keyed_seed("fit", self.job.dataset, self.job.category, shots, seed, spec.label)
            support = self.support(shots, seed)
            if detector.card.transductive:
                self._fitted[key] = detector.fit_transductive(support, self._query(), seed=fit_seed)
            else:
                self._fitted[key] = detector.fit(support, seed=fit_seed)
        return self._fitted[key]

    def _query(self) -> list[tuple[str, Tensor]]:
        return [(s.id, self._canonical(s)) for s in self.job.query]

    def _canonical(self, sample: Sample) -> Tensor:
        return as_tensor(self.images.get(self.dataset, [sample])[0]).to(self.device)

    def _target(self, spec: PassSpec, chunk: Chunk) -> BoundTarget:
        """What the attack of a pass may query."""
        victim = spec.source or spec.extractor_of
        if victim is None:
            return BoundTarget(Unreachable(), chunk.ids)
        assert spec.shots is not None
        assert spec.seed is not None
        fitted = self.fitted(victim, spec.shots, spec.seed)
        if spec.source is None:
            return BoundTarget(fitted, chunk.ids, surrogate=self._surrogate(spec, victim, chunk))
        draws = 1 if self.parts.detector(victim).card.deterministic else EOT_DRAWS
        return BoundTarget(fitted, chunk.ids, flag=self._flag(victim, spec.shots, spec.seed), draws=draws)

    def _surrogate(self, spec: PassSpec, victim: DetectorSpec, chunk: Chunk) -> Callable[[Features], Tensor]:
        """The head that the pass's attack reads: fitted on the support, or (``oracle``) on test labels."""
        assert spec.attack is not None
        if getattr(self.parts.attack(spec.attack), "head", "synthetic") == "oracle":
            return self._oracle(victim, chunk)
        extractor = self.parts.detector(victim).extractor
        assert extractor is not None
        key = (extractor.id, spec.shots, spec.seed)
        if key not in self._heads:
            fit = load_attribute("attacks.surrogate:fit_surrogate")
            seed = keyed_seed("surrogate", self.job.dataset, self.job.category, spec.shots or 0, spec.seed or 0)
            self._heads[key] = fit(extractor, self.support(spec.shots or 0, spec.seed or 0), seed=seed)
        logit: Callable[[Features], Tensor] = self._heads[key].logit
        return logit

    def _oracle(self, victim: DetectorSpec, chunk: Chunk) -> Callable[[Features], Tensor]:
        """Audit only: each image is attacked through the head fitted on the TRUE LABELS of the other fold."""
        query = self.job.query
        folds = fold_of([s.id for s in query], [s.label for s in query])
        fold = {s.id: int(f) for s, f in zip(query, folds, strict=True)}
        heads = [self._oracle_head(victim, [s for s in query if fold[s.id] != f], f) for f in (0, 1)]
        first = torch.tensor([fold[name] == 0 for name in chunk.ids], device=self.device)
        return lambda features: torch.where(first, heads[0].logit(features), heads[1].logit(features))

    def _oracle_head(self, victim: DetectorSpec, others: Sequence[Sample], fold: int) -> Any:
        extractor = self.parts.detector(victim).extractor
        assert extractor is not None
        key = (extractor.id, "oracle", fold)
        if key not in self._heads:
            fit = load_attribute("attacks.surrogate:fit_oracle_surrogate")
            images = [self._canonical(s) for s in others]
            self._heads[key] = fit(extractor, images, [s.label for s in others], seed=0)
        return self._heads[key]

    def _flag(self, spec: DetectorSpec, shots: int, seed: int) -> FlagModel | None:
        """The clean decision rule that `flag_adaptive` knows; None without clean scores of both classes."""
        clean = self.known.get(self.job.clean.get((spec.label, shots, seed), ""))
        labels = [sample.label for sample in self.job.query]
        return None if clean is None or len(set(labels)) < 2 else clean_flag(clean.scores, labels)


def _finish(cell: CellSpec, tally: _Tally, facts: dict[str, float]) -> Cell:
    pixels = None if tally.pixels is None else tally.pixels.finish([s.id for s in cell.samples])
    return _cell(cell, np.array([tally.scores[s.id] for s in cell.samples]), pixels, facts)


def _cell(cell: CellSpec, scores: Floats, pixels: CellPixels | None, facts: dict[str, float]) -> Cell:
    if not np.isfinite(scores).all():
        raise ContractError(f"detector {cell.detector.label}: scores that are not finite")
    return Cell(cell.address, cell.key, scores.astype(np.float32), pixels, facts)
