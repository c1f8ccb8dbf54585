"""verification.json: which rungs a submission reached, when, for exactly which result files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmark.results.schema import PROTOCOL_VERSION
from benchmark.results.submission import LADDER, Verification, VerificationStep, load_verification
from benchmark.storage.jsonio import atomic_write, digest_file, pretty_json
from benchmark.verify.checks import Verdict
from benchmark.verify.counter_rescore import Rescored, credit, lowered


def record(folder: Path, verdict: Verdict, *, by: str, day: date, claims: Sequence[Rescored] = ()) -> Verification:
    """Write the rungs of a verdict; a rung reached earlier for the same files keeps its date.

    Args:
        folder: The submission.
        verdict: Of `verify_submission`.
        by: Who vouches, e.g. the workflow's address.
        day: Today.
        claims: All counter-claims of the submission, re-scored.
    """
    results = {path.stem: digest_file(path) for path in sorted((folder / "results").glob("*.json"))}
    before = load_verification(folder)
    same = before is not None and before.results == results
    steps = {step.step: step for step in before.steps} if before is not None and same else {}
    for name in verdict.steps:
        details = "; ".join(f"{f.check}: {f.status}, {f.detail}" for f in verdict.findings if f.rung == name)
        steps.setdefault(name, VerificationStep(step=name, date=day.isoformat(), by=by, detail=details[:1900]))
    found = Verification(
        schema_version=1,
        protocol=PROTOCOL_VERSION,
        results=results,
        steps=tuple(steps[name] for name in LADDER if name in steps),
        counter_claims=tuple(map(credit, claims)),
        lowered=tuple(lowered(claims)),
    )
    atomic_write(folder / "verification.json", pretty_json(found.model_dump(mode="json")))
    return found
