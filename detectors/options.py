"""Checks of detector options, with one clear line."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.errors import UsageError


def one_of(what: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a value that is not listed.

    Raises:
        UsageError: With the value and the allowed ones.
    """
    if value not in (known := tuple(allowed)):
        raise UsageError(f"{what} = {value!r}; allowed are {', '.join(known)}")


def at_least(what: str, value: float, minimum: float) -> None:
    """Refuse a number below a minimum.

    Raises:
        UsageError: With the value and the minimum.
    """
    if not value >= minimum:
        raise UsageError(f"{what} = {value}; allowed are numbers from {minimum}")


def share(what: str, value: float) -> None:
    """Refuse a number outside (0, 1].

    Raises:
        UsageError: With the value.
    """
    if not 0 < value <= 1:
        raise UsageError(f"{what} = {value}; allowed are numbers above 0 and up to 1")
