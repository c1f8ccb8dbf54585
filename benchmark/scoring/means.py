"""Macro means that refuse to hide a hole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.metrics.outcome import MetricOutcome


def over_seeds(outcomes: Sequence[MetricOutcome]) -> MetricOutcome:
    """Mean over seeds; ``n`` is that of one seed: the query images are the same."""
    undefined = next((o for o in outcomes if o.value is None), None)
    if undefined is not None:
        return undefined
    return MetricOutcome(float(np.mean([o.value for o in outcomes])), max(o.n for o in outcomes))


def over_categories(outcomes: Mapping[str, MetricOutcome]) -> MetricOutcome:
    """Macro mean over categories; undefined, with the reason, where it is undefined in one of them."""
    n = sum(o.n for o in outcomes.values())
    missing = [name for name, o in outcomes.items() if o.value is None]
    if missing:
        reason = (
            f"undefined in {len(missing)} of {len(outcomes)} categories ({missing[0]}: {outcomes[missing[0]].reason})"
        )
        return MetricOutcome(None, n, reason)
    return MetricOutcome(float(np.mean([o.value for o in outcomes.values()])), n)
