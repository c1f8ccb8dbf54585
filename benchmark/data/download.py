"""Getting a data set: resumable download, SHA-256 check, and extraction that trusts nothing in the archive."""

from __future__ import annotations

import http.client
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmark.datasets.sources import Archive
from benchmark.errors import DataError
from benchmark.storage.jsonio import digest_file

BLOCK = 1 << 20
MAX_FILES = 1_000_000
MAX_GROWTH = 20
"""An archive of photographs that grows more than this is a bomb."""
ARCHIVE_ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, NotImplementedError),
)

Progress = Callable[[int, int], None]
"""Called with bytes so far and the total; where the server gives no total, with bytes so far twice."""


def fetch(name: str, archive: Archive, root: Path, progress: Progress) -> Path:
    """Download, check and extract an archive to ``root/name``; a broken download is resumed by calling again.

    Raises:
        DataError: If the address does not answer, the digest differs, or the archive is unsafe.
    """
    target = root / name
    if target.exists():
        raise DataError(
            f"{target} exists already; check it with `trustad data verify {name} --root {root}` or remove it"
        )
    file = root / archive.filename
    if not file.is_file():
        download(archive, file, progress)
    check(archive, file)
    extract(file, target)
    file.unlink()
    return target


def download(archive: Archive, file: Path, progress: Progress) -> None:
    """Download to ``file``, continuing a ``.part`` file where the server allows it.

    Raises:
        DataError: If the address does not answer or the connection breaks; what came so far is kept.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = Request(archive.url, headers={"User-Agent": "trustad", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        with urlopen(request, timeout=60) as response:
            have = have if response.status == http.client.PARTIAL_CONTENT else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            _receive(response, part, have, total, progress)
    except HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # 416: the part is already the whole file
            raise DataError(f"{archive.url} answers {error.code}; download it by hand to {file}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"cannot download {archive.url} ({error}); run the same command again to resume") from error
    part.replace(file)


def _receive(response: IO[bytes], part: Path, have: int, total: int | None, progress: Progress) -> None:
    with part.open("ab" if have else "wb") as out:
        while block := response.read(BLOCK):
            out.write(block)
            have += len(block)
            progress(have, total or have)
    if total is not None and have < total:
        raise OSError(f"connection closed after {have} of {total} bytes")


def check(archive: Archive, file: Path) -> None:
    """Compare a downloaded file with its known digest.

    Raises:
        DataError: If they differ; the file is removed, because it cannot be resumed.
    """
    digest = digest_file(file)
    if digest != archive.sha256:
        file.unlink()
        raise DataError(f"{file.name} has SHA-256 {digest}, expected {archive.sha256}; removed, download it again")


def extract(file: Path, target: Path, max_bytes: int | None = None) -> None:
    """Extract a tar or zip archive to a new folder, all or nothing.

    Args:
        file: The archive.
        target: Folder to create.
        max_bytes: Most bytes to write; default: twenty times the archive.

    Raises:
        DataError: If the archive is damaged, or holds a path outside the folder, a link, a device, or a bomb.
    """
    limit = max_bytes if max_bytes is not None else MAX_GROWTH * file.stat().st_size
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for count, (name, opened) in enumerate(_members(file), start=1):
            if count > MAX_FILES:
                raise DataError(f"{file.name} holds more than {MAX_FILES} files; refused")
            with opened as source:
                limit -= _copy(source, partial / _safe(file, name), limit, file)
        partial.rename(target)
    except ARCHIVE_ERRORS as error:
        raise DataError(f"{file.name} cannot be extracted: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _members(file: Path) -> Iterator[tuple[str, AbstractContextManager[IO[bytes]]]]:
    """Name and opened content of every regular file; links and devices are refused."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise DataError(f"{file.name} holds {info.filename}, which is a link or device; refused")
                if not info.is_dir():
                    yield info.filename, archive.open(info)
        return
    with tarfile.open(file) as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()):
                raise DataError(f"{file.name} holds {member.name}, which is a link or device; refused")
            source = tar.extractfile(member) if member.isfile() else None
            if source is not None:
                yield member.name, source


def _safe(file: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or not path.parts:
        raise DataError(f"{file.name} holds {name!r}, which lies outside its folder; refused")
    return path


def _copy(source: IO[bytes], path: Path, limit: int, file: Path) -> int:
    """Copy a member and return its size; counted while writing, because headers can lie."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("xb") as out:
        while block := source.read(BLOCK):
            written += len(block)
            if written > limit:
                raise DataError(f"{file.name} grows more than {MAX_GROWTH} times on extraction; refused")
            out.write(block)
    return written
