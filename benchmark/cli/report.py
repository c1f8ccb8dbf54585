"""`trustad report`: the paper's claims on one page."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import UsageError


def report(run: Path, /, *, shots: int | None = None, out: Path | None = None) -> None:
    """Test the paper's claims (Khan & Krawczyk, arXiv 2510.13643) on the evidence of a run.

    Parameters
    ----------
    run
        Run folder, or a submission folder.
    shots
        Support size; default: the one with most attack conditions.
    out
        Folder of report.md and report.html; default RUN/report.
    """
    files = sorted(path for path in run.rglob("evidence/*.parquet") if not path.name.endswith(".pixel.parquet"))
    if not files:
        raise UsageError(f"no evidence/*.parquet below {run}; give the folder that `trustad run` wrote")
    import pandas as pd

    from benchmark.evidence import read_scores
    from benchmark.report.claims import sections
    from benchmark.report.render import write_report

    evidence = pd.concat([read_scores(path) for path in files], ignore_index=True)
    print(write_report(sections(evidence, shots), out or run / "report"))
