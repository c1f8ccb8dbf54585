"""Exports, citations and frozen releases."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmark.errors import ResultError, UnknownNameError, UsageError
from benchmark.results.submission import load_submission
from leaderboard.build import build_site
from leaderboard.cite import cite
from leaderboard.export import bibtex_entry, csv_text, latex_text, markdown_text
from leaderboard.release import freeze, load_releases
from tests.leaderboard_factory import GALLERY, write_submission
from tests.test_leaderboard_build import HOSTILE, built, contents, submissions

__all__ = ["built"]


# --- exports ----------------------------------------------------------------------------------------------------------


def test_exports_parse_and_equal_the_table(built: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((built / "exports" / "embedded-v1.csv").read_text())))
    data = json.loads((built / "exports" / "embedded-v1.json").read_text())["rows"]
    index = json.loads((built / "index.json").read_text())["tracks"][0]["rows"]
    assert len(rows) == len(data) == len(index)
    for line, entry, truth in zip(rows, data, index, strict=True):
        assert line["detector"] == entry["detector"] == truth["name"]
        assert float(line["r"]) == entry["r"] == pytest.approx(truth["r"]["value"], abs=0.0005)
        assert entry["r_low"] == pytest.approx(truth["r"]["low"], abs=0.005)
    assert rows[5]["aupro"] == ""
    assert data[5]["aupro"] is None
    latex = (built / "exports" / "embedded-v1.tex").read_text()
    body = latex.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()
    assert [len(line.split(" & ")) for line in body] == [len(latex.split("{tabular}{")[1].split("}")[0])] * len(rows)
    markdown = (built / "exports" / "embedded-v1.md").read_text().strip().splitlines()
    assert len(markdown) == 4 + len(rows)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "|cmd", "%x", 'a"b', "a,b"])
def test_spreadsheets_see_no_formula(text: str) -> None:
    (field,) = next(csv.reader([csv_text(text)]))
    assert field.lstrip("'") == text.lstrip("'")
    assert not re.match(r"[=+\-@\t|%]", field)


@pytest.mark.parametrize("text", ["\\input{/etc/passwd}", "$x$", "a & b", "50 % #1", "x_1^2~{}", 'say "x"'])
def test_latex_prints_text_and_obeys_nothing(text: str) -> None:
    shown = latex_text(text)
    harmless = re.sub(r"\\(textbackslash|textasciicircum|textasciitilde)\{\}|\\[{}$&#%_]", "", shown)
    assert not re.search(r"[\\{}$&#%_^~]", harmless)


def test_markdown_has_no_markup_left() -> None:
    shown = markdown_text(HOSTILE + "\n| new | row |")
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[<>|`*_\[\]{}]", shown)


def test_bibtex_braces_balance(tmp_path: Path) -> None:
    folder = write_submission(tmp_path, replace(GALLERY[0], text="Brace } { and \\cite{x} % @"))
    entry = bibtex_entry(load_submission(folder), ["embedded-v1"])
    plain = re.sub(r"\\[{}]", "", entry)
    assert plain.count("{") == plain.count("}")
    assert entry.startswith("@misc{trustad-anomalydino,\n")


def test_cite_gives_what_the_site_exports(tmp_path: Path) -> None:
    folder = submissions(tmp_path, *GALLERY[:3])
    site = tmp_path / "site"
    build_site([folder], site, strict=True, releases=None)
    assert cite("knn", "bibtex", submissions=[folder]) == (site / "cite" / "knn.bib").read_text()
    exported = (site / "exports" / "embedded-v1.csv").read_bytes().decode().split("\r\n")
    assert cite("knn", "csv", submissions=[folder]).split("\r\n")[1] in exported
    rows = json.loads((site / "exports" / "embedded-v1.json").read_text())["rows"]
    assert json.loads(cite("knn", "json", submissions=[folder]))["rows"] == [
        r for r in rows if r["detector"] == "Global kNN"
    ]
    for kind, suffix in (("latex", "tex"), ("markdown", "md")):
        line = next(x for x in cite("knn", kind, submissions=[folder]).splitlines() if "Global kNN" in x)  # type: ignore[arg-type]
        assert line in (site / "exports" / f"embedded-v1.{suffix}").read_text()
    with pytest.raises(UnknownNameError, match="knn"):
        cite("knnn", "bibtex", submissions=[folder])


# --- releases ---------------------------------------------------------------------------------------------------------


def test_a_release_is_frozen_named_and_served(tmp_path: Path) -> None:
    folder, releases = submissions(tmp_path, *GALLERY[:2]), tmp_path / "releases"
    first = freeze("2026.11", submissions=[folder], releases=releases, today=date(2026, 11, 22))
    assert re.fullmatch(r"2026\.11-[0-9a-f]{12}", first.name)
    assert freeze("2026.11", submissions=[folder], releases=releases) == first
    frozen = contents(first)
    write_submission(folder, GALLERY[2])
    with pytest.raises(UsageError, match="never changes"):
        freeze("2026.11", submissions=[folder], releases=releases)
    freeze("2026.12", submissions=[folder], releases=releases, today=date(2026, 12, 1))
    site = tmp_path / "site"
    build_site([folder], site, strict=True, releases=releases)
    assert contents(first) == frozen
    served = (site / "releases" / "2026.11" / "index.html").read_bytes()
    assert served == frozen["site/index.html"]
    assert b"frozen release 2026.11" in served
    notes = (site / "releases" / "index.html").read_text()
    assert "new row knn" in notes
    assert notes.index("2026.12") < notes.index("2026.11/index.html")
    assert 'version: "2026.11"' in (first / "CITATION.cff").read_text()
    assert json.loads((first / "zenodo.json").read_text())["version"] == "2026.11"


def test_a_changed_release_is_noticed(tmp_path: Path) -> None:
    folder, releases = submissions(tmp_path, GALLERY[0]), tmp_path / "releases"
    first = freeze("2026.11", submissions=[folder], releases=releases)
    page = first / "site" / "index.html"
    page.write_text(page.read_text().replace("0.9", "1.0", 1))
    with pytest.raises(ResultError, match=r"index\.html"):
        load_releases(releases)


@pytest.mark.parametrize("name", ["2026", "2026.13", "../2026.11", "2026.11-x", "november"])
def test_release_names_are_dates(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="release name"):
        freeze(name, submissions=[submissions(tmp_path, GALLERY[0])], releases=tmp_path / "releases")


def test_nothing_cannot_be_frozen(tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    with pytest.raises(ResultError, match="no row"):
        freeze("2026.11", submissions=[tmp_path / "submissions"], releases=tmp_path / "releases")
