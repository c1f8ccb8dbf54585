"""The rows of a result file: values, tables and curves, each a strict model (see `benchmark.results.schema`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:@+/-]{0,119}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Https = Annotated[str, StringConstraints(pattern=r"^(https://[^\s<>\"']{1,500})?$")]
Epsilon = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}/255$")]
Count = Annotated[int, Field(ge=0, le=10**12)]
Real = Annotated[float, Field(ge=-1e12, le=1e12)]
Scalar = bool | int | float | str | None
NO_BUDGET = "255/255"
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
        epsilon: Exact fraction; None = clean, or a quantity over several budgets.
        value: None where undefined, then ``reason`` says why.
        low, high: 95 % interval, conditional on the published seeds and categories.
        seed_min, seed_max: Smallest and largest value over the support seeds.
        n: Images (or regions, for aupro) that the value rests on.
    """

    metric: Name
    category: Name | None = None
    shots: Count
    attack: Name | None = None
    goal: Literal["two_sided", "evasion", "false_alarm"] | None = None
    epsilon: Epsilon | None = None
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
    def key(self) -> tuple[str, str, int, str, str, str]:
        """Sort key; unique within a result."""
        return (
            self.metric,
            self.category or "",
            self.shots,
            self.attack or "",
            self.goal or "",
            f"{int(self.epsilon.split('/')[0]):03d}" if self.epsilon else "",
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

    ``auroc`` is clean; ``auroc_robust`` is the worst case at ``epsilon`` (None = clean scores, ties lost), one entry
    for each budget of R, so that a board can average over data sets before R clips.
    """

    metric: Name
    shots: Count
    epsilon: Epsilon | None = None
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
    epsilon: Epsilon | None = None
    bins: Annotated[tuple[ReliabilityBin, ...], Field(max_length=50)]


class EntropyHistogram(Strict):
    """Counts of the predictive entropy on 20 equal bins of [0, ln 2]."""

    shots: Count
    attack: Name | None = None
    epsilon: Epsilon | None = None
    counts: Annotated[tuple[Count, ...], Field(max_length=50)]
