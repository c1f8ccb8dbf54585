"""What becomes of freed memory: kept for the next batch, given back now and then (glibc; nothing elsewhere)."""

from __future__ import annotations

import ctypes
import time
from functools import lru_cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``, from its <malloc.h>."""

TRIM_SECONDS = 10.0
"""Least time between two trims of a pass: each costs a fraction of a second, when pages are touched anew."""


@lru_cache
def _libc() -> Any | None:
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (AttributeError, OSError, TypeError):
        return None


def hold_heap() -> None:
    """Keep freed memory until `trim_heap`, that of large blocks too.

    By default glibc gives the memory of a large tensor back at once, and the system clears it page by page for the
    next one: every forward and backward pass would pay for it.
    """
    if libc := _libc():
        libc.mallopt(_TRIM_THRESHOLD, -1)
        libc.mallopt(_MMAP_MAX, 0)


def trim_heap() -> None:
    """Give freed memory back to the system.

    glibc keeps whatever lies below a small block that lives long, such as an image's histogram: without this, a process
    grows with the number of images although it holds only their scores.
    """
    if libc := _libc():
        libc.malloc_trim(0)


class Trims:
    """`trim_heap`, now and then: what was freed since the last time stays for the batches in between."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last >= TRIM_SECONDS:
            trim_heap()
            self._last = time.monotonic()


TRIMS = Trims()
"""Those of this process."""
