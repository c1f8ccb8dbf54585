"""Counter-claims lower a row: its robust numbers are what all of them leave together, with credit to the attackers."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.results.rows import MetricValue
from benchmark.results.schema import RunResult
from benchmark.results.submission import CounterRecord, LoweredResult, Verification
from leaderboard.record import ROBUST_SCORE, WORST_CASE


def lowered(result: RunResult, verification: Verification) -> RunResult:
    """The result with R and the worst-case AUROCs over the data set as the counter-claims leave them."""
    found, claims = verification.lowered_result(result.stem), verification.credits(result.stem)
    if found is None or not claims:
        return result
    values = tuple(_lower(v, found, claims) for v in result.scored.values)
    return result.model_copy(update={"scored": result.scored.model_copy(update={"values": values})})


def _lower(v: MetricValue, found: LoweredResult, claims: Sequence[CounterRecord]) -> MetricValue:
    """A lowered value says what it was before; its interval, which knows nothing of the claims, goes."""
    if v.category is not None or v.value is None:
        return v
    worst = v.metric == "auroc_robust" and v.attack == WORST_CASE
    left = found.robust if v.metric == ROBUST_SCORE else found.budgets.get(v.budget or "") if worst else None
    if left is None or left >= v.value:
        return v
    who = ", ".join(f"counter-claim {c.id} ({', '.join(c.authors)})" for c in claims)
    note = f"lowered by {who}; {v.value:.3f} before"
    return v.model_copy(update={"value": left, "low": None, "high": None, "reason": note})
