"""The conformance suite walks the registry, and catches detectors that are broken in every way it knows."""

from __future__ import annotations

import pytest

from benchmark.conformance import check_detector
from benchmark.registry import DETECTORS

BACKBONE = "seeded:embedded"
EDGE = 64
NEEDS_MORE = {"anomalib": "needs the anomalib package and a fitted model"}


@pytest.mark.parametrize("name", DETECTORS.names())
def test_every_registered_detector_conforms(name: str) -> None:
    if name in NEEDS_MORE:
        pytest.skip(NEEDS_MORE[name])
    results = check_detector(name, backbone=BACKBONE, edge=EDGE)
    assert len(results) == 15
    failures = [f"{r.name}: {r.detail}" for r in results if r.status == "fail"]
    assert not failures, "; ".join(failures)
