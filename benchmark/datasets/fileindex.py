"""Facts about files (hash, size in pixels), computed in parallel and remembered until a file changes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.errors import DataError, ResultError
from benchmark.storage.jsonio import digest_bytes, digest_file, load_checked, save_checked

CACHE_VERSION = 2


@dataclass(frozen=True, slots=True)
class FileFact:
    """What one image or mask file is: ``problem`` is empty for a file with a readable header.

    ``ctime_ns`` moves with every change of content, also where a program sets the old modification time again.
    """

    bytes: int
    mtime_ns: int
    ctime_ns: int
    sha256: str
    width: int
    height: int
    problem: str


def file_facts(root: Path, paths: Iterable[str], cache: Path) -> dict[str, FileFact]:
    """Hash files and read their headers; files of the same size and times of change come from the cache.

    Args:
        root: Folder that the paths are relative to.
        paths: POSIX paths.
        cache: Folder for the remembered facts; one file per root.
    """
    store = cache / f"{digest_bytes(os.fsencode(root.resolve()))[:32]}.json"
    known = _load(store)
    wanted = sorted(set(paths))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        facts = dict(zip(wanted, pool.map(lambda path: _fact(root / path, known.get(path)), wanted), strict=True))
    if any(known.get(path) != fact for path, fact in facts.items()):
        merged = {**known, **facts}
        table = {path: asdict(fact) for path, fact in merged.items()}
        save_checked(store, {"version": CACHE_VERSION, "files": table})
    return facts


def _fact(path: Path, known: FileFact | None) -> FileFact:
    from benchmark.datasets.decode import image_size

    try:
        status = path.stat()
        if known and _stamp(status) == (known.bytes, known.mtime_ns, known.ctime_ns):
            return known
        sha256 = digest_file(path)
    except OSError as error:
        return FileFact(0, 0, 0, "", 0, 0, f"cannot be read ({error.strerror})")
    try:
        width, height = image_size(path)
    except DataError as error:
        problem = str(error).removeprefix(f"{path}: ")
        return FileFact(*_stamp(status), sha256, 0, 0, problem)
    return FileFact(*_stamp(status), sha256, width, height, "")


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _load(store: Path) -> dict[str, FileFact]:
    """Remembered facts; none when the cache is absent, of another version or damaged."""
    try:
        content = load_checked(store)
        if content["version"] != CACHE_VERSION:
            return {}
        return {path: FileFact(**fact) for path, fact in content["files"].items()}
    except (OSError, ResultError, KeyError, TypeError, AttributeError):
        return {}
