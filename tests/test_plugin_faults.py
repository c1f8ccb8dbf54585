"""What a plug-in gives is checked, what it writes into stays its own, and its faults cost nobody else a cell."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lying_plugins
from benchmark.cli.options import stopping_in_order
from benchmark.errors import ContractError, Interrupted, Terminated, TrustADError, told
from benchmark.execution.pass_run import CellFailure, of_plugin
from benchmark.execution.runner import run_job
from benchmark.planning.planner import Selection
from benchmark.registry import ATTACKS, DETECTORS
from benchmark.runs.session import plan_run
from benchmark.storage.cells import Cell
from benchmark.tracks import load_track
from lying_plugins import DETECTORS as LIARS
from lying_plugins import SAYINGS


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**DETECTORS.targets, **{name: f"lying_plugins:{name}" for name in LIARS}}
    monkeypatch.setitem(vars(DETECTORS), "targets", found)
    monkeypatch.setattr("benchmark.registry.load_attribute", _loading(monkeypatch))


def _loading(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """`load_attribute` for names that no Python identifier could have, such as ``my-det``."""
    from benchmark.registry import load_attribute

    def load(target: str) -> Any:
        module, _, name = target.partition(":")
        return LIARS[name] if module == "lying_plugins" else load_attribute(target)

    return load


def outcomes(
    out: Path, *detectors: str, attacks: tuple[str, ...] = ("sign_noise",)
) -> tuple[dict[tuple[str, str | None], Cell], dict[str, CellFailure]]:
    """Cells by detector and attack, and the first failure of each detector, of the category nut."""
    selection = Selection(detectors=detectors, categories=("nut",), limit=2, attacks=attacks)
    (job,) = plan_run(load_track("demo"), selection, out)[0].jobs
    with stopping_in_order():
        found = list(run_job(job, {}))
    cells = {
        (c.key["detector"]["name"], c.key["attack"] and c.key["attack"]["name"]): c
        for c in found
        if isinstance(c, Cell)
    }
    failures: dict[str, CellFailure] = {}
    for failure in found:
        if isinstance(failure, CellFailure):
            failures.setdefault(failure.cells[0].detector.label, failure)
    return cells, failures


REASONS = {
    "nan": "detector nan: scores that are not finite in float32, first for nut/",
    "huge": "detector huge: scores that are not finite in float32, first for nut/",
    "too_few": "not one float for each of 4 images",
    "columns": r"its score is torch.float32 \[4, 1\]",
    "whole_numbers": "its score is torch.int64",
    "not_a_prediction": "gave Tensor, not a Prediction",
    "nan_map": "an anomaly_map that is not finite",
    "flat_map": r"its anomaly_map is \[4, \d+\], not \[4, h, w\]",
    "region": r"region \(0, 0, 10000, 10000\) is no \(top, left, bottom, right\) inside an image of 112 x 112",
    "negative_region": "inside an image of 112 x 112",
    "empty_region": "inside an image of 112 x 112",
    "blur": "map_sigma 1000000000.0 is not from 0 to 112 pixels",
    "exit_in_score": "SystemExit: 0",
    "exit_in_fit": "SystemExit: 0",
    "interrupt": "KeyboardInterrupt",
    "into_features": "writes into the features that it is given; copy them first",
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str | None], Cell]:
    """What knn and patchcore give without a plug-in beside them."""
    cells, failures = outcomes(tmp_path_factory.mktemp("alone"), "knn@gabor", "patchcore@gabor")
    assert not failures
    return cells


@pytest.mark.parametrize("name", REASONS)
def test_a_fault_costs_its_own_cells_and_is_named(
    name: str, tmp_path: Path, alone: dict[tuple[str, str | None], Cell]
) -> None:
    """The cells of two detectors in the same passes are those of a run without the plug-in."""
    cells, failures = outcomes(tmp_path, "knn@gabor", name, "patchcore@gabor")
    assert failures.keys() == {name}
    assert not failures[name].not_applicable
    assert re.search(REASONS[name], failures[name].reason)
    assert cells.keys() == alone.keys()
    for place, cell in alone.items():
        assert np.array_equal(cells[place].scores, cell.scores)


@pytest.mark.parametrize("name", ["into_images", "into_support"])
def test_what_a_detector_writes_into_stays_its_own(
    name: str, tmp_path: Path, alone: dict[tuple[str, str | None], Cell]
) -> None:
    cells, failures = outcomes(tmp_path, name, "knn@gabor", "patchcore@gabor", "honest")
    assert not failures
    for place, cell in alone.items():
        assert np.array_equal(cells[place].scores, cell.scores)
    assert np.array_equal(cells[name, None].scores, cells["honest", None].scores)


def test_support_features_that_somebody_wrote_into_are_made_anew() -> None:
    from detectors.backbones import build
    from detectors.bank import FeatureCache

    cache, image = FeatureCache(), torch.full((3, 32, 32), 90, dtype=torch.uint8)
    extractor = build("gabor")
    first = cache.features(extractor, image)
    right, used = first.maps[-1].clone(), cache.used
    assert cache.features(extractor, image) is first
    first.maps[-1].zero_()
    assert torch.equal(cache.features(extractor, image).maps[-1], right)
    assert (cache.used, len(cache)) == (used, 1)


def test_attacked_cells_name_the_first_cause(tmp_path: Path) -> None:
    """A white-box attack needs the clean scores: their fault is its reason, and it counts as failed."""
    selection = Selection(detectors=("nan",), categories=("nut",), limit=2, attacks=("pgd_score_10",))
    (job,) = plan_run(load_track("demo"), selection, tmp_path)[0].jobs
    failures = [f for f in run_job(job, {}) if isinstance(f, CellFailure)]
    assert all("not finite" in failure.reason and not failure.not_applicable for failure in failures)
    assert {cell.condition for failure in failures for cell in failure.cells} == {None, "pgd_score_10"}


def test_an_attack_that_writes_into_its_images_leaves_the_ball(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(ATTACKS), "targets", {**ATTACKS.targets, "sign_noise": "attacks_in_tests:InPlace"})
    monkeypatch.setitem(sys.modules, "attacks_in_tests", lying_plugins)
    cells, failures = outcomes(tmp_path, "knn@gabor")
    assert cells.keys() == {("knn@gabor", None)}
    assert "leaves the ball" in failures["knn@gabor"].reason


def test_only_attacks_that_declare_it_see_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of the others do not hold the masks."""
    monkeypatch.setitem(vars(ATTACKS), "targets", {**ATTACKS.targets, "sign_noise": "attacks_in_tests:WantsMasks"})
    monkeypatch.setitem(sys.modules, "attacks_in_tests", lying_plugins)
    cells, failures = outcomes(tmp_path, "knn@gabor")
    assert not failures
    assert len(cells) == 2


