"""What `trustad run --dry-run` says of a run against the run: python -m tests.perf.estimate [--track demo]

The estimate is made as the command makes it; the run follows in the same process, into an empty folder, with its
images already decoded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmark.planning.planner import Selection
from benchmark.runs.estimate import estimate
from benchmark.runs.session import plan_run, run_track
from benchmark.tracks import load_track
from tests.perf.measure import Report, options, prepare, seconds


def main() -> None:
    """Measure."""
    parser = options(__doc__)
    parser.add_argument("--track", default="demo")
    parser.add_argument("--detector", action="append", default=[], help="repeatable; default the track's")
    parser.add_argument("--category", action="append", default=[], help="repeatable; default all")
    chosen = parser.parse_args()
    prepare(chosen)
    track = load_track(chosen.track)
    selection = Selection(tuple(chosen.detector), categories=tuple(chosen.category), device=chosen.device)
    words = "".join(f" --detector {name}" for name in chosen.detector)
    words += "".join(f" --category {name}" for name in chosen.category)
    report = Report(
        f"estimate-{chosen.track}",
        f"Dry run against run, {chosen.track}",
        f"python -m tests.perf.estimate --track {chosen.track}{words}",
        ("what             ", "dry run", "run"),
    )
    with tempfile.TemporaryDirectory() as folder:
        plan, bench, _ = plan_run(track, selection, Path(folder))
        made = []
        calibration = seconds(lambda: made.append(estimate(plan, bench)), chosen.device)
        told = made[0]
        assert told.seconds is not None, told.missing
        assert told.memory is not None
        summary = run_track(
            track, selection, Path(folder), executor_name="local", progress=lambda done, total, what: None
        )
    report.row("seconds", told.seconds, summary.busy)
    report.row("peak memory, MB", round(told.memory / 1e6), round(summary.peak_memory / 1e6))
    report.found("seconds, dry run over run", told.seconds / summary.busy)
    report.found("seconds that the dry run's calibration takes", calibration)
    report.notes.append(f"{summary.done} cells; collecting them into results is in neither time.")
    report.save(chosen.device)


if __name__ == "__main__":
    main()
