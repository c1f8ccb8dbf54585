"""What a plan costs before it runs: passes by rehearsal, times and memory by a short calibration on this device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from benchmark.calibration.crossfit import fold_of
from benchmark.data.canonical import canonical_shape
from benchmark.data.episodes import chunks
from benchmark.errors import TrustADError
from benchmark.execution.pass_run import Clock
from benchmark.execution.rehearsal import Spent, Stage
from benchmark.planning.jobs import CellSpec, DetectorSpec, Job, PassSpec
from benchmark.planning.passes import streams
from benchmark.planning.workbench import Workbench
from benchmark.registry import load_attribute
from benchmark.results.provenance import peak_memory_bytes
from benchmark.types import CategoryInfo, Detector, Extractor, Features, FittedDetector, Sample, Support

if TYPE_CHECKING:
    from typing import TypeAlias

    from benchmark.planning.planner import Plan

Kind = Literal["extract", "head", "backward", "fit"]
Work: TypeAlias = "Counter[tuple[Kind, DetectorSpec]]"
"""Images forward through a backbone, through a detector's head, backward through the backbone, and support images that
a detector is fitted to. Backbone passes are booked on the first detector of the plan that has the backbone."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per image of each kind of work of one detector."""

    extract: float
    head: float
    backward: float
    fit: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will cost.

    Attributes:
        forward: Images forward through a backbone (a detector without one counts as one).
        backward: Images backward.
        seconds: Wall time of computing the cells; None with a reason.
        memory: Peak bytes on the device, or resident; None with a reason.
        missing: Why there is no time and no memory.
    """

    forward: int
    backward: int
    seconds: float | None
    memory: int | None
    missing: str | None = None


Calibrate: TypeAlias = "Callable[[Plan, Workbench, DetectorSpec], Pace]"


def estimate(plan: Plan, bench: Workbench, calibrate: Calibrate | None = None) -> Estimate:
    """Estimate a plan; nothing is written and no data is read.

    Args:
        plan: What is missing.
        bench: The detectors that it was planned with.
        calibrate: Measures a detector; default: `measure`.
    """
    work = work_of(plan.jobs, bench)
    forward, backward = (
        sum(n for (kind, _), n in work.items() if kind == wanted) for wanted in ("extract", "backward")
    )
    try:
        paces = {spec: (calibrate or measure)(plan, bench, spec) for spec in {spec: None for _, spec in work}}
    except (TrustADError, RuntimeError, MemoryError) as error:
        return Estimate(forward, backward, None, None, str(error).splitlines()[0])
    seconds = sum(n * float(getattr(paces[spec], kind)) for (kind, spec), n in work.items())
    return Estimate(forward, backward, seconds, _peak(plan.selection.device))


# ---- counting ---------------------------------------------------------------------------------------------------


def work_of(jobs: Sequence[Job], bench: Workbench) -> Work:
    """The work of all jobs; what detectors do while they are fitted counts as ``fit`` alone."""
    memo: dict[object, Spent] = {}
    total: Work = Counter()
    for job in jobs:
        total.update(_Count(job, bench, memo).whole())
    return total


class _Count:
    """Adds up one job. ``memo`` keeps rehearsals that other jobs can use."""

    def __init__(self, job: Job, bench: Workbench, memo: dict[object, Spent]) -> None:
        self.job, self.bench, self.memo = job, bench, memo
        self.work: Work = Counter()
        self.fitted: set[tuple[DetectorSpec, int, int]] = set()
        self.learnt: set[tuple[DetectorSpec, str, int]] = set()
        self.sources: set[tuple[DetectorSpec, int | None, int | None]] = set()

    def whole(self) -> Work:
        for passes in streams(self.job.passes):
            if passes[0].probe is not None:
                self._probe(passes[0].cells[0])
                continue
            self._craft(passes)
            for spec in passes:
                self._learn(spec)
                self._score(spec)
        for detector, shots, _ in self.fitted:
            self.work["fit", detector] += shots
        for owner, _, views in self.learnt:
            self.work["extract", owner] += views
        return self.work

    def _owner(self, spec: DetectorSpec) -> DetectorSpec:
        """The first detector of the plan with the same backbone."""
        mine = self.bench.detector(spec).extractor
        known = ((s, d.extractor) for s, d in self.bench.detectors.items())
        return next((s for s, other in known if mine and other and other.id == mine.id), spec)

    def _rehearsed(self, key: tuple[object, ...], work: Callable[[Stage], None]) -> Spent:
        if key not in self.memo:
            stage = Stage(self.job, self.bench)
            with suppress(TrustADError):  # what does not apply in the rehearsal will not in the run
                work(stage)
            self.memo[key] = stage.spent
        return self.memo[key]

    def _book(self, spec: DetectorSpec, spent: Spent, times: int, *, head: bool) -> None:
        self.work["extract", self._owner(spec)] += times * spent["forward"]
        self.work["backward", self._owner(spec)] += times * spent["backward"]
        self.work["fit", spec] += times * spent["fit"]
        if head:
            self.work["head", spec] += times * spent["forward"]

    def _probe(self, cell: CellSpec) -> None:
        detector = self.bench.detector(cell.detector)
        traits = (detector.card.deterministic, detector.card.differentiable, detector.extractor is None)
        query = self.job.query
        folds = fold_of([s.id for s in query], [s.label for s in query])
        sizes = (
            Counter(zip(folds.tolist(), (s.label for s in query), strict=True)),
            Counter(s.label for s in cell.samples),
        )
        key = (cell.probe, cell.shots, *(tuple(sorted(size.items())) for size in sizes), *traits)
        self._book(cell.detector, self._rehearsed(key, lambda stage: stage.probe(cell)), 1, head=True)
        self.fitted.add((cell.detector, cell.shots, cell.seed))

    def _craft(self, passes: Sequence[PassSpec]) -> None:
        spec = passes[0]
        victim = spec.source or spec.extractor_of
        if spec.attack is not None and victim is not None:
            key = (spec.attack, spec.budgets, len(passes), self.bench.detector(victim).card.deterministic)
            spent = self._rehearsed(key, lambda stage: stage.craft(passes))
            self._book(victim, spent, len(spec.samples), head=spec.source is not None)
            self._clean_scores(spec)

    def _clean_scores(self, spec: PassSpec) -> None:
        """A source that is not evaluated itself scores the clean images, for the share of dead gradients."""
        white = self.bench.attack(spec.attack or "").card.knowledge == "white_box"
        if spec.source is None or not white or (spec.source.label, spec.shots, spec.seed) in self.job.clean:
            return
        if (spec.source, spec.shots, spec.seed) not in self.sources:
            self.sources.add((spec.source, spec.shots, spec.seed))
            self._book(spec.source, Counter({"forward": 1}), len(self.job.query), head=True)

    def _learn(self, spec: PassSpec) -> None:
        """Fits of detectors and surrogate heads that the pass needs."""
        self.fitted.update((c.detector, c.shots, c.seed) for c in spec.cells)
        if spec.source is not None:
            self.fitted.add((spec.source, spec.shots or 0, spec.seed or 0))
        if spec.attack is None or spec.extractor_of is None:
            return
        owner = self._owner(spec.extractor_of)
        if getattr(self.bench.attack(spec.attack), "head", "") == "oracle":
            self.learnt.update((owner, sample.id, 1) for sample in self.job.query)
            return
        views = len(load_attribute("attacks.surrogate:ANGLES")) + int(load_attribute("attacks.surrogate:ANOMALIES"))
        episode = next(e for e in self.job.episodes if (e.shots, e.seed) == (spec.shots, spec.seed))
        self.learnt.update((owner, sample.id, views) for sample in episode.support)

    def _score(self, spec: PassSpec) -> None:
        """Every head; its backbone once for each budget. Clean: the first batch once more, for `repeat_error`."""
        shapes = [canonical_shape(s.height, s.width, self.job.canonical_edge) for s in spec.samples]
        first = next(chunks(spec.samples, shapes, self.job.chunk_size))
        images = len(spec.samples) + (len(first) if spec.attack is None else 0)
        for budget in spec.budgets:
            cells = [cell for cell in spec.cells if (cell.budget or Fraction(0)) == budget]
            self.work.update({("extract", owner): images for owner in {self._owner(c.detector) for c in cells}})
            for cell in cells:
                self.work["head", cell.detector] += images


# ---- measuring --------------------------------------------------------------------------------------------------


def measure(plan: Plan, bench: Workbench, spec: DetectorSpec) -> Pace:
    """Fit a detector to noise images at the ranked shots, and time one batch forward and backward.

    The images have the largest shape of the plan, so that memory is that of its largest batch; times are brought to the
    mean number of pixels in proportion.

    Heads of larger supports, and of transductive detectors with more query images than a batch, take longer.
    """
    track, device = plan.track, plan.selection.device
    detector, clock = bench.detector(spec), Clock(device)
    shape, share = _shape(plan)
    most = max((len(part.samples) for job in plan.jobs for part in job.passes), default=track.chunk_size)
    query = _noise(min(track.chunk_size, most), shape, 1).to(device)
    images = query.float() / 255.0
    if detector.extractor is not None:
        detector.extractor = detector.extractor.to(device)
        detector.extractor(images[:1])
    clock.lap()
    fitted = _fit(detector, _Noise(track.ranked_shots, shape), query)
    fit = share * clock.lap() / max(1, track.ranked_shots)
    whole = share * _forward(fitted, images, clock)
    extract = whole if detector.extractor is None else share * _forward(detector.extractor, images, clock)
    backward = share * _backward(detector.extractor or fitted, images, clock) - extract
    return Pace(extract / len(images), max(0.0, whole - extract) / len(images), max(0.0, backward) / len(images), fit)


def _fit(detector: Detector, support: Support, query: Tensor) -> FittedDetector:
    with torch.no_grad():
        if detector.card.transductive:
            return detector.fit_transductive(support, [(str(i), image) for i, image in enumerate(query)], seed=0)
        return detector.fit(support, seed=0)


@torch.no_grad()
def _forward(model: Extractor | FittedDetector, images: Tensor, clock: Clock) -> float:
    clock.lap()
    model(images)
    return clock.lap()


def _backward(model: Extractor | FittedDetector, images: Tensor, clock: Clock) -> float:
    """Seconds forward and backward; forward alone where there is no gradient."""
    leaf = images.clone().requires_grad_(True)
    clock.lap()
    with torch.enable_grad():
        made = model(leaf)
        value = (made.pooled() if isinstance(made, Features) else made.score).sum()
        if value.requires_grad:
            torch.autograd.grad(value, leaf)
    return clock.lap()


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_memory_bytes()


def _shape(plan: Plan) -> tuple[tuple[int, int], float]:
    """The largest canonical (h, w) of the plan's query images, and the mean share of its pixels that they have."""
    samples = {s.id: s for job in plan.jobs for s in job.query}.values()
    shapes = [canonical_shape(s.height, s.width, plan.track.canonical_edge) for s in samples]
    shapes = shapes or [(plan.track.canonical_edge, plan.track.canonical_edge)]
    areas = [height * width for height, width in shapes]
    largest = areas.index(max(areas))
    return shapes[largest], sum(areas) / len(areas) / areas[largest]


def _noise(count: int, shape: tuple[int, int], seed: int) -> Tensor:
    """Seeded noise, uint8 [count, 3, h, w]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *shape), dtype=torch.uint8, generator=generator)


class _Noise(Support):
    """Reference images of noise; a rotated view is the image itself, made another one by its brightness."""

    def __init__(self, count: int, shape: tuple[int, int]) -> None:
        self.info = CategoryInfo("noise", "noise", "object")
        self._images = _noise(count, shape, 0)
        height, width = shape
        self.samples = tuple(
            Sample(str(i), "noise", "train", 0, "good", "", (), "", width, height) for i in range(count)
        )

    def views(self, angles: Sequence[float] = (0.0,)) -> list[list[Tensor]]:
        return [[image + place for place in range(len(angles))] for image in self._images]
