"""Kills `trustad run` at random points and checks what is left, again and again, until the run is whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.storage.cells import CellStore

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 3600.0
"""Seconds after which a process that neither ends nor stores a cell counts as hanging (the machine may be busy)."""


@dataclass(frozen=True)
class Kill:
    """One kill and what it left.

    Attributes:
        signal: Name of the signal.
        stored: Cells stored when it came.
        status: Exit status of the process; negative = ended by that signal.
        strays: Temporary files and folders that it left in the run folder and the cache.
    """

    signal: str
    stored: int
    status: int
    strays: int


class Victim:
    """One run folder with a cache of its own, and the command that fills it."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.out, self.cache = folder / "run", folder / "cache"
        self.command = [sys.executable, "-m", "benchmark", "run", "--out", str(self.out), *options]
        self.known: dict[str, tuple[int, int]] = {}

    def start(self) -> subprocess.Popen[bytes]:
        """Issue the command, in a process group of its own."""
        environment = os.environ | {"TRUSTAD_CACHE": str(self.cache), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [*self.command, "--progress", "off"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in the background
        )

    def stored(self) -> dict[str, tuple[int, int]]:
        """Inode and time of every stored cell: both change if it is ever written again."""
        found = {}
        for path in self.out.glob("cells/??/*.safetensors"):
            status = path.stat()
            found[path.stem] = (status.st_ino, status.st_mtime_ns)
        return found

    def strays(self) -> list[Path]:
        """Temporary files and folders of the run folder and the cache."""
        return [path for folder in (self.out, self.cache) for path in folder.rglob(".*.tmp")]

    def check(self) -> None:
        """No stored cell was lost, damaged or computed again."""
        now, store = self.stored(), CellStore(self.out)
        assert self.known.items() <= now.items()
        assert all(address in store for address in now)
        assert not store.corrupt
        self.known = now

    def kill(self, chosen: signal.Signals, cells: int, delay: float) -> Kill | None:
        """Issue the command and send a signal so many seconds after so many new cells; None if it ended before."""
        process, before = self.start(), len(self.stored())
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and len(self.stored()) < before + cells:
            assert time.monotonic() < deadline, "the run hangs"
            time.sleep(0.02)
        ended = _ends_within(process, delay)
        if not ended:
            process.send_signal(chosen)
            assert _ends_within(process, PATIENCE), f"the run survives {chosen.name}"
        self.check()
        if ended or process.returncode == 0:
            assert process.returncode == 0
            return None
        return Kill(chosen.name, len(self.stored()), process.returncode, len(self.strays()))

    def kills(self, rng: random.Random, most: int) -> Iterator[Kill]:
        """Kill at random moments until the run is whole, at most so many times; everything is checked after each."""
        for _ in range(most):
            moment = rng.choice(SIGNALS), rng.choice((0, 0, 0, 1, 1, 2, 4)), rng.uniform(0, 6)
            if (kill := self.kill(*moment)) is None:
                return
            yield kill

    def finish(self) -> None:
        """Issue the command and let it end; nothing temporary may be left."""
        process = self.start()
        assert _ends_within(process, PATIENCE), "the run hangs"
        assert process.returncode == 0
        self.check()
        assert not self.strays()

    def content(self) -> dict[str, bytes]:
        """Everything for people and programs to read: results without their timing, evidence, galleries."""
        found = {}
        for path in sorted(p for p in self.out.glob("*/*/*") if p.is_file() and "cells" not in p.parts):
            data = path.read_bytes()
            if path.parent.name == "results":
                data = json.dumps(json.loads(data) | {"timing": None}, sort_keys=True).encode()
            found[str(path.relative_to(self.out))] = data
        return found


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
