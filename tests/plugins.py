"""Makes the third party's package in tests/plugin_package importable, with its entry points."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.registry import ATTACKS, DATASETS, DETECTORS

PACKAGE = Path(__file__).parent / "plugin_package"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs the package for one test; registries look their entry points up again."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    for registry in (ATTACKS, DATASETS, DETECTORS):
        claims = type(registry)._claims.func(registry)
        monkeypatch.setitem(vars(registry), "_claims", claims)
        monkeypatch.setitem(vars(registry), "targets", claims[0])
    return PACKAGE
