"""Run the checks on one detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from benchmark.conformance.case import Case
from benchmark.conformance.checks import CHECKS, Skip
from benchmark.errors import UsageError
from benchmark.registry import DETECTORS, load_attribute
from benchmark.types import Detector

EDGE = 112


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: The check.
        status: ``"pass"``, ``"fail"`` or ``"skip"``.
        detail: What is wrong, or why it was skipped; "" for a pass.
        meaning: What the check demands, in one sentence.
    """

    name: str
    status: Literal["pass", "fail", "skip"]
    detail: str
    meaning: str


def detector_factory(target: str, backbone: str = "embedded") -> Callable[[], Detector]:
    """A factory for ``NAME``, ``NAME@BACKBONE`` or ``MODULE:ATTRIBUTE``.

    Args:
        target: What to check. Detectors that know better take another backbone than the given one (`default_backbone`).
        backbone: Used where the target names none.

    Raises:
        UnknownNameError: If a name is unknown.
        UsageError: If the target cannot be imported or called.
    """
    head, at, chosen = target.partition("@")
    factory = load_attribute(head) if ":" in head else DETECTORS.get(head)
    if not callable(factory):
        raise UsageError(f"{head} is {type(factory).__name__}, not something that makes a detector")
    default = getattr(factory, "default_backbone", lambda track: track)(backbone)
    return lambda: cast(Detector, factory(backbone=chosen if at else default))


def check_detector(
    target: str | Callable[[], Detector], *, backbone: str = "embedded", edge: int = EDGE
) -> list[CheckResult]:
    """Run every conformance check.

    Args:
        target: A registered name, ``MODULE:ATTRIBUTE``, or a function without arguments that makes the detector.
        backbone: For names; see `detector_factory`.
        edge: Height and width of the pictures in pixels.

    Returns:
        One result per check, in a fixed order. A check that raises fails with the error's text.

    Raises:
        TrustADError: If the detector cannot be made at all.
    """
    factory = detector_factory(target, backbone) if isinstance(target, str) else target
    case = Case(factory, edge)
    return [_run(check, case) for check in CHECKS]


def _run(check: Callable[[Case], str], case: Case) -> CheckResult:
    meaning = (check.__doc__ or "").strip()
    try:
        detail = check(case)
    except Skip as skip:
        return CheckResult(check.__name__, "skip", str(skip), meaning)
    except Exception as error:
        text = " ".join(str(error).split())
        return CheckResult(check.__name__, "fail", f"{type(error).__name__}: {text}", meaning)
    return CheckResult(check.__name__, "fail" if detail else "pass", detail, meaning)
