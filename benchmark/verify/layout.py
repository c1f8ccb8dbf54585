"""Which files a submission may hold. Looks at names and sizes only, never follows a link, opens nothing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from benchmark.errors import ResultError
from benchmark.results.schema import MAX_EVIDENCE_BYTES, MAX_RESULT_BYTES
from benchmark.results.submission import MAX_GALLERY_BYTES, MAX_METADATA_BYTES
from benchmark.verify.subject import Subject

MAX_FILES = 200
MAX_BYTES = 200_000_000
SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_STEM = r"[a-z0-9][a-z0-9_-]{0,60}-v[0-9]{1,3}__[a-z0-9][a-z0-9_]{0,60}"
_CLAIM = r"counter/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

ALLOWED: dict[str, int] = {
    r"submission\.toml": MAX_METADATA_BYTES,
    r"verification\.json": MAX_METADATA_BYTES,
    r"detector\.py": MAX_METADATA_BYTES,
    r"weights/[a-z0-9][a-z0-9_-]{0,60}\.safetensors": 50_000_000,
    rf"results/{_STEM}\.json": MAX_RESULT_BYTES,
    rf"evidence/{_STEM}(\.pixel|\.probe)?\.parquet": MAX_EVIDENCE_BYTES,
    r"gallery/gallery\.json": MAX_METADATA_BYTES,
    r"gallery/[a-z0-9][a-z0-9_-]{0,99}\.webp": MAX_GALLERY_BYTES,
    rf"{_CLAIM}/counter\.toml": MAX_METADATA_BYTES,
    rf"{_CLAIM}/perturbation\.safetensors": MAX_EVIDENCE_BYTES,
    rf"{_CLAIM}/evidence\.parquet": MAX_EVIDENCE_BYTES,
}
"""Every file that a submission may hold, as a pattern of its whole path, with its largest size in bytes."""


def check_layout(subject: Subject) -> str:
    """Names, kinds and sizes of all files.

    Raises:
        ResultError: Naming the first file that does not belong.
    """
    folder = subject.folder
    check_slug(folder)
    names: dict[str, str] = {}
    total = 0
    for name, facts in _walk(folder):
        if twin := names.get(name.casefold()):
            raise ResultError(f"{twin} and {name} differ in case only; rename one")
        names[name.casefold()] = name
        total += _checked_size(name, facts)
        if len(names) > MAX_FILES or total > MAX_BYTES:
            raise ResultError(f"more than {MAX_FILES} files or {MAX_BYTES:,} bytes in all")
    if "submission.toml" not in names:
        raise ResultError("submission.toml is missing; every submission has one")
    if not any(name.startswith("results/") for name in names):
        raise ResultError("no file under results/; a submission has at least one")
    return f"{len(names)} files, {total:,} bytes"


def check_slug(folder: Path) -> None:
    """The folder's name: lower case, digits and dashes, unlike any other's.

    Raises:
        ResultError: If it is something else, a link, or differs from another submission's in case only.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ResultError(f"{folder.name!r} is no folder of its own; links are not followed")
    if not SLUG.fullmatch(folder.name):
        raise ResultError(f"slug {folder.name!r}: use 1 to 63 of a-z, 0-9 and -, with - inside only")
    for other in folder.resolve().parent.iterdir():
        if other.name != folder.name and other.name.casefold() == folder.name:
            raise ResultError(f"slug {folder.name!r} differs from {other.name!r} in case only; choose another")


def _walk(folder: Path, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, os.stat_result]]:
    """Relative POSIX path and facts of everything that is no plain folder, in sorted order."""
    if depth > 3:
        raise ResultError(f"{prefix}: folders within folders; at most counter/<id>/ is allowed")
    with os.scandir(folder) as found:
        entries = []
        for entry in found:
            entries.append(entry)
            if len(entries) > MAX_FILES:
                raise ResultError(f"{prefix or 'the folder'}: more than {MAX_FILES} files")
    for entry in sorted(entries, key=lambda e: e.name):
        facts = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", depth + 1)
        else:
            yield f"{prefix}{entry.name}", facts


def _checked_size(name: str, facts: os.stat_result) -> int:
    if stat.S_ISLNK(facts.st_mode):
        raise ResultError(f"{name!r} is a link; put the file itself there")
    if not stat.S_ISREG(facts.st_mode):
        raise ResultError(f"{name!r} is no regular file")
    limit = next((size for pattern, size in ALLOWED.items() if re.fullmatch(pattern, name)), None)
    if limit is None:
        raise ResultError(f"{name!r} does not belong into a submission; docs/submit.md lists what does")
    if facts.st_size > limit:
        raise ResultError(f"{name}: {facts.st_size:,} bytes; it may have {limit:,}")
    return facts.st_size
