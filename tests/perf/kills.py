"""Kills the demo track at random points and writes what happened into docs/reliability.md.

    python -m tests.perf.kills [--kills 50] [--seed 0] [--record]

Every run that is whole is compared with an uninterrupted one, and a new one is begun until there were enough kills.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.killing import Kill, Victim
from tests.perf.doc_part import write_part


def measure(base: Path, wanted: int, seed: int, options: list[str]) -> Iterator[str]:
    """Kill, compare, and report in words."""
    rng = random.Random(seed)
    whole = Victim(base / "whole", options)
    whole.finish()
    kills: list[Kill] = []
    runs = 0
    while len(kills) < wanted:
        victim = Victim(base / f"victim-{runs}", options)
        for kill in victim.kills(rng, wanted - len(kills)):
            kills.append(kill)
            print(kill, flush=True)
        victim.finish()
        assert victim.stored().keys() == whole.stored().keys()
        assert victim.content() == whole.content()
        runs += 1
    cells = len(whole.stored())
    counts = Counter(kill.signal for kill in kills)
    early = sum(kill.stored == 0 for kill in kills)
    late = sum(kill.stored == cells for kill in kills)
    strays = {name: sum(kill.strays for kill in kills if kill.signal == name) for name in sorted(counts)}
    yield f"{len(kills)} kills ({', '.join(f'{counts[n]} {n}' for n in sorted(counts))}) over {runs} runs of the demo"
    yield f"track ({cells} cells, {len(whole.content())} files), seed {seed}: {early} before the first cell was stored,"
    yield f"{late} after the last, the others between."
    yield ""
    yield f"- Runs that ended with other bytes than the uninterrupted one (`timing` apart): 0 of {runs}."
    yield "- Stored cells that were lost, damaged or computed a second time: 0."
    yield f"- Temporary files left at the moment of the kill: {', '.join(f'{n} {name}' for name, n in strays.items())};"
    yield "  after the run was whole: 0."


def main() -> None:
    """Measure, print and perhaps record. A broken promise ends in an AssertionError."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = list(measure(Path(scratch), options.kills, options.seed, rest or ["--track", "demo"]))
    if options.record:
        write_part("reliability.md", "kills", lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
