"""What becomes of freed memory: kept for the next batch, given back now and then (glibc; nothing elsewhere)."""

from __future__ import annotations

import ctypes
import mmap
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``, from its <malloc.h>."""

GROWTH = 1.05
"""Growth of resident memory beyond a batch's usual need from which it is given back: touching it anew costs time."""


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

    glibc keeps whatever lies below a small block that lives long: without this, a process grows with the number of
    images although it holds only their scores.
    """
    if libc := _libc():
        libc.malloc_trim(0)


def beside_heap(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that outlives its batch without lying in the way of the next one's large blocks.

    One block among those that a batch frees splits their room: the tensors of the next batch no longer fit into it.
    """
    if _libc() is None or not array.nbytes:
        return array.copy()
    copied = np.frombuffer(mmap.mmap(-1, array.nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), array.dtype)
    copied = copied.reshape(array.shape)
    copied[...] = array
    return copied


def resident_bytes() -> int:
    """Bytes of this process in memory (Linux; elsewhere 0)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


class Trims:
    """`trim_heap` between batches, when more memory is held than the first batch after the last trim left behind."""

    def __init__(self) -> None:
        self._usual: int | None = None

    def __call__(self) -> None:
        held = resident_bytes()
        if self._usual is None:
            self._usual = held
        elif held > GROWTH * self._usual:
            trim_heap()
            self._usual = None


TRIMS = Trims()
"""Those of this process."""
