"""How long a large board takes to build and to use: python -m tests.perf.board [--detectors 500] [--keep DIR]

Writes invented submissions (4 data sets, 5 support sizes, 30 attacked conditions at each) to a temporary folder, builds
the site cold and again, and measures the home page in headless Chromium. Prints one line per figure.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmark.storage.jsonio import canonical_json
from leaderboard.build import build_site
from tests.leaderboard_factory import Invented, invented_data, write_submission

DATASETS = ("mvtec_ad", "visa", "btad", "mpdd")
CHROMIUM = Path("/usr/bin/chromium")
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

FILTER = """(query) => new Promise((done) => {
    const box = document.querySelector('input[type=search]');
    const start = performance.now();
    box.value = query;
    box.dispatchEvent(new Event('input'));
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


def write(root: Path, i: int) -> int:
    """Write detector i; returns its values."""
    rng = np.random.default_rng(i)
    made = Invented(
        f"detector-{i:03d}",
        f"Detector {i:03d}",
        strength=float(rng.uniform(0.8, 2.4)),
        toughness=float(rng.uniform(0.8, 3.0)),
        seconds=float(rng.lognormal(-2.5, 0.8)),
        track="few-shot",
        datasets=(),
        shots=(1, 2, 4, 8, 16),
        attacks=("fgsm_head", "sign_noise", "pgd_score"),
        backbone=("dinov2", "wideresnet", "clip")[i % 3],
    )
    folder = write_submission(root, made)
    count = 0
    for dataset in DATASETS:
        data = invented_data(made, dataset)
        count += len(data["values"])
        (folder / "results" / f"few-shot-v1__{dataset}.json").write_text(canonical_json(data))
    return count


def browse(site: Path) -> None:
    """Time to an interactive home page and to an answered filter."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        metrics = page.context.new_cdp_session(page)
        metrics.send("Performance.enable", {"timeDomain": "threadTicks"})

        def busy() -> float:
            found = metrics.send("Performance.getMetrics")["metrics"]
            return next(float(m["value"]) for m in found if m["name"] == "TaskDuration") * 1000

        page.goto(f"file://{site}/index.html")
        page.wait_for_selector("#board .sort")
        ready = page.evaluate("performance.getEntriesByName('board-ready')[0].startTime")
        print(f"home page interactive after {ready:.0f} ms, {busy():.0f} ms of CPU")
        page.wait_for_timeout(5000)
        for query in ("detector 1", "detector 12", "dinov2", ""):
            before = busy()
            spent = page.evaluate(FILTER, query)
            cpu = busy() - before
            page.wait_for_timeout(2000)
            rows = page.locator("#board tbody tr").count()
            print(f"filter {query!r}: {rows} rows, {spent:.0f} ms to the next frame, {cpu:.0f} ms of CPU")
        browser.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--detectors", type=int, default=500)
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = options.keep or Path(scratch)
        root, site = base / "submissions", base / "site"
        if not root.exists():
            with ProcessPoolExecutor() as pool:
                values = sum(pool.map(write, [root] * options.detectors, range(options.detectors)))
            print(f"{options.detectors} detectors, {values:,} values")
        for name in ("cold", "unchanged", "one changed submission"):
            if name.startswith("one"):
                with (root / "detector-000" / "submission.toml").open("a") as file:
                    file.write("\n")
            start, used = time.perf_counter(), cpu_seconds()
            report = build_site([root], site, strict=True)
            spent, cpu = time.perf_counter() - start, cpu_seconds() - used
            print(f"{name}: {spent:.1f} s, {cpu:.1f} CPU seconds, {report.written} of {report.files} files written")
        megabytes = {name: size(site / name) for name in ("index.html", "static/site.css")}
        megabytes |= {script: size(site / script) for script in _scripts((site / "index.html").read_text())}
        print(f"home page {megabytes['index.html']:.2f} MB, with style and scripts {sum(megabytes.values()):.2f} MB")
        print(f"replicates, loaded afterwards: {size(site / 'data/few-shot-v1/all.replicates.js'):.2f} MB")
        print(f"whole site {sum(size(p) for p in site.rglob('*') if p.is_file()):.1f} MB")
        if CHROMIUM.exists():
            browse(site)


def size(path: Path) -> float:
    """Megabytes."""
    return path.stat().st_size / 1e6


def cpu_seconds() -> float:
    """User and system time of this process and of its finished workers."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _scripts(html: str) -> list[str]:
    return [part.split('"')[0] for part in html.split('<script defer src="')[1:]]


if __name__ == "__main__":
    main()
