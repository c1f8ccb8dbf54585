"""Canonical JSON, digests and atomic files: the only way this project writes to disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.errors import ResultError, StoreError
from benchmark.storage.scratch import scratch_file


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, no NaN or infinity: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def pretty_json(value: Any) -> str:
    """Canonical key order, indented by one space, with a final newline: small diffs in pull requests."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def digest_json(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_bytes(data: bytes) -> str:
    """SHA-256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of a file, streamed."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def strict_loads(text: str | bytes, *, source: str) -> Any:
    """Parse JSON, refusing duplicate keys, NaN and infinity.

    Raises:
        ResultError: With the source and the reason.
    """

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise ResultError(f"{source}: key {key!r} stands twice in one object")
            seen[key] = value
        return seen

    def no_constants(name: str) -> Any:
        raise ResultError(f"{source}: {name} is not a JSON number; write null")

    try:
        return json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constants)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise ResultError(f"{source}: not valid JSON ({error})") from error


def save_checked(path: Path, content: Any) -> None:
    """Write JSON content with its digest, for caches."""
    atomic_write(path, canonical_json({"content": content, "digest": digest_json(content)}))


def load_checked(path: Path) -> Any:
    """Content that `save_checked` wrote.

    Raises:
        OSError: If the file cannot be read.
        ResultError: If it is damaged: no such JSON, or another digest.
    """
    data = strict_loads(path.read_bytes(), source=str(path))
    if not isinstance(data, dict) or data.keys() != {"content", "digest"}:
        raise ResultError(f"{path}: not content with its digest")
    if digest_json(data["content"]) != data["digest"]:
        raise ResultError(f"{path}: the digest does not match the content")
    return data["content"]


def atomic_write(path: Path, data: bytes | str, *, durable: bool = True) -> None:
    """Write a file so that readers see the old bytes or the new bytes, never a part (temp file, fsync, rename).

    ``durable=False`` leaves out the fsync: for files that are quickly made again, such as pages.
    """
    payload = data.encode() if isinstance(data, str) else data
    atomic_write_with(path, partial(_write_bytes, payload), durable=durable)


def _write_bytes(payload: bytes, path: Path) -> None:
    path.write_bytes(payload)


def atomic_write_with(path: Path, writer: Callable[[Path], None], *, durable: bool = True) -> None:
    """Let ``writer(temp_path)`` make a file beside ``path``, then fsync and rename it into place.

    Raises:
        StoreError: If the disk is full or read-only; nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_file(path) as temp:
            writer(temp)
            if durable:
                _fsync(temp)
            temp.chmod(0o644)
            temp.replace(path)
        if durable:
            _fsync(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f"cannot write {path}: {reason}; free space or choose another --out (TRUSTAD_CACHE)"
        ) from error


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
