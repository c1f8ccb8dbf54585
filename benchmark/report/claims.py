"""The paper's claims as questions, each answered from a study with intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmark.calibration.calibrators import CALIBRATORS
from benchmark.errors import NotApplicableError
from benchmark.report.study import HEADLINE, METRICS, RAW, Estimate, Study, study_of
from benchmark.results.rows import NO_BUDGET, ProbeValue
from benchmark.scoring.episodes import episodes_of
from benchmark.scoring.probe import probe_values
from benchmark.statistics.bootstrap import RESAMPLES
from benchmark.types.condition import Condition, budget_text

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = ("sign_noise", "uniform_noise", "gaussian_noise")
NO_ATTACK = "No attack in this run covers all images."
LOSSES = ("ECE", "NLL", "Brier")
GOALS: dict[str, bool | None] = {"two_sided": None, "evasion": True, "false_alarm": False}


@dataclass(frozen=True, slots=True)
class Drop:
    """What one attack at one budget costs one metric. ``beyond_noise`` is None for noise, or where none was run."""

    metric: str
    attack: str
    budget: str
    clean: Estimate
    attacked: Estimate
    drop: Estimate
    beyond_noise: Estimate | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Clean calibration of one calibrator; ``lowered``: raw (min-max) minus this one, for ECE, NLL and Brier."""

    calibrator: str
    ece: float
    ece_if_calibrated: float
    p_value: float  # of the ECE, were the probabilities calibrated
    nll: Estimate
    brier: Estimate
    lowered: tuple[Estimate, ...] | None


@dataclass(frozen=True, slots=True)
class Flag:
    """The entropy flag under one attack, goal and budget. ``rise`` is in nats, on the attacked images."""

    attack: str
    goal: str
    budget: str
    rise: Estimate
    auroc: Estimate

    @property
    def verdict(self) -> str:
        """``above chance``, ``broken`` (attacked images look MORE certain than clean) or ``undecided``, at 95 %."""
        if self.auroc.low > 0.5:
            return "above chance"
        return "broken" if self.auroc.high < 0.5 else "undecided"


@dataclass(frozen=True, slots=True)
class Answer:
    """A question of the paper and what this run says to it."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Section:
    """The report on one detector and data set; ``missing`` says why there is nothing to report, where there is not.

    ``natural`` holds corruptions, ``probes`` the macro means of the experiments beside the grid.
    """

    detector: str
    dataset: str
    shots: int
    seeds: tuple[int, ...]
    categories: tuple[str, ...]
    images: int
    drops: tuple[Drop, ...]
    natural: tuple[Drop, ...]
    calibrations: tuple[Calibration, ...]
    flags: tuple[Flag, ...]
    probes: tuple[ProbeValue, ...]
    missing: str | None

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The claims, in the paper's order."""
        if self.missing is not None:
            return (Answer("Can the claims be tested here?", f"No: {self.missing}."),)
        return (
            *(Answer(f"Does {metric} drop under attack, beyond noise?", self._drop(metric)) for metric in METRICS),
            Answer("Is the raw score miscalibrated?", self._raw()),
            Answer("How far does Platt scaling lower ECE, NLL and Brier?", self._platt()),
            Answer("Does entropy rise under attack?", self._rise()),
            Answer("Where does the entropy flag break (overshoot)?", self._break()),
        )

    def _drop(self, metric: str) -> str:
        rows = [d for d in self.drops if d.metric == metric and d.attack not in CONTROLS]
        if not rows:
            return NO_ATTACK
        judged = [(d, d.beyond_noise) for d in rows if d.beyond_noise is not None]
        beyond = [d for d, excess in judged if excess.low > 0]
        worst = max(rows, key=lambda d: d.drop.value)
        said = f"Largest drop: {interval(worst.drop)} under {worst.attack} at {worst.budget}."
        if not judged:
            return f"{said} No noise control at the same budgets."
        return f"{_verdict(len(beyond), len(judged))}: in {len(beyond)} of {len(judged)} conditions. {said}"

    def _raw(self) -> str:
        raw = self.calibrations[0]
        word = "Yes" if raw.p_value < 0.05 else "Not shown"
        expected = f"calibrated probabilities would show {raw.ece_if_calibrated:.3f} in a sample this small"
        return f"{word}: ECE {raw.ece:.3f}; {expected} (p = {raw.p_value:.3f})."

    def _platt(self) -> str:
        lowered = next(c.lowered for c in self.calibrations if c.calibrator == HEADLINE) or ()
        said = "; ".join(f"{name} by {interval(by)}" for name, by in zip(LOSSES, lowered, strict=True))
        return f"{said}." + (" Negative: raised." if any(by.value < 0 for by in lowered) else "")

    def _rise(self) -> str:
        rows = [f for f in self.flags if f.goal == "two_sided" and f.attack not in CONTROLS]
        if not rows:
            return NO_ATTACK
        up, down = sum(f.rise.low > 0 for f in rows), sum(f.rise.high < 0 for f in rows)
        word = "No" if down and not up else _verdict(up, len(rows))
        return f"{word}: it rises in {up} and falls in {down} of {len(rows)} conditions (two-sided)."

    def _break(self) -> str:
        if not self.flags:
            return NO_ATTACK
        broken: dict[str, dict[str, str]] = {}
        for flag in self.flags:  # budgets ascend within an attack
            if flag.verdict == "broken":
                broken.setdefault(flag.attack, {}).setdefault(flag.goal, flag.budget)
        if not broken:
            return "Nowhere in this run: no entropy AUROC is below 0.5 at 95 %."
        said = (
            f"{attack}: {', '.join(f'{goal} from {budget}' for goal, budget in goals.items())}"
            for attack, goals in broken.items()
        )
        return "; ".join(said) + "."


