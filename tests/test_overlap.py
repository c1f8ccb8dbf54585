"""Reading ahead and writing behind: order, bounds, errors, and that the two sides really run at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from benchmark.execution import overlap
from benchmark.execution.overlap import ahead, behind

PATIENCE = 20.0
"""Seconds after which a side that waits for the other gives up: it would wait forever."""


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    found = []
    for item in ahead(items()):
        assert made.wait(PATIENCE), "nobody made the second item"
        found.append(item)
    assert found == [1, 2]


def test_no_more_than_one_item_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(6):
            made.append(item)
            yield item

    for item in ahead(items()):
        assert len(made) <= item + 2


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    walked = ahead(items())
    assert next(walked) == 1
    with pytest.raises(ValueError, match="broken"):
        next(walked)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    walked = ahead(iter(range(10)))
    next(walked)
    walked.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_work_falls_behind_and_keeps_the_order() -> None:
    taken, done = threading.Event(), list[int]()

    def items() -> Iterator[int]:
        yield 1
        yield 2
        taken.set()

    def work(item: int) -> None:
        assert taken.wait(PATIENCE), "the second item was not taken while the first was worked on"
        done.append(item)

    behind(items(), work)
    assert done == [1, 2]


def test_no_more_items_wait_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "BEHIND", 2)
    open_items, most = set[int](), list[int]()

    def items() -> Iterator[int]:
        for item in range(20):
            open_items.add(item)
            most.append(len(open_items))
            yield item

    behind(items(), open_items.discard)
    assert max(most) <= 4  # two that wait, one at work, one just made


def test_an_error_of_the_work_ends_the_loop() -> None:
    def items() -> Iterator[int]:
        yield from range(1_000_000_000)

    def work(item: int) -> None:
        if item == 3:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        behind(items(), work)


def test_nothing_is_worked_on_after_an_error_of_the_work() -> None:
    taken, seen = threading.Event(), list[int]()

    def items() -> Iterator[int]:
        yield from range(5)
        taken.set()

    def work(item: int) -> None:
        assert taken.wait(PATIENCE)
        seen.append(item)
        if item == 2:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        behind(items(), work)
    assert seen == [0, 1, 2]


def test_what_was_taken_is_worked_on_before_an_error_of_the_items_is_raised() -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        behind(items(), done.append)
    assert done == [0, 1, 2, 3, 4]
