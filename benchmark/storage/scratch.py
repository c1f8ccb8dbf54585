"""Temporary files and folders that no killed process leaves for ever.

While a process writes one, it holds a lock on it. The lock vanishes with the process, however it ends, so that
`sweep` can tell what nobody is writing any more. Names: ``.<name>.<random>.tmp``, beside the final place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".tmp"


@contextmanager
def scratch_file(target: Path) -> Iterator[Path]:
    """An empty locked file beside ``target``, to be renamed into place; removed on leaving if it still is there.

    Raises:
        OSError: If it cannot be made.
    """
    descriptor, path = _make_file(target)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """An empty locked folder below ``parent``; removed on leaving with all that still is in it.

    Raises:
        OSError: If it cannot be made.
    """
    path = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=SUFFIX, dir=parent))
    descriptor = None if os.name == "nt" else os.open(path, os.O_RDONLY)
    try:
        if descriptor is not None:
            try_lock(descriptor)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder: Path) -> list[Path]:
    """Remove the temporary files and folders anywhere below a folder whose writers are gone; returns what was removed.

    Where locks do not tell (Windows), nothing is removed.
    """
    found = [] if os.name == "nt" else sorted(folder.rglob(f".*{SUFFIX}"))
    return [path for path in found if _remove_abandoned(path)]


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock on an open file without waiting; False where another process holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _make_file(target: Path) -> tuple[int | None, Path]:
    """A new locked file. Where a sweep takes it between its making and its locking, or locks do not work, it is made
    again, twice at most.
    """
    for last in (False, False, True):
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=SUFFIX, dir=target.parent)
        path = Path(name)
        if os.name == "nt":  # an open file could not be renamed there
            break
        if (try_lock(descriptor) and os.fstat(descriptor).st_nlink) or last:
            return descriptor, path
        path.unlink(missing_ok=True)
        os.close(descriptor)
    os.close(descriptor)
    return None, path


def _remove_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not try_lock(descriptor):
            return False
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    return True
