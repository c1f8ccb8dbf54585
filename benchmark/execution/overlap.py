"""Reading and writing beside computing: one thread runs one item ahead, one stays a few items behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
BEHIND = 64
"""Most items that wait for `behind`: bounds the memory of a slow disk."""


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items in order; while one is used, another thread makes the next. What making one raises is raised here."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming: Future[T | object] = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def behind(items: Iterable[T], work: Callable[[T], object]) -> None:
    """Call ``work`` on the items, in order, in another thread that may fall behind; returns when all is done.

    What ``work`` raises is raised here, at the next item or at the end, and no later item is worked on. Where ``items``
    raises, what it gave before is worked on first.
    """
    broken = False

    def unless_broken(item: T) -> None:
        nonlocal broken
        if not broken:
            broken = True
            work(item)
            broken = False

    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for item in items:
            waiting.append(pool.submit(unless_broken, item))
            while waiting and (waiting[0].done() or len(waiting) > BEHIND):
                waiting.popleft().result()
        for one in waiting:
            one.result()
