"""One submission as the site's tables need it: small, strict, and public as ``data/rows/<slug>.json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from benchmark.results.rows import NO_BUDGET, MetricValue, Strict
from benchmark.results.schema import RunResult
from benchmark.results.submission import LADDER, CounterRecord, Step, Submission, Verification
from benchmark.types.condition import parse_budget
from leaderboard.columns import SHOWN_METRICS

WORST_CASE = "worst_case"
ROBUST_SCORE = "robust_score"
SCALE = 1_000_000

Row = tuple[str, int, str | None, str | None, str | None, float | None, float | None, float | None, int, str | None]
VALUE_FIELDS = ("metric", "shots", "attack", "goal", "budget", "value", "low", "high", "n", "reason")


def level_of(budget: str | None) -> float:
    """A written budget in grey levels, exact for powers of two; 0 = clean.

    >>> level_of("1/64"), level_of("4"), level_of(None)
    (0.015625, 4.0, 0.0)
    """
    return float(parse_budget(budget)) if budget else 0.0


class Condition(NamedTuple):
    """What was done to the images. Clean is ``Condition(None, None, None)``."""

    attack: str | None
    goal: str | None
    budget: str | None

    @property
    def level(self) -> float:
        """The budget in grey levels; 0 = clean."""
        return level_of(self.budget)

    @property
    def natural(self) -> bool:
        """Whether this is a natural corruption: no attack, no budget."""
        return self.budget == NO_BUDGET


CLEAN = Condition(None, None, None)
R_CONDITION = Condition(WORST_CASE, "two_sided", None)


class Cell(NamedTuple):
    """One number in millionths with its interval, or none.

    ``note`` is the reason where there is no value, else what qualifies it; ``n`` counts the images behind it.
    """

    value: int | None
    low: int | None = None
    high: int | None = None
    note: str | None = None
    n: int = 0


def quantum(value: float | None) -> int | None:
    """A value in millionths, halves up: pages, shards and browser then round alike."""
    return None if value is None else int((value * SCALE + 0.5) // 1)


class CategoryRecord(Strict):
    """A category at the ranked support size: clean AUROC and worst-case AUROC by budget.

    ``shortcuts`` and ``warnings``: how well trivial statistics separate its images (`benchmark.data.shortcuts`).
    """

    name: str
    normals: int
    anomalies: int
    clean: float | None
    robust: dict[str, float | None]
    shortcuts: dict[str, float]
    warnings: tuple[str, ...]


class BudgetRecord(Strict):
    """One term of R: the AUROC that the worst case leaves at a budget (None = clean scores, ties lost).

    ``replicates`` are paired over detectors; empty where the result has none.
    """

    budget: str | None
    value: float
    replicates: tuple[float, ...]


class AttackRecord(Strict):
    """An attack that was run, with its counted cost per image."""

    name: str
    version: int
    knowledge: str
    norm: str
    full_coverage: bool
    forward_passes: float
    backward_passes: float


class DatasetRecord(Strict):
    """One result file, reduced to the numbers over the whole data set."""

    name: str
    title: str
    licence: str
    url: str
    has_normals: bool
    has_masks: bool
    file: str
    sha256: str
    complete: bool
    restrictions: tuple[str, ...]
    badge: Literal["green", "amber", "red"]
    findings: tuple[str, ...]
    ranked_shots: int | None
    unranked: str | None
    value_fields: tuple[str, ...] = VALUE_FIELDS
    values: tuple[Row, ...]
    clean_replicates: tuple[float, ...]
    budgets: tuple[BudgetRecord, ...]
    counter_claims: tuple[CounterRecord, ...]
    categories: tuple[CategoryRecord, ...]
    attacks: tuple[AttackRecord, ...]
    seconds_per_image: float | None
    seconds_per_pass: float | None
    peak_memory_bytes: int
    finished: str

    def cells(self) -> Iterator[tuple[int, str, Condition, Cell]]:
        """(shots, metric, condition, cell) of every stored value; R always stands under ``R_CONDITION``."""
        for metric, shots, attack, goal, budget, value, low, high, n, reason in self.values:
            condition = R_CONDITION if metric == ROBUST_SCORE else Condition(attack, goal, budget)
            yield shots, metric, condition, Cell(quantum(value), quantum(low), quantum(high), reason, n)

    @property
    def lowered(self) -> bool:
        """Whether counter-claims took something away."""
        return bool(self.counter_claims)


class DetectorRecord(Strict):
    """The detector of a row as its results name it."""

    name: str
    family: str
    backbone: str | None
    title: str
    summary: str
    zero_shot: bool
    few_shot: bool
    transductive: bool
    auxiliary_labels: bool
    differentiable: bool
    deterministic: bool
    has_map: bool
    random_weights: bool


class TrackRecord(Strict):
    """A row: one submission on one version of a track."""

    name: str
    version: int
    protocol: int
    detector: DetectorRecord
    datasets: tuple[DatasetRecord, ...]

    @property
    def key(self) -> str:
        """``<track>-v<N>``."""
        return f"{self.name}-v{self.version}"


class StepRecord(Strict):
    """The rung a row stands on; ``stale`` when its results changed after it was reached."""

    step: Step
    date: str | None
    by: str | None
    stale: bool


class Record(Strict):
    """A whole submission."""

    format: Literal[1] = 1
    submission: Submission
    local: bool
    step: StepRecord
    self_attacked: bool
    gallery: bool
    tracks: tuple[TrackRecord, ...]

    @property
    def slug(self) -> str:
        """Folder name and permanent address of the row."""
        return self.submission.slug


def dataset_record(result: RunResult, file: str, sha256: str, claims: tuple[CounterRecord, ...]) -> DatasetRecord:
    """Reduce a result to what tables need; ``claims`` have lowered it already."""
    ranked = next((v.shots for v in result.scored.values if v.metric == ROBUST_SCORE and v.category is None), None)
    return DatasetRecord(
        name=result.dataset.name,
        title=result.dataset.title,
        licence=result.dataset.licence,
        url=result.dataset.url,
        has_normals=result.dataset.has_normals,
        has_masks=result.dataset.has_masks,
        file=file,
        sha256=sha256,
        complete=result.track.complete,
        restrictions=result.track.restrictions,
        badge=result.validity.badge,
        findings=tuple(f"{c.name}: {c.detail}" for c in result.validity.checks if c.status in ("amber", "red")),
        ranked_shots=ranked,
        unranked=_unranked(result),
        values=tuple(_row(v) for v in result.scored.values if v.category is None and v.metric in SHOWN_METRICS),
        clean_replicates=_replicates(result, "auroc", ranked, None),
        budgets=tuple(_budgets(result, ranked)),
        counter_claims=claims,
        categories=_categories(result, ranked),
        attacks=tuple(
            AttackRecord(
                name=a.name,
                version=a.version,
                knowledge=a.knowledge,
                norm=a.norm,
                full_coverage=a.full_coverage,
                forward_passes=a.forward_passes,
                backward_passes=a.backward_passes,
            )
            for a in result.attacks
        ),
        seconds_per_image=result.timing.seconds_per_image,
        seconds_per_pass=_seconds_per_pass(result),
        peak_memory_bytes=result.timing.peak_memory_bytes,
        finished=result.timing.finished,
    )


def _row(v: MetricValue) -> Row:
    return (v.metric, v.shots, v.attack, v.goal, v.budget, v.value, v.low, v.high, v.n, v.reason)


def _seconds_per_pass(result: RunResult) -> float | None:
    """Wall seconds of one forward or backward pass of one image, over the white-box attacks on all images.

    The clean pass would not do: detectors with one backbone that were run together share its features and their time.
    """
    seeds = {(s.shots, s.seed) for c in result.dataset.categories for s in c.supports}
    seconds = passes = 0.0
    for attack in result.attacks:
        if attack.knowledge == "white_box" and attack.full_coverage and attack.name in result.timing.passes:
            images = sum(
                v.n * max(1, sum(shots == v.shots for shots, _ in seeds))
                for v in result.scored.values
                if (v.metric, v.attack, v.goal, v.category) == ("auroc_robust", attack.name, "two_sided", None)
            )
            seconds += result.timing.passes[attack.name]
            passes += images * (attack.forward_passes + attack.backward_passes)
    return seconds / passes if seconds and passes else None


def _budgets(result: RunResult, ranked: int | None) -> Iterator[BudgetRecord]:
    for v in result.scored.values:
        whole = v.metric == "auroc_robust" and v.category is None and v.shots == ranked
        if whole and v.attack in (None, WORST_CASE) and v.value is not None:
            found = _replicates(result, v.metric, ranked, v.budget)
            yield BudgetRecord(budget=v.budget, value=v.value, replicates=found)


def _replicates(result: RunResult, metric: str, shots: int | None, budget: str | None) -> tuple[float, ...]:
    wanted = (metric, shots, budget)
    return next((r.values for r in result.scored.replicates if (r.metric, r.shots, r.budget) == wanted), ())


def _unranked(result: RunResult) -> str | None:
    """Why a data set's part of a row keeps it from being ranked (PROTOCOL.md section 4); None = it does not."""
    if not result.track.complete:
        return "only a part of the track's grid was run"
    if result.detector.flags.random_weights:
        return "some weights are seeded random numbers"
    if result.validity.badge == "red":
        return "an attack-validity check failed"
    if not any(a.knowledge == "white_box" and a.full_coverage for a in result.attacks):
        return "black-box only: no white-box attack was completed"
    return None


