"""The rows of a result file: values, tables and curves, each a strict model (see `benchmark.results.schema`)."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from benchmark.errors import UsageError
from benchmark.types.condition import Goal, parse_budget


def _budget(text: str) -> str:
    try:
        parse_budget(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:@+/-]{0,119}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Https = Annotated[str, StringConstraints(pattern=r"^(https://[^\s<>\"']{1,500})?$")]
BudgetText = Annotated[str, AfterValidator(_budget)]
"""A budget in grey levels as `benchmark.types.condition.budget_text` writes it."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Real = Annotated[float, Field(ge=-1e12, le=1e12)]
Scalar = bool | int | float | str | None
NO_BUDGET = "255"
"""Every image lies in that ball: natural corruptions, which are no attacks."""


class Strict(BaseModel):
    """Base of all file models."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MetricValue(Strict):
    """One number with everything that it is conditional on.

    Attributes:
        metric: Name in the metric registry (``metrics`` holds its version).
        category: None = macro mean over the data set's categories.
        shots: Support size.
        attack: None = clean; ``"worst_case"`` is the derived per-image worst case.
        goal: None = clean; ``two_sided`` is what was run, the other two are views of the same rows.
        budget: Grey levels; None = clean, or a quantity over several budgets.
        value: None where undefined, then ``reason`` says why.
        low, high: 95 % interval, conditional on the published seeds and categories.
        seed_min, seed_max: Smallest and largest value over the support seeds.
        n: Images (or regions, for aupro) that the value rests on.
    """

    metric: Name
    category: Name | None = None
    shots: Count
    attack: Name | None = None
    goal: Goal | None = None
    budget: BudgetText | None = None
    value: Real | None
    low: Real | None = None
    high: Real | None = None
    seed_min: Real | None = None
    seed_max: Real | None = None
    n: Count
    reason: Text | None = None

    @model_validator(mode="after")
    def _explained(self) -> MetricValue:
        if (self.value is None) == (self.reason is None):
            raise ValueError("exactly one of value and reason must be given")
        return self

    @property
    def key(self) -> tuple[str, str, int, str, str, Fraction]:
        """Sort key; unique within a result."""
        return (
            self.metric,
            self.category or "",
            self.shots,
            self.attack or "",
            self.goal or "",
            parse_budget(self.budget) if self.budget else Fraction(0),
        )


class ProbeValue(Strict):
    """One number of an experiment beside the grid (`benchmark.execution.probes`); never ranked.

    Attributes:
        probe: Name of the experiment.
        parameter: Its budget in grey levels, L2 radius in [0, 1] units, or noise level sigma.
        metric: ``auroc`` is that of the same images clean; ``auroc_robust`` under the probe; ``smoothed_auroc`` of the
            median under noise; ``certified_auroc`` its lower bound within ``radius``.
        category: None = macro mean over the categories probed.
        radius: L2 radius of a certificate.
        value, low, high, n, reason: As in `MetricValue`.
    """

    probe: Name
    parameter: Real
    metric: Name
    category: Name | None = None
    shots: Count
    radius: Real | None = None
    value: Real | None
    low: Real | None = None
    high: Real | None = None
    n: Count
    reason: Text | None = None


class Replicates(Strict):
    """Seeded paired bootstrap replicates of a headline number: the same resamples for every detector.

    ``auroc`` is clean; ``auroc_robust`` is the worst case at ``budget`` (None = clean scores, ties lost), one entry
    for each budget of R, so that a board can average over data sets before R clips.
    """

    metric: Name
    shots: Count
    budget: BudgetText | None = None
    values: Annotated[tuple[Real, ...], Field(max_length=1000)]


class ReliabilityBin(Strict):
    """One bin of a reliability diagram: mean predicted probability, observed anomaly frequency, images."""

    predicted: Real
    observed: Real
    count: Count


class Reliability(Strict):
    """A reliability diagram, categories and seeds pooled after per-category calibration."""

    shots: Count
    calibrator: Name
    attack: Name | None = None
    budget: BudgetText | None = None
    bins: Annotated[tuple[ReliabilityBin, ...], Field(max_length=50)]


class EntropyHistogram(Strict):
    """Counts of the predictive entropy on 20 equal bins of [0, ln 2]."""

    shots: Count
    attack: Name | None = None
    budget: BudgetText | None = None
    counts: Annotated[tuple[Count, ...], Field(max_length=50)]


class Scored(Strict):
    """Every number that follows from the evidence."""

    values: tuple[MetricValue, ...] = ()
    replicates: tuple[Replicates, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    entropy: tuple[EntropyHistogram, ...] = ()
    probes: tuple[ProbeValue, ...] = ()

    @model_validator(mode="after")
    def _keys_are_unique(self) -> Scored:
        keys = [value.key for value in self.values]
        if len(set(keys)) != len(keys):
            raise ValueError("two values share one key")
        return self

    def find(self, metric: str, **conditions: Any) -> MetricValue | None:
        """The value of a metric under conditions; unnamed conditions must be None (``shots`` is required)."""
        wanted = {"category": None, "attack": None, "goal": None, "budget": None} | conditions
        return next(
            (v for v in self.values if v.metric == metric and all(getattr(v, k) == w for k, w in wanted.items())), None
        )
