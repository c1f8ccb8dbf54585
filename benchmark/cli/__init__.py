"""The command line. Every command is a function in this folder; heavy modules load when a command needs them.

Exit status: 0 fine; 1 a check did not hold or a part of a run failed; 2 bad usage or bad input, with one clear line on
stderr.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import suppress
from io import TextIOWrapper

import cyclopts

from benchmark.errors import TrustADError, shown
from benchmark.results.provenance import one_parent, package_version

app = cyclopts.App(
    name="trustad",
    help="Robustness and uncertainty benchmark for few-shot and zero-shot visual anomaly detection.",
    version=lambda: package_version("trustad") or "source checkout",
    version_flags=["--version"],
    result_action="return_value",
)
app.command("benchmark.cli.run:run", name="run", help="Evaluate detectors on a track.")
app.command("benchmark.cli.runs:app", name="runs", help="Show, verify and clean up run folders.")
app.command(
    "benchmark.cli.listing:app", name="list", help="List detectors, backbones, attacks, data sets, metrics or tracks."
)
app.command("benchmark.cli.data:app", name="data", help="List, prepare, verify, audit and show data sets.")
app.command("benchmark.cli.submit:submit", name="submit", help="Make a submission of a run, for a pull request.")
app.command("benchmark.cli.submit:verify", name="verify", help="Check a submission as the project's own checks do.")
app.command("benchmark.cli.submit:rescore", name="rescore", help="All numbers of results again from their evidence.")
app.command("benchmark.cli.leaderboard:app", name="leaderboard", help="Build the static leaderboard, freeze releases.")
app.command("benchmark.cli.cite:cite", name="cite", help="A row of the leaderboard for a paper.")
app.command("benchmark.cli.report:report", name="report", help="The paper's claims on one page.")
app.command("benchmark.cli.check:check", name="check", help="Conformance of a detector, attack or metric.")
app.command("benchmark.cli.weights:app", name="weights", help="List, fetch and verify backbone weights.")
app.command("benchmark.cli.train:app", name="train", help="Train adapters or the embedded backbone.")


LEAST_COLUMNS = 40
"""A terminal that says it is narrower gets lines of this width: help would otherwise be set letter by letter."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``trustad`` command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
    stated = os.environ.get("COLUMNS", "")
    if (int(stated) if stated.isdigit() else shutil.get_terminal_size().columns) < LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(LEAST_COLUMNS)
    sys.exit(_run([word for word in words if word != "--debug"], debug=debug))


def _run(words: list[str], *, debug: bool) -> int:
    try:
        if misplaced := one_parent():
            raise TrustADError(f"{misplaced}; another project was installed over TrustAD: give it its own environment")
        status = app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (TrustADError, cyclopts.CycloptsError) as error:
        if debug:
            raise
        print(f"trustad: {' '.join(shown(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trustad: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _no_more_output()
        return 0
    except OSError as error:
        if debug or error.errno not in _FULL:
            raise
        _no_more_output()
        print(f"trustad: cannot write: {error.strerror}; free space", file=sys.stderr)
        return 2


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _no_more_output() -> None:
    """What is still in stdout's buffer cannot be written: Python would say so once more when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
