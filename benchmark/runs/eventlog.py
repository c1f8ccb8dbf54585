"""The structured log of a run: one JSON object per line, written as things happen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from benchmark.errors import StoreError
from benchmark.storage.jsonio import canonical_json


class EventLog:
    """Writes events to an unbuffered binary stream, or nowhere.

    Every line has ``time`` (UTC, to the millisecond) and ``event``:

        start     track, executor, missing, done
        removed   path of a temporary file that a killed run had left
        damaged   what was wrong with a cell that is computed again
        cell      address, condition, images, seconds; batch where memory ran out on larger ones
        failed    condition, reason, cells, and the log file with the traceback if there is one
        end       the summary
    """

    def __init__(self, stream: IO[bytes] | None = None) -> None:
        self._stream = stream

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write one line.

        Raises:
            StoreError: If the disk is full.
        """
        if self._stream is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        try:
            self._stream.write(canonical_json({"time": now, "event": event, **facts}).encode() + b"\n")
        except OSError as error:
            raise StoreError(
                f"cannot write to the log: {error.strerror}; free space or choose another --log"
            ) from error


@contextmanager
def event_log(path: Path | None) -> Iterator[EventLog]:
    """A log that appends to a file; None = no log.

    Raises:
        StoreError: If the file cannot be opened.
    """
    if path is None:
        yield EventLog()
        return
    try:
        stream = path.open("ab", buffering=0)
    except OSError as error:
        raise StoreError(f"cannot write the log {path}: {error.strerror}; choose another --log") from error
    with stream:
        yield EventLog(stream)
