"""Frozen releases: an immutable, digest-named copy of the site with citation data.

leaderboard/releases/<name>-<digest>/release.json    what it is, and the SHA-256 of every file
                                     CITATION.cff, zenodo.json
                                     site/           served for ever as releases/<name>/
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmark.errors import ResultError, UsageError
from benchmark.storage.jsonio import atomic_write, digest_file, digest_json, pretty_json
from leaderboard.output import MANIFEST
from leaderboard.words import DASH

RELEASES = Path(__file__).parent / "releases"
NAME = re.compile(r"20[0-9]{2}\.(0[1-9]|1[0-2])(\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Release:
    """A release on disk."""

    folder: Path
    name: str
    date: str
    digest: str
    rows: int
    index: Mapping[str, Any]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """(path below releases/, bytes) of everything that the site serves."""
        for path in sorted((self.folder / "site").rglob("*")):
            if path.is_file():
                yield f"releases/{self.name}/{path.relative_to(self.folder / 'site').as_posix()}", path.read_bytes()
        for name in ("CITATION.cff", "zenodo.json", "release.json"):
            yield f"releases/{self.name}/{name}", (self.folder / name).read_bytes()


def freeze(name: str, *, submissions: Sequence[Path], releases: Path = RELEASES, today: date | None = None) -> Path:
    """Build the site strictly and keep it under ``releases/<name>-<digest>``.

    Args:
        name: ``YYYY.MM`` or ``YYYY.MM.N``.
        submissions: As for `leaderboard.build.build_site`.
        releases: Where releases are kept.
        today: Date of the release; today by default.

    Returns:
        The release's folder. Freezing the same state under the same name again changes nothing.

    Raises:
        UsageError: If the name is malformed or taken by another state.
        ResultError: If a submission is invalid or there is none.
    """
    from leaderboard.build import build_site  # build reads releases: the other direction is a call, not a dependency

    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no release name; use YYYY.MM or YYYY.MM.N, such as 2026.11")
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch) / "site"
        report = build_site(submissions, site, strict=True, releases=None, edition=name)
        if not report.rows:
            raise ResultError("there is no row to freeze")
        (site / MANIFEST).unlink()
        files = {p.relative_to(site).as_posix(): digest_file(p) for p in sorted(site.rglob("*")) if p.is_file()}
        digest = digest_json(files)
        folder = releases / f"{name}-{digest[:12]}"
        taken = next((p for p in sorted(releases.glob(f"{name}-*")) if p != folder), None)
        if taken is not None:
            raise UsageError(f"{name} is frozen as {taken.name} and never changes; choose another name")
        if folder.exists():
            return folder
        stamp = (today or date.today()).isoformat()
        data = {"format": 1, "name": name, "date": stamp, "digest": digest, "rows": report.rows, "files": files}
        citation = {"CITATION.cff": citation_cff(name, stamp, digest), "zenodo.json": zenodo_json(name, stamp, digest)}
        _keep(site, folder, {**citation, "release.json": pretty_json(data)})
    return folder


def _keep(site: Path, folder: Path, texts: Mapping[str, str]) -> None:
    """Copy beside the target and rename: a release is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(site, partial / "site")
    for name, text in texts.items():
        atomic_write(partial / name, text)
    partial.rename(folder)


def load_releases(releases: Path) -> list[Release]:
    """All releases, newest first, each checked against its digests.

    Raises:
        ResultError: If a frozen file was changed, added or removed.
    """
    folders = sorted(p for p in releases.glob("20*-*") if p.is_dir()) if releases.is_dir() else []
    found = [_load(folder) for folder in folders]
    return sorted(found, key=lambda r: (r.date, r.name), reverse=True)


def _load(folder: Path) -> Release:
    try:
        data = json.loads((folder / "release.json").read_text("utf-8"))
        stored: dict[str, str] = data["files"]
        site = folder / "site"
        present = {p.relative_to(site).as_posix(): digest_file(p) for p in sorted(site.rglob("*")) if p.is_file()}
        if present != stored or digest_json(stored) != data["digest"]:
            changed = sorted(k for k in present.keys() | stored.keys() if present.get(k) != stored.get(k))
            raise ResultError(
                f"{folder}: frozen files were changed ({', '.join(changed[:3]) or 'release.json'}); restore them"
            )
        index = json.loads((site / "index.json").read_text("utf-8"))
        return Release(folder, data["name"], data["date"], data["digest"], data["rows"], index)
    except (OSError, ValueError, KeyError) as error:
        raise ResultError(f"{folder} is no complete release ({error}); restore it or remove it") from error


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed from one index.json to another, in words."""
    old, new = _scores(before), _scores(after)
    words = [f"{key[0]}: new row {key[1]}, R {_printed(new[key])}" for key in sorted(new.keys() - old.keys())]
    words += [f"{key[0]}: {key[1]} is gone" for key in sorted(old.keys() - new.keys())]
    for key in sorted(new.keys() & old.keys()):
        if new[key] != old[key]:
            words.append(f"{key[0]}: {key[1]}, R {_printed(old[key])} → {_printed(new[key])}")
    return words


def _scores(index: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    return {(track["key"], row["slug"]): row["r"]["value"] for track in index["tracks"] for row in track["rows"]}


def _printed(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def citation_cff(name: str, stamp: str, digest: str) -> str:
    """CITATION.cff of a release."""
    return (
        "cff-version: 1.2.0\n"
        'message: "If you use these results, please cite them as below."\n'
        "type: dataset\n"
        'title: "TrustAD leaderboard: robustness and uncertainty of visual anomaly detectors"\n'
        'authors:\n  - name: "TrustAD maintainers"\n'
        f'version: "{name}"\ndate-released: "{stamp}"\nlicense: Apache-2.0\n'
        f"identifiers:\n  - type: other\n    value: sha256-{digest}\n    description: Digest of the frozen site\n"
    )


def zenodo_json(name: str, stamp: str, digest: str) -> str:
    """Metadata for a deposit of the release."""
    data = {
        "title": f"TrustAD leaderboard {name}",
        "description": f"Frozen leaderboard of TrustAD; digest of all files {digest}.",
        "upload_type": "dataset",
        "publication_date": stamp,
        "version": name,
        "access_right": "open",
        "license": "apache-2.0",
        "creators": [{"name": "TrustAD maintainers"}],
        "keywords": ["anomaly detection", "adversarial robustness", "calibration", "benchmark"],
    }
    return pretty_json(data)
