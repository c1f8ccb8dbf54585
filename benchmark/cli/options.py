"""What several commands make of their options, and of signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import FrameType

from benchmark.errors import Interrupted, Terminated


def resolve_device(name: str) -> str:
    """The device to compute on: ``auto`` is CUDA when there is one."""
    import torch

    return name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def use_weights_dir(folder: Path | None) -> None:
    """Make a folder the weights folder of this process; None leaves TRUSTAD_WEIGHTS_DIR as it is."""
    if folder is not None:
        os.environ["TRUSTAD_WEIGHTS_DIR"] = str(folder.resolve())


def use_working_folder() -> None:
    """Let MODULE:ATTRIBUTE find modules of the working folder, after everything that is installed."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)


@contextmanager
def stdout_kept() -> Iterator[None]:
    """What plug-ins print, in Python or below it, goes to stderr: stdout is for results."""
    sys.stdout.flush()
    with redirect_stdout(sys.stderr), ExitStack() as stack:
        with suppress(OSError, ValueError):  # a stream that is no file, as in tests
            descriptor, copy = 1, os.dup(1)
            stack.callback(os.close, copy)
            stack.callback(os.dup2, copy, descriptor)
            os.dup2(2, descriptor)
        yield


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """SIGTERM and Ctrl-C unwind, so that temporary files and folders go, and are told from what plug-ins raise.

    Exit status 143 after SIGTERM.
    """
    before = {number: signal.signal(number, stop) for number, stop in _STOPS.items()}
    try:
        yield
    except Terminated:
        print("trustad: stopped by a signal; the same command goes on where it stopped", file=sys.stderr)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


_STOPS = {signal.SIGTERM: _terminate, signal.SIGINT: _interrupt}
