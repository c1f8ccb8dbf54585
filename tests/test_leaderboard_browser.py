"""The site in a real browser, from file:// and from a local server."""

from __future__ import annotations

import csv
import functools
import http.server
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leaderboard.build import build_site
from leaderboard.cite import cite
from leaderboard.columns import BY_KEY
from leaderboard.ranks import ranks
from leaderboard.read import make_record, read_entry, submission_folders
from leaderboard.record import Condition
from leaderboard.table import TrackTable, View
from leaderboard.tracks import track_tables
from leaderboard.words import score
from tests.leaderboard_factory import GALLERY, write_submission
from tests.test_leaderboard_build import HOSTILE, add_gallery

CHROMIUM = "/usr/bin/chromium"
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``submissions`` and the ``site`` built from them."""
    root = tmp_path_factory.mktemp("browser")
    for made in GALLERY:
        write_submission(root / "submissions", made)
    add_gallery(root / "submissions" / "anomalydino")
    build_site([root / "submissions"], root / "site", strict=True, releases=None)
    return root


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield running
        running.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """Opens a page; at the end no page may have logged an error or asked another host for anything."""
    faults: list[str] = []
    contexts = []

    def start(address: str, *, width: int = 1280, scheme: str = "light", script: bool = True) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if foreign(request.url, address) else None)
        page.goto(address)
        if script and page.locator("#board").count():
            page.wait_for_selector("#board .sort")
        return page

    yield start
    for context in contexts:
        context.close()
    assert faults == []


def foreign(url: str, address: str) -> bool:
    local = ("file://", "blob:", "http://127.0.0.1:")
    return not url.startswith(local) or (url.startswith("http") and not address.startswith("http"))


@pytest.fixture(scope="module")
def server(board: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(board / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#board tbody th.name a").all_inner_texts()]


def column(page: Any, label: str) -> list[str]:
    cells = page.locator(f'#board tbody td[data-label="{label}"]').all_inner_texts()
    return [text.split("\n")[0] for text in cells]


def choose(page: Any, label: str, value: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).select_option(value)


def site(board: Path, path: str = "index.html") -> str:
    return f"file://{board}/site/{path}"


def table_of(board: Path) -> TrackTable:
    entries = [read_entry(folder)[0] for folder in submission_folders([board / "submissions"])]
    return next(t for t in track_tables([make_record(e) for e in entries if e]) if t.rows)


# --- the table --------------------------------------------------------------------------------------------------------


def test_script_shows_what_the_plain_page_shows(board: Path, open_page: Open, server: str) -> None:
    plain = open_page(site(board), script=False)
    for address in (site(board), server):
        page = open_page(address)
        assert names(page) == names(plain)
        for label in ("Clean AUROC", "R", "A(ε)", "Drop", "Corruptions", "AUPRO(ε)", "ms / pass", "Verified", "Date"):
            assert column(page, label) == column(plain, label)
        ranks_of = "#board tbody td.rank"
        assert page.locator(ranks_of).all_inner_texts() == plain.locator(ranks_of).all_inner_texts()


def test_sorting_by_every_column(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    labels = [
        "Clean AUROC",
        "R",
        "A(ε)",
        "Drop",
        "Corruptions",
        "ECE raw",
        "Entropy flag",
        "AUPRO",
        "ms / pass",
        "Date",
    ]
    for label in labels:
        for _ in range(2):
            page.locator("#board thead .sort", has_text=re.compile(f"^{re.escape(label)}$")).click()
            shown = [text for text in column(page, label) if text != "—"]
            values = shown if label == "Date" else [float(text.replace("−", "-")) for text in shown]
            way = page.locator("#board thead th[aria-sort]").get_attribute("aria-sort")
            assert values == sorted(values, reverse=way == "descending"), label
            assert "—" not in column(page, label)[: len(shown)]
            assert label in page.locator("#status").inner_text()
    assert "Higher is better" not in page.locator("#status").inner_text()
    page.locator("#board thead .sort", has_text="ECE raw").click()
    assert "Lower is better" in page.locator("#status").inner_text()


def test_filters_search_and_rank_intervals(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    page.get_by_label("Search").fill("knn")
    assert names(page) == ["Global kNN", "Gabor bank"] or names(page) == ["Gabor bank", "Global kNN"]
    page.get_by_label("Search").fill("nothing like this")
    assert names(page) == []
    assert "No detector matches" in page.locator("#status").inner_text()
    page.get_by_role("button", name="Reset").click()
    assert len(names(page)) == len(GALLERY)
    page.get_by_label("hide transductive").check()
    assert "MuSc (batched)" not in names(page)
    choose(page, "Kind", "zero")
    assert names(page) == []
    page.get_by_role("button", name="Reset").click()
    choose(page, "Backbone", "gabor")
    assert names(page) == ["Gabor bank"]
    assert page.locator("#board tbody td.rank").inner_text().split() == ["1", "1–1"]


@pytest.mark.parametrize("dataset", ["all", "procedural", "digits"])
@pytest.mark.parametrize("query", ["", "a", "pa", "n"])
def test_ranks_in_the_browser_are_those_of_the_builder(board: Path, open_page: Open, dataset: str, query: str) -> None:
    page = open_page(site(board))
    choose(page, "Data set", dataset)
    page.get_by_label("Search").fill(query)
    for _ in range(50):
        if page.evaluate(f"trustad.get('embedded-v1/{dataset}.replicates') !== undefined"):
            break
        page.wait_for_timeout(100)
    page.wait_for_timeout(100)
    found = {}
    for row in page.locator("#board tbody tr").all():
        found[row.get_attribute("id")] = row.locator("td.rank").inner_text().split()
    whole = table_of(board)
    kept = tuple(row for row in whole.rows if row.slug in found)
    table = replace(whole, rows=kept, _cells={})
    view = View(dataset, 4, whole.default_view.condition)
    for row, rank in zip(kept, ranks(table, view), strict=True):
        mark = "T" if row.track.detector.transductive else ""
        expected = ["—"] if rank.rank is None else [f"{mark}{rank.rank}", f"{rank.low}–{rank.high}"]
        assert found[row.slug] == expected, row.slug


def test_other_views_load_their_data(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    table = table_of(board)
    choose(page, "Data set", "digits")
    choose(page, "Attack", "fgsm_head")
    choose(page, "Goal", "evasion")
    choose(page, "Budget", "8")
    page.wait_for_selector("#status:has-text('evasion, 8')")
    cells = table.cells(BY_KEY["a"], View("digits", 4, Condition("fgsm_head", "evasion", "8")))
    truth = {row.record.submission.name: score(cell.value) for row, cell in zip(table.rows, cells, strict=True)}
    assert dict(zip(names(page), column(page, "A(ε)"), strict=True)) == truth
    choose(page, "Shots", "1")
    page.wait_for_selector("#status:has-text('1-shot')")
    assert set(page.locator("#board tbody td.rank").all_inner_texts()) == {"—"}
    assert page.locator("#board tbody td.rank span[title='R is defined at 4 shots']").count() == 8


def test_corruptions_stand_apart_from_attacks(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    page.wait_for_selector("#controls optgroup", state="attached")
    attack = page.locator("#controls label:has(optgroup) select")
    groups = attack.locator("optgroup").evaluate_all("nodes => nodes.map((n) => [n.label, n.textContent])")
    assert [label for label, _ in groups] == ["Attacks", "Controls", "Natural corruptions"]
    assert "blur, severe" in groups[2][1]
    attack.select_option(label="blur, severe")
    expect = "blur, severe, two-sided."
    page.wait_for_function("words => document.getElementById('status').innerText.includes(words)", arg=expect)
    assert page.locator("#controls label", has_text="Budget").locator("option").all_inner_texts() == ["none"]
    assert "255" not in page.locator("main").inner_text()


def test_columns_can_be_chosen(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Brier", exact=True).check()
    page.get_by_label("Drop", exact=True).uncheck()
    assert len(column(page, "Brier")) == len(GALLERY)
    assert column(page, "Drop") == []
    assert page.get_by_text("Columns", exact=True).locator("..").get_attribute("open") is not None


def test_four_detectors_side_by_side(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    boxes = page.locator("#board tbody input[type=checkbox]")
    for i in range(4):
        boxes.nth(i).check()
    assert boxes.nth(5).is_disabled()
    comparison = page.locator("#compare")
    heads = comparison.locator("thead th").all_inner_texts()
    assert heads == ["Measure", *names(page)[:4]]
    assert comparison.locator("svg path.line").count() == 4
    line = comparison.locator("tbody tr", has=page.locator("th", has_text=re.compile("^R$")))
    assert [t.split("\n")[0] for t in line.locator("td").all_inner_texts()] == column(page, "R")[:4]
    assert line.locator("td.best").inner_text().split("\n")[0] == max(column(page, "R")[:4])
    page.get_by_role("button", name="Close comparison").click()
    assert comparison.is_hidden()


def test_a_link_shows_the_same_view(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    choose(page, "Data set", "digits")
    choose(page, "Budget", "8")
    page.get_by_label("Search").fill("a")
    page.locator("#board thead .sort", has_text="Drop").click()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Brier", exact=True).check()
    page.keyboard.press("Escape")
    for i in (0, 2):
        page.locator("#board tbody input[type=checkbox]").nth(i).check()
    again = open_page(page.url)
    again.wait_for_selector("#compare svg")
    for selector in ("#board", "#compare", "#status"):
        assert again.locator(selector).inner_text() == page.locator(selector).inner_text()


@pytest.mark.parametrize(
    "words", ["dataset=nowhere&shots=99&sort=evil&cols=x&compare=a,b&attack=%3Cb%3E", "=&&=1", "%E0%A4%A"]
)
def test_odd_links_give_a_valid_view(board: Path, open_page: Open, words: str) -> None:
    page = open_page(f"{site(board)}#{words}")
    assert len(page.locator("#board tbody tr").all()) == len(GALLERY)


# --- exports ----------------------------------------------------------------------------------------------------------


def download(page: Any, label: str) -> str:
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name=label, exact=True).click()
    text = Path(waiting.value.path()).read_bytes().decode()
    page.get_by_text("Export", exact=True).click()
    return text


def test_exports_are_those_of_the_builder(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    for label, suffix in (("CSV", "csv"), ("JSON", "json"), ("LaTeX", "tex"), ("Markdown", "md")):
        assert download(page, label) == (board / "site" / "exports" / f"embedded-v1.{suffix}").read_bytes().decode(), (
            label
        )
    page.get_by_label("Search").fill("padim")
    entry = cite("padim", "bibtex", submissions=[board / "submissions"])
    assert download(page, "BibTeX").endswith(entry)


def test_an_export_is_what_is_on_screen(board: Path, open_page: Open) -> None:
    page = open_page(f"{site(board)}#cols=clean,brier,validity&q=a&sort=clean&dir=desc&dataset=digits")
    page.wait_for_selector("#status:has-text('of 10 detectors; Digits')")
    rows = list(csv.DictReader(io.StringIO(download(page, "CSV"))))
    assert [row["detector"] for row in rows] == names(page)
    assert [row["clean"] for row in rows] == column(page, "Clean AUROC")
    assert [row["brier"] for row in rows] == column(page, "Brier")
    assert [row["validity"] for row in rows] == column(page, "Validity")
    assert "r" not in rows[0]
    assert json.loads(download(page, "JSON"))["view"].startswith("Digits; 4-shot")


# --- reach ------------------------------------------------------------------------------------------------------------


def test_everything_works_from_the_keyboard(board: Path, open_page: Open) -> None:
    page = open_page(site(board))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.get_by_label("Search").focus()
    page.keyboard.type("knn")
    assert len(names(page)) == 2
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#status:has-text('Procedural')")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.locator("#board thead .sort", has_text="Drop").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Drop"
    page.keyboard.press("Enter")
    assert page.locator("th[data-c=drop]").get_attribute("aria-sort") == "descending"
    page.locator("#board tbody input").first.focus()
    page.keyboard.press("Space")
    assert "Compare (1 of 4)" in page.locator("#bar").inner_text()


def all_pages(board: Path) -> list[str]:
    found = (board / "site").rglob("*.html")
    return sorted(p.relative_to(board / "site").as_posix() for p in found)


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_scrolls_sideways(board: Path, open_page: Open, width: int) -> None:
    page = open_page(site(board), width=width)
    for path in all_pages(board):
        page.goto(site(board, path))
        if page.locator("#board").count():
            page.wait_for_selector("#board .sort", state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_everything_can_be_read_without_script(board: Path, open_page: Open) -> None:
    page = open_page(site(board), script=False)
    assert len(names(page)) == len(GALLERY)
    assert page.locator("#box").is_hidden()
    assert page.locator("svg.scatter").is_visible()
    assert "csv" in page.locator("noscript p, noscript").first.inner_text()
    page.goto(site(board, "detectors/anomalydino.html"))
    assert page.locator("svg.chart").count() >= 12
    assert page.locator("details.more").count() >= 6


def test_hostile_text_stays_text_in_the_browser(tmp_path: Path, open_page: Open) -> None:
    made = [replace(GALLERY[0], text=HOSTILE), replace(GALLERY[1], text=HOSTILE[::-1])]
    for one in made:
        write_submission(tmp_path / "submissions", one)
    build_site([tmp_path / "submissions"], tmp_path / "site", strict=True, releases=None)
    page = open_page(f"file://{tmp_path}/site/index.html#compare=anomalydino,patchcore")
    page.wait_for_selector("#compare svg")
    assert set(names(page)) == {re.sub(r"\s+", " ", text).strip() for text in (HOSTILE, HOSTILE[::-1])}
    assert page.locator("main script").count() == 0
    assert page.locator("[onmouseover]").count() == 0
    rows = list(csv.DictReader(io.StringIO(download(page, "CSV"))))
    assert {row["detector"] for row in rows} == {HOSTILE, HOSTILE[::-1]}
    page.goto(f"file://{tmp_path}/site/detectors/anomalydino.html")
    assert page.locator("main script").count() == 0
