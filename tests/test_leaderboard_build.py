"""The built site: strict, deterministic, incremental, self-contained, safe against hostile text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from jinja2 import Environment, select_autoescape

from benchmark.errors import ResultError, UsageError
from benchmark.results.schema import dump_result
from benchmark.storage.jsonio import pretty_json
from leaderboard.build import build_site
from leaderboard.render import environment, https
from tests.leaderboard_factory import GALLERY, Invented, invented_result, write_submission

HOSTILE = (
    '<script>alert(\'x\')</script>"&{{7*7}}\' onmouseover="alert(1)" </title> \\input{x} =HYPERLINK("http://x") | `c`'
)


def submissions(root: Path, *made: Invented) -> Path:
    folder = root / "submissions"
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        write_submission(folder, one)
    return folder


def contents(site: Path) -> dict[str, bytes]:
    return {p.relative_to(site).as_posix(): p.read_bytes() for p in sorted(site.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("board")
    folder = submissions(root, *GALLERY)
    add_gallery(folder / "anomalydino")
    build_site([folder], root / "site", strict=True, releases=None)
    return root / "site"


def add_gallery(folder: Path) -> None:
    (folder / "gallery").mkdir()
    (folder / "gallery" / "a.webp").write_bytes(b"RIFF\x04\x00\x00\x00WEBP" + bytes(20))
    item = {
        "file": "a.webp", "panels": ["clean", "perturbation", "attacked", "map_clean", "map_attacked"],
        "track": "embedded",
        "dataset": "procedural", "category": "nut", "sample_id": "nut/test/hole/000.png", "label": 1, "shots": 4,
        "attack": "pgd_score_10", "budget": "2", "amplification": 16, "score_clean": 1.0, "score_attacked": 0.5,
    }  # fmt: skip
    (folder / "gallery" / "gallery.json").write_text(pretty_json({"schema_version": 1, "items": [item]}))


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_equal_inputs_give_equal_bytes(tmp_path: Path, built: Path) -> None:
    folder = submissions(tmp_path, *reversed(GALLERY))
    add_gallery(folder / "anomalydino")
    build_site([folder], tmp_path / "site", strict=True, releases=None)
    assert contents(tmp_path / "site") == contents(built)


def test_workers_give_the_same_bytes_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = submissions(tmp_path, *GALLERY[:4])
    build_site([folder], tmp_path / "one", strict=True, releases=None)
    monkeypatch.setattr("leaderboard.build.PARALLEL_FROM", 1)
    monkeypatch.setattr("leaderboard.build.os.cpu_count", lambda: 2)
    build_site([folder], tmp_path / "two", strict=True, releases=None)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_build_writes_only_what_changed(tmp_path: Path) -> None:
    folder, site = submissions(tmp_path, *GALLERY[:3]), tmp_path / "site"
    first = build_site([folder], site, strict=True, releases=None)
    assert first.written == first.files + 1
    before = contents(site)
    stamps = {p: p.stat().st_mtime_ns for p in site.rglob("*")}
    again = build_site([folder], site, strict=True, releases=None)
    assert (again.written, again.removed) == (0, 0)
    assert stamps == {p: p.stat().st_mtime_ns for p in site.rglob("*")}

    write_submission(folder, replace(GALLERY[1], strength=0.9))
    build_site([folder], site, strict=True, releases=None)
    changed = {name for name, data in contents(site).items() if before.get(name) != data}
    assert "detectors/patchcore.html" in changed
    assert "detectors/knn.html" not in changed
    fresh = tmp_path / "fresh"
    build_site([folder], fresh, strict=True, releases=None)
    assert contents(fresh) == contents(site)


def test_rows_that_go_take_their_files_along(tmp_path: Path) -> None:
    folder, site = submissions(tmp_path, *GALLERY[:3]), tmp_path / "site"
    build_site([folder], site, strict=True, releases=None)
    for path in sorted((folder / "knn").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    report = build_site([folder], site, strict=True, releases=None)
    assert report.removed > 0
    assert not [name for name in contents(site) if "knn" in name]


def test_a_lost_page_is_made_again(tmp_path: Path) -> None:
    folder, site = submissions(tmp_path, GALLERY[0]), tmp_path / "site"
    build_site([folder], site, strict=True, releases=None)
    whole = contents(site)
    (site / "detectors" / "anomalydino.html").unlink()
    build_site([folder], site, strict=True, releases=None)
    assert contents(site) == whole


def test_other_peoples_files_are_never_mixed_with(tmp_path: Path) -> None:
    folder = submissions(tmp_path, GALLERY[0])
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        build_site([folder], tmp_path / "site", strict=True, releases=None)


# --- validation -------------------------------------------------------------------------------------------------------


def test_bad_files_are_named_and_fail_or_are_left_out(tmp_path: Path) -> None:
    folder = submissions(tmp_path, *GALLERY[:2])
    bad = folder / "patchcore" / "results" / "embedded-v1__digits.json"
    bad.write_text(bad.read_text().replace('"schema_version": 2', '"schema_version": 2, "bonus": 1'))
    with pytest.raises(ResultError, match=r"patchcore/results/embedded-v1__digits\.json: .*bonus"):
        build_site([folder], tmp_path / "strict", strict=True, releases=None)
    report = build_site([folder], tmp_path / "site", strict=False, releases=None)
    assert [p.file for p in report.problems] == ["patchcore/results/embedded-v1__digits.json"]
    page = (tmp_path / "site" / "problems.html").read_text()
    assert "patchcore/results/embedded-v1__digits.json" in page
    assert "not ranked: Digits: not run" in (tmp_path / "site" / "index.html").read_text()
    again = build_site([folder], tmp_path / "site", strict=False, releases=None)
    assert again.problems == report.problems


def test_a_result_in_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    folder = submissions(tmp_path, GALLERY[0])
    path = folder / "anomalydino" / "results" / "embedded-v1__digits.json"
    path.rename(path.with_name("embedded-v1__visa.json"))
    with pytest.raises(ResultError, match=r"name it embedded-v1__digits\.json"):
        build_site([folder], tmp_path / "site", strict=True, releases=None)


def test_one_submission_is_one_detector(tmp_path: Path) -> None:
    folder = submissions(tmp_path, GALLERY[0])
    other = invented_result(GALLERY[1], "digits")
    (folder / "anomalydino" / "results" / f"{other.stem}.json").write_text(dump_result(other))
    with pytest.raises(ResultError, match="one detector per track"):
        build_site([folder], tmp_path / "site", strict=True, releases=None)


def test_two_folders_cannot_claim_one_slug(tmp_path: Path) -> None:
    first, second = submissions(tmp_path / "a", GALLERY[0]), submissions(tmp_path / "b", GALLERY[0])
    with pytest.raises(ResultError, match="claim one slug"):
        build_site([first, second], tmp_path / "site", strict=True, releases=None)


def test_pictures_whose_licence_forbids_it_are_left_out(tmp_path: Path) -> None:
    folder = submissions(tmp_path, GALLERY[0])
    add_gallery(folder / "anomalydino")
    path = folder / "anomalydino" / "results" / "embedded-v1__procedural.json"
    path.write_text(path.read_text().replace('"redistributable":true', '"redistributable":false'))
    report = build_site([folder], tmp_path / "site", strict=False, releases=None)
    assert "licence of procedural" in report.problems[0].reason
    assert not (tmp_path / "site" / "gallery").exists()


def test_local_runs_are_shown_as_such(tmp_path: Path) -> None:
    folder = submissions(tmp_path, GALLERY[0])
    (folder / "anomalydino" / "submission.toml").unlink()
    (folder / "cells").mkdir()
    build_site([folder], tmp_path / "site", strict=True, releases=None)
    assert "local run" in (tmp_path / "site" / "index.html").read_text()


def test_changed_results_lose_their_verification(tmp_path: Path) -> None:
    folder = submissions(tmp_path, GALLERY[0])
    site = tmp_path / "site"
    build_site([folder], site, strict=True, releases=None)
    assert '<span class="step">spot re-run</span>' in (site / "index.html").read_text()
    path = folder / "anomalydino" / "results" / "embedded-v1__digits.json"
    path.write_text(path.read_text().replace('"python":"3.11"', '"python":"3.12"'))
    build_site([folder], site, strict=True, releases=None)
    assert '<span class="step stale">spot re-run (stale)</span>' in (site / "index.html").read_text()


# --- pages ------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects what a page links to and declares."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes |= set(found)
        self.links += [v for k in ("href", "src") if (v := found.get(k)) is not None]
        if (name := found.get("id")) is not None:
            self.ids.append(name)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found.get("content") or ""


def pages(site: Path) -> dict[str, Page]:
    return {name: Page(data.decode()) for name, data in contents(site).items() if name.endswith(".html")}


def test_every_local_link_leads_somewhere(built: Path) -> None:
    found = pages(built)
    for name, page in found.items():
        for link in page.links:
            if link.startswith("https://"):
                continue
            path, _, anchor = link.partition("#")
            target = (built / name).parent / unquote(path) if path else built / name
            assert target.resolve().is_file(), f"{name}: {link}"
            if anchor:
                key = target.resolve().relative_to(built.resolve()).as_posix()
                assert anchor in found[key].ids, f"{name}: {link}"


def test_pages_load_nothing_from_elsewhere(built: Path) -> None:
    for name, page in pages(built).items():
        assert "default-src 'none'" in page.policy, name
        assert "unsafe" not in page.policy
        assert not {a for a in page.attributes if a.startswith("on") or a == "style"}, name
        assert len(page.ids) == len(set(page.ids)), name
    for name, data in contents(built).items():
        if name.startswith("static/"):
            assert not re.search(rb"https?://(?!www\.w3\.org)", data), name


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    calm, wild = replace(GALLERY[0], text="Calm"), replace(GALLERY[0], text=HOSTILE)
    build_site([submissions(tmp_path / "a", calm)], tmp_path / "calm", strict=True, releases=None)
    build_site([submissions(tmp_path / "b", wild)], tmp_path / "wild", strict=True, releases=None)
    calm_pages, wild_pages = pages(tmp_path / "calm"), pages(tmp_path / "wild")
    assert calm_pages.keys() == wild_pages.keys()
    for name, page in wild_pages.items():
        assert page.tags == calm_pages[name].tags, name
        assert page.attributes == calm_pages[name].attributes, name
    for name in ("feed.xml", "badges/anomalydino.svg"):
        ElementTree.fromstring((tmp_path / "wild" / name).read_bytes())


def test_escaping_does_not_depend_on_the_suffix() -> None:
    env = environment()
    assert env.autoescape is True
    assert env.from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    trap = Environment(autoescape=select_autoescape(["html"]))
    assert callable(trap.autoescape)
    assert trap.autoescape("board.html.j2") is False
    assert all(name.endswith(".html.j2") for name in env.list_templates())


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://example.org/x?a=1", True),
        ("http://example.org", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ('https://x" onclick="y', False),
        ("https://x y", False),
        (None, False),
    ],
)
def test_only_https_addresses_become_links(address: str | None, kept: bool) -> None:
    assert https(address) == (address if kept else "")


def test_the_home_page_opens_on_a_track_with_rows(built: Path) -> None:
    home = (built / "index.html").read_text()
    assert 'href="tracks/embedded-v1.html" aria-current="page"' in home
    assert home.count("<tr id=") == len(GALLERY)
    empty = (built / "tracks" / "few-shot-v1.html").read_text()
    assert "Nobody has run this track yet" in empty
    assert "trustad run --track few-shot" in empty
    assert "AnomalyDINO-S, 448 px" in empty
    assert "<tr id=" not in empty


def test_a_board_without_any_row_builds(tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    report = build_site([tmp_path / "submissions"], tmp_path / "site", strict=True, releases=None)
    assert report.rows == 0
    assert "Nobody has run this track yet" in (tmp_path / "site" / "index.html").read_text()
    with pytest.raises(ResultError, match="no folder"):
        build_site([tmp_path / "nowhere"], tmp_path / "other", strict=True, releases=None)


def test_missing_numbers_are_a_dash_with_the_reason(built: Path) -> None:
    home = (built / "index.html").read_text()
    assert 'class="none" title="Procedural: the detector gives no anomaly map">—' in home


def test_reported_values_stand_beside_measured_ones(tmp_path: Path) -> None:
    made = replace(GALLERY[0], track="few-shot", datasets=("mvtec_ad",), slug="anomalydino")
    folder = submissions(tmp_path, made)
    build_site([folder], tmp_path / "site", strict=True, releases=None)
    result = invented_result(made, "mvtec_ad")
    clean = result.scored.find("auroc", shots=4)
    assert clean is not None
    page = (tmp_path / "site" / "reported.html").read_text()
    assert f'<a href="detectors/anomalydino.html">here {clean.value:.3f}</a>' in page
    assert "0.976 ± 0.001" in page


def test_feed_and_index_are_well_formed(built: Path) -> None:
    atom = "{http://www.w3.org/2005/Atom}"
    feed = ElementTree.fromstring((built / "feed.xml").read_bytes())
    entries = feed.findall(f"{atom}entry")
    assert len(entries) == len(GALLERY)
    assert len({e.findtext(f"{atom}id") for e in entries}) == len(GALLERY)
    assert all(e.findtext(f"{atom}updated") == "2026-11-20T10:15:00Z" for e in entries)
    index = json.loads((built / "index.json").read_text())
    rows = index["tracks"][0]["rows"]
    assert rows[0]["slug"] == "anomalydino"
    for row in rows:
        assert json.loads((built / row["data"]).read_text())["submission"]["slug"] == row["slug"]
        assert (built / row["page"]).is_file()


def test_the_builder_imports_no_heavy_library() -> None:
    code = "import sys, leaderboard.build, leaderboard.cite; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'([a-z0-9_]+)'", done.stdout))
    assert "jinja2" in loaded
    assert not loaded & {"torch", "timm", "faiss", "sklearn", "pandas", "pyarrow", "scipy"}
