"""Progress on stderr: a bar with rate and ETA on a terminal, plain lines elsewhere and in CI; stdout is for results."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.runs.session import Progress

PLAIN_INTERVAL = 10.0
"""Seconds between plain lines."""


@contextmanager
def reporter(mode: str) -> Iterator[Progress]:
    """A progress callback ``(done, total, what)``; ``mode`` is auto, plain or off."""
    if mode == "off":
        yield lambda done, total, what: None
    elif mode == "auto" and sys.stderr.isatty() and not os.environ.get("CI"):
        with _bar() as report:
            yield report
    else:
        yield _plain()


def _plain() -> Progress:
    started = last = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL or done == total:
            last = now
            left = (now - started) / done * (total - done)
            print(
                f"[{done}/{total}] {now - started:.0f} s, about {left:.0f} s left: {what}", file=sys.stderr, flush=True
            )

    return report


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("planning", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
