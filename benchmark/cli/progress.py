"""Progress on stderr: a bar with rate and ETA on a terminal, plain lines elsewhere and in CI; stdout is for results."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmark.errors import shown

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
        with _Plain() as report:
            yield report


class _Plain:
    """Lines at most every `PLAIN_INTERVAL` seconds; where nothing happens for so long, one that says what was last."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()
        self.state = "planning"
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._beat = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        self._beat.start()
        return self.report

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._beat.join()

    def report(self, done: int, total: int, what: str) -> None:
        with self._lock:
            now = time.monotonic()
            self.state = f"[{done}/{total}] since {what}"
            if now - self.last >= PLAIN_INTERVAL or done == total:
                left = (now - self.started) / max(done, 1) * (total - done)
                self._say(now, f"[{done}/{total}] {now - self.started:.0f} s, about {left:.0f} s left: {what}")

    def _watch(self) -> None:
        while not self._stop.wait(PLAIN_INTERVAL / 4):
            with self._lock:
                now = time.monotonic()
                if now - self.last >= PLAIN_INTERVAL:
                    self._say(now, f"{now - self.started:.0f} s: {self.state}")

    def _say(self, now: float, line: str) -> None:
        self.last = now
        print(shown(line), file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as bar:
        task = bar.add_task("planning", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=escape(shown(what)))
