"""The table of attacks on the submission path; `hostile_files`, `hostile_numbers` and `hostile_code` fill it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Apply = Callable[[Path], object]


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        what: In words, for the table in docs/security.md.
        check: The check that must refuse it.
        says: Part of the one line that it must be refused with.
        apply: Tampers with a valid submission's folder and may return another folder to verify instead; or a program
            that is run where submitted detectors run.
        rerun: Only the spot re-run can tell.
    """

    what: str
    check: str
    says: str
    apply: Apply | str
    rerun: bool = False


ATTACKS: list[Attack] = []


def attack(what: str, check: str, says: str, *, rerun: bool = False) -> Callable[[Apply], Apply]:
    """Put a function into the table."""

    def add(apply: Apply) -> Apply:
        ATTACKS.append(Attack(what, check, says, apply, rerun))
        return apply

    return add


def simple(check: str, rows: dict[str, tuple[str, Apply]]) -> None:
    """Put several attacks on one check into the table: what -> (says, apply)."""
    ATTACKS.extend(Attack(what, check, says, apply) for what, (says, apply) in rows.items())
