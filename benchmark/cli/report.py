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
    found = sorted(run.rglob("evidence/*.parquet"))
    files = [path for path in found if not path.name.endswith((".pixel.parquet", ".probe.parquet"))]
    probed = [path for path in found if path.name.endswith(".probe.parquet")]
    if not files:
        raise UsageError(f"no evidence/*.parquet below {run}; give the folder that `trustad run` wrote")
    import pandas as pd

    from benchmark.report.claims import sections
    from benchmark.report.render import write_report
    from benchmark.results.evidence import read_probes, read_scores

    evidence = pd.concat([read_scores(path) for path in files], ignore_index=True)
    probes = pd.concat([read_probes(path) for path in probed], ignore_index=True) if probed else None
    print(write_report(sections(evidence, shots, probes=probes), out or run / "report"))
