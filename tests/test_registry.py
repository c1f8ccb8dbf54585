"""The registry: lazy, loud about clashes, helpful about typing errors."""

from __future__ import annotations

import pytest

from benchmark.errors import NameClashError, UnknownNameError, UsageError
from benchmark.registry import ATTACKS, DATASETS, DETECTORS, Registry, load_attribute


class Point:
    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value


def test_get_imports_the_target() -> None:
    registry: Registry[object] = Registry("thing", {"join": "os.path:join"})
    import os.path

    assert registry.get("join") is os.path.join
    assert "join" in registry
    assert "split" not in registry
    assert registry.names() == ("join",)


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown detector 'anomalydinno'\. Did you mean anomalydino") as caught:
        DETECTORS.get("anomalydinno")
    assert isinstance(caught.value, KeyError)
    assert "trustad list detectors" in str(caught.value)


def test_two_claims_to_one_name_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.registry.entry_points", lambda group: [Point("a", "other:thing")])
    registry: Registry[object] = Registry("detector", {"a": "ours:thing", "join": "os.path:join"}, "group")
    with pytest.raises(NameClashError, match="claimed by ours:thing and by other:thing"):
        registry.get("a")
    assert registry.names() == ("a", "join")
    assert callable(registry.get("join"))


def test_the_same_claim_twice_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.registry.entry_points", lambda group: [Point("a", "ours:thing")])
    assert Registry("detector", {"a": "ours:thing"}, "group").names() == ("a",)


def test_names_that_no_command_can_give_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point(name, "other:thing") for name in ("fine-1.2", "a@b", "a b", "", "../x", "x:")]
    monkeypatch.setattr("benchmark.registry.entry_points", lambda group: points)
    registry: Registry[object] = Registry("detector", {"a": "ours:thing"}, "group")
    assert registry.names() == ("a", "fine-1.2")
    assert registry.faults().keys() == {"a@b", "a b", "", "../x", "x:"}


def test_metadata_that_cannot_be_read_takes_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(group: str) -> list[Point]:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr("benchmark.registry.entry_points", broken)
    registry: Registry[object] = Registry("detector", {"a": "ours:thing"}, "group")
    assert registry.names() == ("a",)
    assert "UnicodeDecodeError" in registry.faults()["entry points"]


@pytest.mark.parametrize("target", ["no_colon", "module:", ":attribute", "no_such_module:x", "os:no_such_attribute"])
def test_bad_targets_are_one_clear_error(target: str) -> None:
    with pytest.raises(UsageError):
        load_attribute(target)


@pytest.mark.parametrize("registry", [DETECTORS, ATTACKS, DATASETS], ids=lambda r: r.kind)
def test_every_builtin_loads(registry: Registry[object]) -> None:
    for name in registry.names():
        assert callable(registry.get(name)), name
