"""Attacks by files, names, metadata and text."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from hostile import attack, simple
from submissions import SLUG, STEM, edit_result, edit_text, result_path, scores_path


def write(name: str, data: bytes = b"x"):  # type: ignore[no-untyped-def]
    """An attack that adds a file."""

    def apply(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return apply


def rename(new: str):  # type: ignore[no-untyped-def]
    """An attack that renames the submission."""
    return lambda folder: folder.rename(folder.with_name(new))


def toml(line: str):  # type: ignore[no-untyped-def]
    """An attack that adds a line to submission.toml."""
    return lambda folder: (folder / "submission.toml").open("a").write(line + "\n")


def field(name: str, value: str):  # type: ignore[no-untyped-def]
    """An attack that replaces a field of submission.toml."""

    def apply(folder: Path) -> None:
        path = folder / "submission.toml"
        lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith(f"{name} =")]
        path.write_text("\n".join([*lines, f"{name} = {value}"]) + "\n", "utf-8")

    return apply


def sparse(name: str, size: int):  # type: ignore[no-untyped-def]
    """An attack that grows a file."""
    return lambda folder: os.truncate(folder / name, size)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/trustad-was-here",)


def _link(folder: Path) -> None:
    result_path(folder).unlink()
    result_path(folder).symlink_to("/etc/passwd")


def _linked_folder(folder: Path) -> None:
    (folder / "evidence").rename(folder.parent.parent / "elsewhere")
    (folder / "evidence").symlink_to(folder.parent.parent / "elsewhere")


def _linked_submission(folder: Path) -> Path:
    folder.rename(folder.parent.parent / "elsewhere")
    folder.symlink_to(folder.parent.parent / "elsewhere")
    return folder


def _fifo(folder: Path) -> None:
    (folder / "submission.toml").unlink()
    os.mkfifo(folder / "submission.toml")


def _many(folder: Path) -> None:
    (folder / "gallery").mkdir(exist_ok=True)
    for place in range(201):
        (folder / "gallery" / f"{place}.webp").touch()


def _no_results(folder: Path) -> None:
    result_path(folder).unlink()
    scores_path(folder).unlink()


simple(
    "layout",
    {
        "a result that is a link to /etc/passwd": ("is a link", _link),
        "an evidence folder that is a link": ("is a link", _linked_folder),
        "a submission that is a link": ("links are not followed", _linked_submission),
        "a named pipe instead of submission.toml (hangs a naive reader)": ("no regular file", _fifo),
        "a zip bomb": ("does not belong", write("bomb.zip", b"PK\x03\x04")),
        "a pickle as checkpoint": ("does not belong", write("weights/model.pkl", pickle.dumps(Payload()))),
        "a torch checkpoint": ("does not belong", write("weights/model.pt", pickle.dumps(Payload()))),
        "a workflow of its own": ("does not belong", write(".github/workflows/x.yml")),
        "git hooks": ("does not belong", write(".git/hooks/post-checkout")),
        "conftest.py, which pytest would import": ("does not belong", write("conftest.py")),
        "an HTML page": ("does not belong", write("index.html", b"<script>alert(1)</script>")),
        "folders within folders within folders": ("folders within folders", write("a/b/c/d/e/f/g")),
        "201 files": ("more than 200 files", _many),
        "a file name with a line break": ("does not belong", write("results/a\nb.json")),
        "a file name with ..": ("does not belong", write("results/..json")),
        "a file name in capitals": ("does not belong", write("Detector.py")),
        "a result of 10 MB and one byte": ("it may have", sparse(f"results/{STEM}.json", 10_000_001)),
        "evidence of a gigabyte": ("it may have", sparse(f"evidence/{STEM}.parquet", 10**9)),
        "a detector.py of 200 KB": ("it may have", sparse("detector.py", 200_000)),
        "no results at all": ("no file under results", _no_results),
        "submission.toml deleted": ("submission.toml is missing", lambda f: (f / "submission.toml").unlink()),
        "a slug in capitals": ("slug 'Colours'", rename("Colours")),
        "a slug with dots": ("slug '..colours'", rename("..colours")),
        "a slug with letters that look alike (Cyrillic)": ("slug", rename("сolours")),
        "a slug that differs from another in case only": (
            "differs from 'COLOURS' in case only",
            lambda f: (f.parent / "COLOURS").mkdir(),
        ),
    },
)

simple(
    "metadata",
    {
        "another slug in submission.toml": ("slug", field("slug", '"another"')),
        "a key twice in submission.toml": ("TOML", toml(f'slug = "{SLUG}"')),
        "an unknown key in submission.toml": ("Extra", toml('rank = "1"')),
        "TOML nested 20,000 deep": ("TOML", toml("x = " + "[" * 20_000)),
        "TOML that is not UTF-8": ("TOML", lambda f: (f / "submission.toml").write_bytes(b'name = "\xff\xfe"')),
        "a javascript: address": ("paper_url", field("paper_url", '"javascript:alert(1)"')),
        "an http: address": ("code_url", field("code_url", '"http://example.org"')),
        "an address with quotes and a handler": ("paper_url", field("paper_url", "'https://a.b/\"onload=x'")),
        "a name with a line break": ("name", field("name", '"a\\nb"')),
        "a name of 10,000 characters": ("name", field("name", f'"{"a" * 10_000}"')),
        "a year in the future of the future": ("year", field("year", "9999")),
        "a self-made verification rung": (
            "steps.0.step",
            write(
                "verification.json",
                b'{"schema_version":1,"protocol":1,"results":{},"steps":[{"step":"perfect","date":"2026-01-01","by":"me"}]}',
            ),
        ),
        "a gallery that names a file outside": (
            "file",
            write("gallery/gallery.json", b'{"schema_version":1,"items":[{"file":"../../detector.py"}]}'),
        ),
    },
)

simple(
    "texts",
    {
        "a script in the name": ("HTML", field("name", '"<script>alert(1)</script>"')),
        "an image with a handler among the authors": ("HTML", field("authors", '["<img src=x onerror=alert(1)>"]')),
        "HTML entities": ("HTML", field("notes", '"&#60;script&#62;"')),
        "a script address in running text": ("script address", field("notes", '"see javascript:alert(1)"')),
        "a formula that a spreadsheet would run": ("formula", field("name", '"=HYPERLINK(1)"')),
        "a formula behind a plus": ("formula", field("licence", '"+cmd|calc"')),
        "a LaTeX command": ("LaTeX", field("paper", '"\\\\input{/etc/passwd}"')),
        "text that runs backwards (bidi override)": ("direction", field("name", '"good\\u202Edab"')),
        "an invisible character": ("direction", field("name", '"Patch\\u200BCore"')),
        "a script in a result's detector title": (
            "HTML",
            lambda f: edit_result(f, lambda d: d["detector"].update(title="<svg onload=alert(1)>")),
        ),
        "a script in a failure's reason": (
            "HTML",
            lambda f: edit_result(f, lambda d: d["failures"][0].update(reason="</td><script>")),
        ),
        "a formula in the detector's configuration": (
            "formula",
            lambda f: edit_result(f, lambda d: d["detector"]["config"].update(x="@SUM(1)")),
        ),
    },
)


@attack("a page of HTML as gallery image", "metadata", "no WebP")
def _gallery(folder: Path) -> None:
    write("gallery/a.webp", b"<html>")(folder)
    item = (
        '{"file":"a.webp","panels":["clean"],"track":"demo","dataset":"procedural","category":"weave","sample_id":"x",'
        '"label":0,"shots":1,"attack":"pgd_score_10","budget":"2","amplification":8,"score_clean":0.1,'
        '"score_attacked":0.2}'
    )
    write("gallery/gallery.json", f'{{"schema_version":1,"items":[{item}]}}'.encode())(folder)


@attack("a result under another's file name", "results", "name it")
def _renamed(folder: Path) -> None:
    result_path(folder).rename(result_path(folder).with_name("few-shot-v1__mvtec_ad.json"))


@attack("a result cut off in the middle", "results", "not valid JSON")
def _truncated(folder: Path) -> None:
    os.truncate(result_path(folder), 5000)


@attack("a key twice in the JSON", "results", "stands twice")
def _twice(folder: Path) -> None:
    edit_text(result_path(folder), "{", '{"schema_version": 1,')
