"""Under what a score was taken: which attack, aimed at what, within which budget; and how budgets are written.

A budget b counts grey levels of an 8-bit image (docs/protocol.md, "Budgets"). From one level up it is a whole number
and bounds every value; below one it is a fraction 1/n: at most that share of the values moves, by one level each. It is
a `fractions.Fraction` in the program and text (``"1/256"``, ``"4"``) in files and on the command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from benchmark.errors import UsageError

Goal = Literal["two_sided", "evasion", "false_alarm"]
"""Who is attacked: all images the harmful way, the anomalies alone (score down), or the normals alone (score up)."""
GOALS: tuple[Goal, ...] = get_args(Goal)

LARGEST = 255
SMALLEST = Fraction(1, 2**24)
_WRITTEN = re.compile(r"(1/)?([1-9][0-9]{0,7})")


def parse_budget(text: str) -> Fraction:
    """A budget in grey levels from its text.

    Args:
        text: ``"1/n"`` for a share of the values that move by one level, or a whole number of levels from 1 to 255.

    Returns:
        The budget, between 1/16777216 and 255.

    Raises:
        UsageError: For any other text; ``"n/255"`` is told to be written as n.

    >>> parse_budget("1/4096"), parse_budget("4")
    (Fraction(1, 4096), Fraction(4, 1))
    """
    found = _WRITTEN.fullmatch(text)
    if found is None and re.fullmatch(r"[0-9]+/255", text):
        raise UsageError(f"budget {text!r}: budgets count grey levels; write {text.partition('/')[0]}")
    if found is None or text == "1/1":
        raise UsageError(
            f"budget {text!r} is not a budget; write 1/n (n >= 2) or a whole number of grey levels, 1 to 255"
        )
    if text == "1/255":
        raise UsageError("budget '1/255' is ambiguous: write 1 for one grey level, or 1/256 for a share of the values")
    budget = Fraction(1, int(found[2])) if found[1] else Fraction(int(found[2]))
    if not SMALLEST <= budget <= LARGEST:
        raise UsageError(f"budget {text!r} is outside 1/{SMALLEST.denominator} to {LARGEST} grey levels")
    return budget


def budget_text(budget: Fraction) -> str:
    """How a budget is written, everywhere: the inverse of `parse_budget`.

    >>> budget_text(Fraction(1, 64)), budget_text(Fraction(1))
    ('1/64', '1')
    """
    return str(Fraction(budget))


@dataclass(frozen=True, slots=True)
class Condition:
    """The images a score was taken on.

    Attributes:
        attack: Name of the attack; None = the images as they are.
        goal: Which images are attacked; None with ``attack``.
        budget: Grey levels; None with ``attack``.
    """

    attack: str | None = None
    goal: Goal | None = None
    budget: Fraction | None = None

    @property
    def is_clean(self) -> bool:
        """The images as they are."""
        return self.attack is None

    def order(self) -> tuple[str, Fraction, str]:
        """Sort key: clean first, then by attack, budget and goal."""
        return self.attack or "", self.budget or Fraction(0), self.goal or ""


CLEAN = Condition()
