"""A run that is killed goes on where it stopped and ends with the same bytes. `tests.perf.kills` does it 50 times."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from killing import Victim

OPTIONS = ["--detector", "patchcore@gabor", "--category", "nut", "--limit", "2"]


def test_killed_runs_end_with_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, victim = (Victim(tmp_path / name, OPTIONS) for name in ("whole", "victim"))
    whole.finish()
    kills = [victim.kill(chosen, 1, 0.0) for chosen in (signal.SIGKILL, signal.SIGTERM)]
    kills += victim.kills(random.Random(0), 2)
    assert kills[0] is not None
    assert kills[0].status == -signal.SIGKILL
    victim.finish()
    assert victim.stored().keys() == whole.stored().keys()
    assert victim.content() == whole.content()
