"""The table of checks and the verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from benchmark.errors import NotApplicableError, TrustADError
from benchmark.results.submission import Step
from benchmark.verify.counter import check_counter_claims
from benchmark.verify.data import check_data
from benchmark.verify.duplicates import check_duplicates
from benchmark.verify.grid import check_grid, check_rows
from benchmark.verify.isolation import Limits
from benchmark.verify.known import check_known
from benchmark.verify.layout import check_layout
from benchmark.verify.reading import (
    check_evidence_files,
    check_metadata,
    check_provenance,
    check_results,
    check_texts,
)
from benchmark.verify.recompute import check_numbers, check_validity
from benchmark.verify.rerun import check_rerun
from benchmark.verify.subject import Subject

Status = Literal["pass", "fail", "skipped"]
Run = Callable[[Subject], str]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: Short name in the verdict.
        rung: Rung of the ladder that needs it.
        run: Returns what it found; raises `TrustADError` to refuse, `NotApplicableError` to be skipped.
    """

    name: str
    rung: Step
    run: Run


CHECKS: tuple[Check, ...] = (
    Check("layout", "schema_valid", check_layout),
    Check("metadata", "schema_valid", check_metadata),
    Check("evidence files", "schema_valid", check_evidence_files),
    Check("results", "schema_valid", check_results),
    Check("texts", "schema_valid", check_texts),
    Check("known parts", "schema_valid", check_known),
    Check("provenance", "schema_valid", check_provenance),
    Check("rows", "recomputed", check_rows),
    Check("grid", "recomputed", check_grid),
    Check("data", "recomputed", check_data),
    Check("numbers", "recomputed", check_numbers),
    Check("validity", "recomputed", check_validity),
    Check("duplicates", "recomputed", check_duplicates),
    Check("counter-claims", "recomputed", check_counter_claims),
)
"""In order; the first refusal ends the list, because later checks read what earlier ones have vouched for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check said, in one line."""

    check: str
    rung: Step
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings.

    Attributes:
        slug: The submission.
        findings: In the order of the checks; those after a refusal are absent.
        steps: Rungs reached, lowest first.
    """

    slug: str
    findings: tuple[Finding, ...]
    steps: tuple[Step, ...]

    @property
    def accepted(self) -> bool:
        """No check refused."""
        return all(finding.status != "fail" for finding in self.findings)

    @property
    def words(self) -> str:
        """The verdict in one sentence."""
        if not self.accepted:
            last = self.findings[-1]
            return f"{self.slug}: REFUSED by the check of {last.check}: {last.detail}"
        return f"{self.slug}: accepted, {self.steps[-1].replace('_', ' ')}"


def verify_submission(subject: Subject, *, rerun: bool, limits: Limits | None = None) -> Verdict:
    """Run all checks on a submission. Nothing is written.

    Args:
        subject: The folder, and where data sets lie.
        rerun: Also run the detector again on the demo track.
        limits: Bounds of that run.
    """
    checks = list(CHECKS)
    if rerun:
        checks.append(Check("spot re-run", "spot_rerun", partial(check_rerun, limits=limits or Limits())))
    findings = tuple(_findings(subject, checks))
    return Verdict(subject.folder.name, findings, tuple(_steps(findings, checks)))


def _findings(subject: Subject, checks: list[Check]) -> Iterator[Finding]:
    for check in checks:
        try:
            status, detail = _run(check, subject)
        except Exception as error:  # what a check cannot even read is refused, whatever broke
            status, detail = "fail", f"cannot be checked ({type(error).__name__}: {error})"
        yield Finding(check.name, check.rung, status, _one_line(detail, subject.folder))
        if status == "fail":
            return


def _run(check: Check, subject: Subject) -> tuple[Status, str]:
    try:
        return "pass", check.run(subject)
    except NotApplicableError as error:
        return "skipped", str(error)
    except TrustADError as error:
        return "fail", str(error)


def _one_line(text: str, folder: Path) -> str:
    """One printable line without this machine's paths."""
    short = text.replace(f"{folder}/", "").replace(f"{folder.resolve()}/", "")
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in short)).strip()[:500]


def _steps(findings: tuple[Finding, ...], checks: list[Check]) -> Iterator[Step]:
    """Rungs of which every check was run and none refused; a re-run must really have run."""
    yield "claimed"
    rungs: tuple[Step, ...] = ("schema_valid", "recomputed", "spot_rerun")
    for rung in rungs:
        mine = [f for f in findings if f.rung == rung]
        expected = sum(check.rung == rung for check in checks)
        fine = {"pass"} if rung == "spot_rerun" else {"pass", "skipped"}
        if not expected or len(mine) < expected or any(f.status not in fine for f in mine):
            return
        yield rung
