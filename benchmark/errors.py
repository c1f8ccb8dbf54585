"""Every error the project raises on purpose.

TrustADError                exit status 2: one clear line, no traceback without --debug
├── UsageError              a wrong option, path or combination of options
├── UnknownNameError        a name that no registry knows (also a KeyError)
├── NameClashError          two claims to one name in a registry
├── DataError               a data set: missing, truncated, unmatched or contradictory files
├── WeightsError            weights missing, of another hash, or of another layout
├── ContractError           a detector, attack or metric broke its contract; the message names it
├── NotApplicableError      a cell that cannot exist (no tokens, no masks, zero-shot ...); carries the reason
├── ResultError             a result, evidence or submission file that fails the schema or a check
└── StoreError              the run folder: locked, unwritable, corrupt beyond recomputation
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def shown(text: object) -> str:
    r"""Text that can be printed and stored: bytes that are not UTF-8 and control characters become escapes.

    >>> shown("pr\udcfcfteil\x1b.png")
    'pr\\xfcfteil\\x1b.png'
    """
    plain = str(text).encode("utf-8", "surrogateescape" if _is_file_name(str(text)) else "backslashreplace")
    whole = plain.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c.isspace() else c.encode("unicode_escape").decode() for c in whole)


def _is_file_name(text: str) -> bool:
    """Whether its lone surrogates, if any, stand for undecodable bytes, as in names that the system gave."""
    return all("\udc80" <= c <= "\udcff" for c in text if "\ud800" <= c <= "\udfff")


class TrustADError(Exception):
    """Base of all deliberate errors. The message is one line: what was given, what is allowed, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class Interrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C; a KeyboardInterrupt that a plug-in raises itself is a fault of the plug-in."""


class Terminated(SystemExit):
    """A signal asked the process to end; a SystemExit that a plug-in raises itself is a fault of the plug-in."""


def told(error: BaseException, limit: int = 500) -> str:
    r"""An error in one line of at most ``limit`` characters, cut between words.

    >>> told(ValueError("no  such\nthing")), told(ValueError("one two three"), 20)
    ('ValueError: no such thing', 'ValueError: one ...')
    """
    try:
        words = " ".join(shown(error).split())
    except Exception:  # a plug-in's own exception may not even print
        words = ""
    known = isinstance(error, TrustADError)
    text = words if known else f"{type(error).__name__}: {words}" if words else type(error).__name__
    limit = 1900 if known else limit
    if len(text) <= limit:
        return text
    kept = text[: limit - 3]
    space = kept.rfind(" ") + 1
    return f"{kept[:space] if space > limit // 2 else kept}..."


class UsageError(TrustADError):
    """A wrong option, path or combination of options."""


class UnknownNameError(TrustADError, KeyError):
    """A name that a registry does not know.

    Args:
        kind: What was looked up, e.g. ``"detector"``.
        name: The name that was asked for.
        known: All registered names; the closest are suggested.
        hint: How to list them all.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        close = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        guess = f" Did you mean {', '.join(close)}?" if close else f" Known: {', '.join(self.known) or 'none'}."
        super().__init__(f"unknown {kind} {name!r}.{guess}{' ' + hint if hint else ''}")

    def __str__(self) -> str:
        return str(self.args[0])


class NameClashError(TrustADError):
    """Two different claims to one registered name."""


class DataError(TrustADError):
    """A data set with missing, unreadable, unmatched or contradictory files."""


class WeightsError(TrustADError):
    """Weights that are missing, of another hash than recorded, or of an unknown layout."""


class ContractError(TrustADError):
    """A detector, attack or metric broke its contract; the message names the culprit."""


class NotApplicableError(TrustADError):
    """A condition that does not exist for this detector or data set; the message is the stored reason."""


class ResultError(TrustADError):
    """A result, evidence or submission file that fails the schema or a check."""


class StoreError(TrustADError):
    """The run folder cannot be used: locked by another run, read-only or full."""
