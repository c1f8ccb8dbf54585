"""What several commands make of their options, and of signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


def resolve_device(name: str) -> str:
    """The device to compute on: ``auto`` is CUDA when there is one."""
    import torch

    return name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def use_weights_dir(folder: Path | None) -> None:
    """Make a folder the weights folder of this process; None leaves TRUSTAD_WEIGHTS_DIR as it is."""
    if folder is not None:
        os.environ["TRUSTAD_WEIGHTS_DIR"] = str(folder.resolve())


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that temporary files and folders go; exit status 143."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except SystemExit:
        print("trustad: stopped by a signal; the same command goes on where it stopped", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
