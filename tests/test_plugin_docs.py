"""docs/plug-ins.md and the pages around it: the code runs, the links lead somewhere, every page is in the index."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.integrity import verify
from benchmark.execution.perturb import perturb
from benchmark.execution.target import BoundTarget, Unreachable
from benchmark.planning.contract import check_attack, check_dataset
from benchmark.registry import ATTACKS, BACKBONES, DATASETS, DETECTORS
from toy_detectors import query

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plug-ins.md"
TEXTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def example(name: str) -> dict[str, Any]:
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```\n<!-- end -->", PAGE.read_text(), re.S)
    assert found is not None
    space: dict[str, Any] = {"__name__": f"docs_{name}"}
    exec(compile(found[1], f"{PAGE.name}:{name}", "exec"), space)
    return space


def test_the_attack_moves_every_pixel_by_the_budget() -> None:
    attack, batch = example("attack")["Lamp"](), query(1, 1)
    check_attack(attack, "lamp")
    (four,) = perturb(attack, BoundTarget(Unreachable(), batch.sample_ids), batch, [4])
    assert torch.equal(four.int(), (batch.images.int() + 4).clamp(max=255))


def test_the_data_set_indexes_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTAD_CACHE", str(tmp_path / "cache"))
    for place, part in enumerate(("train", "good", "bent")):
        (tmp_path / "screws" / part).mkdir(parents=True)
        Image.fromarray(np.full((8, 9, 3), place, np.uint8)).save(tmp_path / "screws" / part / "0.png")
    dataset = example("dataset")["Screws"](tmp_path)
    check_dataset(dataset, dataset.info.categories)
    (report,) = verify(dataset)
    assert (report.found, report.problems) == ({"train": 1, "good": 1, "bad": 1}, ())
    assert [(s.id, s.label) for s in dataset.index().samples] == [
        ("bent/0.png", 1),
        ("good/0.png", 0),
        ("train/0.png", 0),
    ]


def test_the_metric_gives_the_gap_or_a_reason() -> None:
    metric = example("metric")["MEDIAN_GAP"]
    assert metric.function([0, 0, 0, 1, 1], [1.0, 2.0, 9.0, 5.0, 7.0]).value == 4.0
    assert metric.function([0, 0], [1.0, 2.0]).reason == "no anomalous samples"


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "README.md", "exec"), {"__name__": "readme"})
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("knn@gabor procedural runs/python/knn-gabor/results/demo-v")


def test_the_entry_point_groups_are_the_registries() -> None:
    from benchmark.metrics import METRICS

    named = set(re.findall(r'entry-points\."([a-z.]+)"', PAGE.read_text()))
    assert named == {str(registry.group) for registry in (DETECTORS, ATTACKS, DATASETS, METRICS)}
    assert BACKBONES.group == "trustad.backbones"


def test_every_page_is_in_the_index_and_every_link_leads_to_a_file() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md", "embedded-backbone.md"} <= set(
        re.findall(r"\]\(([a-z0-9-]+\.md)\)", index)
    )
    for path in TEXTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if not re.match(r"[a-z]+:", target):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_option_of_the_command_line_in_the_pages_exists() -> None:
    """A page that names an option of `trustad run` that is gone was not read again."""
    import inspect

    from benchmark.cli.run import run

    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(run).parameters} - {"--json-summary"} | {
        "--json"
    }
    for path in TEXTS:
        for command in re.findall(r"trustad run ([^`\n]*)", path.read_text().replace("\\\n", " ")):
            words = command.partition("#")[0]
            used = set(re.findall(r"(?<![\w-])(--[a-z-]+)", words))
            assert used <= known, f"{path.name}: trustad run {command}"