def _categories(result: RunResult, ranked: int | None) -> tuple[CategoryRecord, ...]:
    clean: dict[str, float | None] = {}
    robust: dict[str, dict[str, float | None]] = {}
    for v in result.scored.values:
        if v.category is None or v.shots != ranked:
            continue
        if v.metric == "auroc" and v.attack is None:
            clean[v.category] = v.value
        elif v.metric == "auroc_robust" and v.attack == WORST_CASE and v.budget:
            robust.setdefault(v.category, {})[v.budget] = v.value
    return tuple(
        CategoryRecord(
            name=c.name,
            normals=c.normals,
            anomalies=c.anomalies,
            clean=clean.get(c.name),
            robust=robust.get(c.name, {}),
            shortcuts=c.shortcuts,
            warnings=c.warnings,
        )
        for c in result.dataset.categories
    )


def step_record(verification: Verification | None, digests: dict[str, str], protocol: int) -> StepRecord:
    """The highest rung that still holds. A build has parsed the files strictly, so every row is schema-valid."""
    if verification is None or not verification.steps:
        return StepRecord(step="schema_valid", date=None, by=None, stale=False)
    top = verification.steps[-1]
    if LADDER.index(top.step) <= LADDER.index("schema_valid"):
        return StepRecord(step="schema_valid", date=top.date, by=top.by, stale=False)
    stale = verification.results != digests or verification.protocol != protocol
    return StepRecord(step=top.step, date=top.date, by=top.by, stale=stale)
