"""submission.toml, verification.json and the gallery: strict, one clear line for every fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import ResultError
from benchmark.results.submission import load_gallery, load_submission, load_verification

GOOD: dict[str, Any] = {
    "schema_version": 1,
    "slug": "my-detector",
    "name": "My detector",
    "authors": ["A. Author"],
    "year": 2026,
    "licence": "CC-BY-4.0",
    "training_data": "DINOv2 weights",
    "attacks_run_by": "authors",
}


def write(root: Path, fields: dict[str, Any], slug: str = "my-detector") -> Path:
    folder = root / slug
    folder.mkdir(parents=True)
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    (folder / "submission.toml").write_text(lines)
    return folder


def test_a_good_submission_loads(tmp_path: Path) -> None:
    submission = load_submission(write(tmp_path, GOOD | {"doi": "10.1234/abc", "code_url": "https://example.org/x"}))
    assert submission.authors == ("A. Author",)
    assert submission.code_url == "https://example.org/x"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"slug": "Other"}, "slug"),
        ({"slug": "../x"}, "slug"),
        ({"slug": "other"}, "my-detector"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"authors": []}, "authors"),
        ({"authors": "A. Author"}, "authors"),
        ({"year": "2026"}, "year"),
        ({"code_url": "javascript:alert(1)"}, "code_url"),
        ({"code_url": "http://example.org"}, "code_url"),
        ({"paper_url": 'https://x" onclick="y'}, "paper_url"),
        ({"code_commit": "main"}, "code_commit"),
        ({"attacks_run_by": "nobody"}, "attacks_run_by"),
        ({"score": 1.0}, "score"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_bad_fields_are_refused_by_name(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    with pytest.raises(ResultError, match=where) as caught:
        load_submission(write(tmp_path, GOOD | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["name = ", "when = 2026-01-01", "\x00", "x = nan"])
def test_broken_toml_is_one_line(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path, GOOD)
    (folder / "submission.toml").write_text(text)
    with pytest.raises(ResultError, match=r"submission\.toml"):
        load_submission(folder)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, GOOD)
    (folder / "submission.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ResultError, match=r"submission\.toml"):
        load_submission(folder)


def test_missing_and_huge_files(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="missing"):
        load_submission(tmp_path)
    folder = write(tmp_path, GOOD)
    (folder / "submission.toml").write_text("#" * 200_000)
    with pytest.raises(ResultError, match="200,000 bytes"):
        load_submission(folder)


def test_the_ladder_is_climbed_in_order(tmp_path: Path) -> None:
    def verify(*steps: str) -> None:
        rows = [{"step": step, "date": "2026-11-22", "by": "ci"} for step in steps]
        data = {"schema_version": 1, "protocol": 1, "results": {}, "steps": rows}
        (tmp_path / "verification.json").write_text(json.dumps(data))
        load_verification(tmp_path)

    assert load_verification(tmp_path) is None
    verify("schema_valid", "recomputed", "fully_rerun")
    for wrong in (("recomputed", "schema_valid"), ("recomputed", "recomputed"), ("replicated",)):
        with pytest.raises(ResultError, match="steps"):
            verify(*wrong)


ITEM = {
    "file": "a.webp", "panels": ["clean", "attacked"], "track": "embedded", "dataset": "procedural", "category": "nut",
    "sample_id": "nut/test/hole/000.png", "label": 1, "shots": 4, "attack": "pgd_score", "budget": "2",
    "amplification": 16, "score_clean": 1.0, "score_attacked": 0.5,
}  # fmt: skip


def gallery(root: Path, data: bytes, **change: Any) -> None:
    folder = root / "gallery"
    folder.mkdir(exist_ok=True)
    (folder / "a.webp").write_bytes(data)
    (folder / "gallery.json").write_text(json.dumps({"schema_version": 1, "items": [ITEM | change]}))
    load_gallery(root)


WEBP = b"RIFF\x04\x00\x00\x00WEBP" + bytes(20)


def test_gallery_files_are_small_webp_in_their_folder(tmp_path: Path) -> None:
    assert load_gallery(tmp_path) is None
    gallery(tmp_path, WEBP)
    for data, change, words in (
        (b"<svg>", {}, "no WebP"),
        (WEBP + bytes(1_000_001), {}, "more than 1,000,000"),
        (WEBP, {"file": "../a.webp"}, "file"),
        (WEBP, {"file": "b.webp"}, "no file"),
        (WEBP, {"panels": ["clean", "secret"]}, "panels"),
        (WEBP, {"score_clean": None}, "score_clean"),
    ):
        with pytest.raises(ResultError, match=words):
            gallery(tmp_path, data, **change)


def test_a_linked_image_is_refused(tmp_path: Path) -> None:
    gallery(tmp_path, WEBP)
    (tmp_path / "secret").write_bytes(WEBP)
    (tmp_path / "gallery" / "a.webp").unlink()
    (tmp_path / "gallery" / "a.webp").symlink_to(tmp_path / "secret")
    with pytest.raises(ResultError, match="no file"):
        load_gallery(tmp_path)
