"""Which blocks or levels of a network are meant."""

from __future__ import annotations

from benchmark.errors import UsageError
from detectors.backbones import QUARTERS, Layers


def resolve_layers(layers: Layers, depth: int) -> tuple[int, ...]:
    """Layer numbers counted from 0, ascending; the last one by default.

    Raises:
        UsageError: If one does not exist.
    """
    if layers is None:
        return (depth - 1,)
    if layers == QUARTERS:
        layers = tuple(quarter * depth // 4 - 1 for quarter in range(1, 5) if quarter * depth >= 4)
    if any(not -depth <= layer < depth for layer in layers):
        raise UsageError(f"layers {list(layers)} do not exist; allowed are 0 to {depth - 1}, or negative from the end")
    return tuple(sorted({layer % depth for layer in layers}))