SAID = {
    "numpy_number": r"config\['alpha'\] holds .*0.5.* \(numpy.float32\)",
    "path": r"config\['weights'\] holds .*PosixPath",
    "number_key": "config has the key 3, which is no text",
    "nested": r"config\['a'\] holds {'b': 1} \(dict\)",
    "nan_option": r"config\['alpha'\] holds nan",
    "infinite_option": "alpha.*inf",
    "no_mapping": "config is 7, not a mapping",
    "no_card": "its card is None; set `card` to a benchmark.types.Card",
    "text_version": "card.version is '1.0', not a whole number",
    "bad_url": "url: .*ftp://x",
    "exit_in_init": r"cannot be made \(SystemExit: 0\)",
    "bug_in_init": r"cannot be made \(IndexError: list index out of range\)",
}


@pytest.mark.parametrize("name", SAYINGS)
def test_what_no_result_can_hold_is_refused_before_the_first_pass(name: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=f"detector '?{name}'?: .*{SAID[name]}"):
        plan_run(load_track("demo"), Selection(detectors=("knn@gabor", name)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_signals_are_told_from_what_a_plugin_raises() -> None:
    assert not of_plugin(KeyboardInterrupt())
    with stopping_in_order():
        assert of_plugin(KeyboardInterrupt())
        assert of_plugin(SystemExit(0))
        assert not of_plugin(Interrupted())
        assert not of_plugin(Terminated(143))
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_reasons_are_one_line_cut_between_words() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert told(Mute()) == "Mute"
    assert told(ValueError("a\nb\tc")) == "ValueError: a b c"
    cut = told(ValueError("word " * 400))
    assert len(cut) <= 500
    assert cut.endswith(" word ...")
    assert len(told(ValueError("x" * 900))) == 500
    assert told(TrustADError("x" * 900)) == "x" * 900
    json.dumps(told(ValueError("\udcfc")))
