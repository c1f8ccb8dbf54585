"""`trustad submit`, `trustad verify` and `trustad rescore`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from benchmark.errors import UsageError

if TYPE_CHECKING:
    from benchmark.verify.checks import Verdict

Flag = Parameter(negative="")


def submit(
    run: Path,
    /,
    *,
    slug: str,
    detector: str | None = None,
    name: str | None = None,
    author: Annotated[list[str] | None, Flag] = None,
    paper: str | None = None,
    paper_url: str | None = None,
    code_url: str | None = None,
    code_commit: str | None = None,
    licence: str | None = None,
    code: Path | None = None,
    submissions: Path = Path("submissions"),
    update: Annotated[bool, Flag] = False,
) -> int:
    """Make a submission of a run, ready for a pull request.

    Parameters
    ----------
    run
        Run folder of `trustad run`.
    slug
        Name of the submission: a-z, 0-9 and -.
    detector
        NAME@BACKBONE, where the run has several.
    name
        Method name on the board; default: the detector's title.
    author
        Author, repeatable.
    paper
        Citation in words.
    paper_url
        Its https address.
    code_url
        https address of the code.
    code_commit
        Its commit, 40 hex digits.
    licence
        Licence of the submitted numbers.
    code
        A detector.py for the spot re-run of a detector that TrustAD does not know.
    submissions
        Folder of all submissions.
    update
        Replace the results of an existing submission; its submission.toml stays.
    """
    from benchmark.runs.submit import TODO, About, make_submission, partial

    about = About(name, tuple(author or ()), paper, paper_url, code_url, code_commit, licence)
    target = make_submission(run, slug, submissions, about, detector=detector, code=code, update=update)
    print(target)
    for line in partial(target):
        print(f"partial: {line}", file=sys.stderr)
    if TODO in (target / "submission.toml").read_text("utf-8"):
        print(f"fill in the lines marked {TODO} in {target / 'submission.toml'}")
    print(f"next: trustad verify {target}")
    return 0


def verify(
    path: Path,
    /,
    *,
    rerun: bool = True,
    data_root: Path | None = None,
    record: Annotated[bool, Flag] = False,
    by: str = "local",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Check a submission as the project's own checks do: exit status 0 = accepted, 1 = refused.

    Parameters
    ----------
    path
        submissions/SLUG.
    rerun
        Run the detector again on the demo track, in isolation.
    data_root
        Folder that holds the data sets, so that images and labels can be compared.
    record
        Write the rungs reached to verification.json; re-scores counter-claims.
    by
        Who vouches, for --record.
    as_json
        Print the verdict as JSON.
    """
    from benchmark.verify.checks import verify_submission
    from benchmark.verify.subject import Subject

    if not path.is_dir():
        raise UsageError(f"{path} is no folder; name submissions/SLUG")
    subject = Subject(path, data_root)
    verdict = verify_submission(subject, rerun=rerun)
    _print_verdict(verdict, as_json=as_json)
    if record and verdict.accepted:
        from datetime import datetime, timezone

        from benchmark.verify.counter_rescore import rescored_claims
        from benchmark.verify.isolation import Limits
        from benchmark.verify.record import record as write

        claims = rescored_claims(subject, Limits())
        write(path, verdict, by=by, day=datetime.now(timezone.utc).date(), claims=claims)
    return 0 if verdict.accepted else 1


def _print_verdict(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        rows = [{"check": f.check, "rung": f.rung, "status": f.status, "detail": f.detail} for f in verdict.findings]
        report = {"slug": verdict.slug, "accepted": verdict.accepted, "steps": list(verdict.steps), "findings": rows}
        print(json.dumps(report, indent=1))
        return
    marks = {"pass": "ok", "fail": "FAIL", "skipped": "-"}
    for finding in verdict.findings:
        print(f"{marks[finding.status]:5s}{finding.check:16s}{finding.detail}")
    print(verdict.words)


def rescore(
    path: Path,
    /,
    *,
    write: Annotated[bool, Flag] = False,
    limit: int = 20,
) -> int:
    """Compute all numbers of results again from their evidence; exit status 1 when something moved.

    Parameters
    ----------
    path
        A result file, or a folder with results below it.
    write
        Write the results that moved.
    limit
        Differences printed for each result.
    """
    from benchmark.verify.rescore import rescore as again
    from benchmark.verify.rescore import save

    moved = 0
    for found in again(path):
        if not found.differences and not found.versions:
            print(f"{found.path}: unchanged")
            continue
        moved += 1
        print(f"{found.path}: {len(found.differences)} differences")
        for metric, (old, new) in found.versions.items():
            print(f"  {metric}: version {old} -> {new}")
        for difference in found.differences[:limit]:
            print(f"  {difference}")
        if write:
            save(found)
    return 1 if moved and not write else 0