def interval(estimate: Estimate) -> str:
    """``0.123 [0.045, 0.210]``."""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _verdict(holds: int, total: int) -> str:
    if holds == 0:
        return "Not shown"
    return "Yes" if holds == total else "Partly"


def sections(
    evidence: pd.DataFrame,
    shots: int | None = None,
    resamples: int = RESAMPLES,
    probes: pd.DataFrame | None = None,
) -> list[Section]:
    """One section per detector and data set of `scores` evidence (PROTOCOL section 8), at one support size.

    Args:
        evidence: Any number of detectors and data sets.
        shots: Support size; default: the one with most attack conditions.
        resamples: Bootstrap resamples of the intervals.
        probes: `probes` evidence of the same runs.

    Raises:
        NotApplicableError: ``shots`` is not in the evidence, or a category lacks a label.
    """
    found = []
    for (detector, dataset), rows in evidence.groupby(["detector", "dataset"], sort=True):
        episodes = episodes_of(rows)
        study = study_of(episodes, str(dataset), resamples, shots)
        values: tuple[ProbeValue, ...] = ()
        if probes is not None:
            mine = probes[(probes["detector"] == detector) & (probes["dataset"] == dataset)]
            values = tuple(v for v in probe_values(mine, episodes, str(dataset)) if v.category is None)
        found.append(_section(str(detector), study, values))
    return found


def _section(detector: str, study: Study, probes: tuple[ProbeValue, ...]) -> Section:
    drops: list[Drop] = []
    calibrations: list[Calibration] = []
    flags: list[Flag] = []
    missing = None
    try:
        drops, calibrations, flags = _drops(study), _calibrations(study), _flags(study)
    except NotApplicableError as reason:
        missing = str(reason)
    return Section(
        detector=detector,
        dataset=study.dataset,
        shots=study.episodes[0].shots,
        seeds=study.seeds,
        categories=study.categories,
        images=sum(len(e.ids) for e in study.episodes if e.seed == study.seeds[0]),
        drops=tuple(d for d in drops if d.budget != NO_BUDGET),
        natural=tuple(d for d in drops if d.budget == NO_BUDGET),
        calibrations=tuple(calibrations),
        flags=tuple(f for f in flags if f.budget != NO_BUDGET),
        probes=tuple(v for v in probes if v.shots == study.episodes[0].shots),
        missing=missing,
    )


def _named(condition: Condition) -> tuple[str, str]:
    """Attack and budget of an attacked condition, as the page shows them."""
    assert condition.attack is not None
    assert condition.budget is not None
    return condition.attack, budget_text(condition.budget)


def _drops(study: Study) -> list[Drop]:
    found = []
    for metric, (clean, *attacked) in study.detection().items():
        draws = dict(zip(study.attacks, attacked, strict=True))
        for condition, draw in draws.items():
            attack, budget = _named(condition)
            controls = [replace(condition, attack=name) for name in CONTROLS]
            noise = next((draws[control] for control in controls if control in draws), None)
            beyond = None if noise is None or attack in CONTROLS else Estimate.of(noise - draw)
            before, after, drop = Estimate.of_share(clean), Estimate.of_share(draw), Estimate.of(clean - draw)
            found.append(Drop(metric, attack, budget, before, after, drop, beyond))
    return found


def _calibrations(study: Study) -> list[Calibration]:
    raw_ece = study.ece(RAW)
    raw_losses = study.losses(RAW)
    found = []
    for name in CALIBRATORS:
        ece, losses, null = study.ece(name), study.losses(name), study.ece_if_calibrated(name)
        pairs = [(raw_ece, ece), *zip(raw_losses, losses, strict=True)]
        found.append(
            Calibration(
                calibrator=name,
                ece=float(ece[0]),
                ece_if_calibrated=float(null.mean()),
                p_value=float((1 + np.sum(null >= ece[0])) / (1 + null.size)),
                nll=Estimate.of(losses[0]),
                brier=Estimate.of_share(losses[1]),
                lowered=None if name == RAW else tuple(Estimate.of(raw - fitted) for raw, fitted in pairs),
            )
        )
    return found


def _flags(study: Study) -> list[Flag]:
    found = []
    for goal, anomalous in GOALS.items():
        (clean, *attacked), (_, *areas) = study.flag(anomalous)
        for condition, level, area in zip(study.attacks, attacked, areas, strict=True):
            attack, budget = _named(condition)
            found.append(Flag(attack, goal, budget, Estimate.of(level - clean), Estimate.of_share(area)))
    return found
