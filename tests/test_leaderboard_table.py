"""Tables and ranks: means, missing values, subsets, who is ranked."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.results.schema import RunResult
from benchmark.results.submission import CounterRecord, LoweredResult, Submission, Verification
from leaderboard.claims import lowered
from leaderboard.columns import BY_KEY
from leaderboard.means import mean_cell
from leaderboard.ranks import order, ranks
from leaderboard.read import Entry, LoadedResult, make_record
from leaderboard.record import SCALE, Cell, Condition, quantum
from leaderboard.table import TrackTable, View
from leaderboard.tracks import track_tables
from leaderboard.words import file_name, hundredths, score
from tests.leaderboard_factory import GALLERY, POWER, Invented, invented_data

WORST = Condition("worst_case", "two_sided", "2")


def table_of(*made: Invented, change: Any = None) -> TrackTable:
    """The embedded track's table of made-up detectors; ``change(data)`` edits each result first."""
    records = []
    for one in made:
        results = []
        for dataset in one.datasets:
            data = invented_data(one, dataset)
            if change is not None:
                change(one, data)
            result = RunResult.model_validate_json(json.dumps(data))
            results.append(LoadedResult(f"{result.stem}.json", "ab" * 32, result))
        stated = Submission(
            schema_version=1, slug=one.slug, name=one.title, authors=("A",), year=2026, licence="x",
            training_data="x", attacks_run_by="maintainers",
        )  # fmt: skip
        records.append(make_record(Entry(Path(one.slug), stated, False, None, None, tuple(results))))
    return next(t for t in track_tables(records) if t.rows)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.500"),
        (0.91249, "0.912"),
        (0.9125, "0.913"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (-0.0625, "−0.062"),
        (None, "—"),
    ],
)
def test_scores_are_rounded_half_up(value: float | None, shown: str) -> None:
    assert score(quantum(value)) == shown


def test_two_decimals() -> None:
    assert [hundredths(q) for q in (0, 4_999, 5_000, 995_000, 1_000_000)] == ["0.00", "0.00", "0.01", "1.00", "1.00"]


def test_mean_over_data_sets_combines_independent_intervals() -> None:
    cells = [("A", Cell(8000, 7000, 8500)), ("B", Cell(6000, 5200, 7000))]
    mean = mean_cell(cells)
    assert mean.value == 7000
    assert mean.low == pytest.approx(7000 - math.hypot(1000, 800) / 2, abs=1)
    assert mean.high == pytest.approx(7000 + math.hypot(500, 1000) / 2, abs=1)


def test_a_mean_needs_every_data_set() -> None:
    mean = mean_cell([("A", Cell(8000)), ("B", Cell(None, note="no map"))])
    assert mean.value is None
    assert mean.note == "B: no map"
    assert mean_cell([]).value is None


def test_cells_average_data_sets_and_name_the_missing_one() -> None:
    whole, half = GALLERY[0], replace(GALLERY[1], datasets=("procedural",))
    table = table_of(whole, half)
    view = table.default_view
    assert (view.dataset, view.shots, view.condition) == ("all", 4, WORST)
    clean = table.cells(BY_KEY["clean"], view)
    single = [table.cells(BY_KEY["clean"], View(d, 4, WORST))[0].value for d in ("procedural", "digits")]
    assert clean[0].value == pytest.approx(sum(v or 0 for v in single) / 2, abs=1)
    assert clean[1].value is None
    assert "Digits" in (clean[1].note or "")
    assert [r.reason for r in ranks(table, view)] == [None, "Digits: not run"]
    assert ranks(table, View("procedural", 4, WORST))[1].rank == 2


def test_drop_is_clean_minus_attacked() -> None:
    table = table_of(GALLERY[0])
    clean, left, drop = (table.cells(BY_KEY[k], table.default_view)[0].value for k in ("clean", "a", "drop"))
    assert clean is not None
    assert left is not None
    assert drop == clean - left


def test_maps_have_no_worst_case_but_a_worst_attack() -> None:
    table = table_of(GALLERY[0])
    cell = table.cells(BY_KEY["aupro_attacked"], table.default_view)[0]
    single = {
        attack: table.cells(BY_KEY["aupro_attacked"], View("all", 4, Condition(attack, "two_sided", "2")))[0].value
        for attack in GALLERY[0].attacks
    }
    lowest = min(single, key=lambda a: single[a] or 0)
    assert (cell.value, cell.note) == (single[lowest], f"worst single attack: {lowest}")


def test_a_metric_without_value_keeps_its_reason() -> None:
    table = table_of(GALLERY[2])
    for key in ("aupro", "aupro_attacked"):
        cell = table.cells(BY_KEY[key], table.default_view)[0]
        assert cell.value is None
        assert "no anomaly map" in (cell.note or "")


def test_attacks_on_a_subset_say_so_and_are_no_worst_attack() -> None:
    def shrink(_: Invented, data: dict[str, Any]) -> None:
        for v in data["scored"]["values"]:
            if v.get("attack") == "apgd_score_10":
                v["n"] = 16

    table = table_of(GALLERY[0], change=shrink)
    part = table.cells(BY_KEY["a"], View("procedural", 4, Condition("apgd_score_10", "two_sided", "2")))[0]
    assert part.note == "on 16 of 160 images"
    worst = table.cells(BY_KEY["aupro_attacked"], table.default_view)[0]
    assert worst.note == "worst single attack: pgd_score_10"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"badge": "red"}, "validity"),
        ({"flags": {"random_weights": True}}, "random"),
        ({"white_box": False}, "black-box only"),
        ({"complete": False}, "a part of the track"),
        ({"strength": -0.3}, "includes 0.5"),
    ],
)
def test_rows_that_are_listed_but_not_ranked(change: dict[str, Any], reason: str) -> None:
    table = table_of(GALLERY[0], replace(GALLERY[1], **change))
    found = ranks(table, table.default_view)
    assert (found[0].rank, found[0].low, found[0].high) == (1, 1, 1)
    assert found[1].rank is None
    assert reason in (found[1].reason or "")
    assert order(table, table.default_view, found) == [0, 1]


def test_transductive_rows_have_a_league_of_their_own() -> None:
    table = table_of(*GALLERY[:3], GALLERY[6])
    found = ranks(table, table.default_view)
    assert [r.rank for r in found] == [1, 2, 3, 1]
    assert (found[3].low, found[3].high) == (1, 1)


def test_there_is_no_rank_at_other_support_sizes() -> None:
    table = table_of(*GALLERY[:2])
    assert {r.reason for r in ranks(table, View("all", 1, WORST))} == {"R is defined at 4 shots"}


def test_equal_rows_share_a_place_and_an_open_interval() -> None:
    table = table_of(GALLERY[0], replace(GALLERY[0], slug="again"))
    found = ranks(table, table.default_view)
    assert [(r.rank, r.low, r.high) for r in found] == [(1, 1, 2), (1, 1, 2)]


def test_rows_without_replicates_get_no_interval() -> None:
    def forget(one: Invented, data: dict[str, Any]) -> None:
        if one.slug == "patchcore":
            data["scored"]["replicates"] = []

    found = ranks(table := table_of(*GALLERY[:3], change=forget), table.default_view)
    assert [r.rank for r in found] == [1, 2, 3]
    assert found[1].low is None


def test_unranked_rows_that_do_better_stay_below() -> None:
    table = table_of(*GALLERY)
    found = ranks(table, table.default_view)
    names = [table.rows[i].slug for i in order(table, table.default_view, found)]
    assert names[-2:] == ["brittle", "random-vit"]
    assert names[-3] == "musc"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "a:b", "..", "pgd_score", "x y"])
def test_names_cannot_leave_their_folder(name: str) -> None:
    safe = file_name(name)
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert (safe == name) == (name == "pgd_score")


def test_r_over_data_sets_averages_before_it_clips() -> None:
    """One data set far above chance under attack, one far below: the mean of two R is not R of the mean."""

    def split(_: Invented, data: dict[str, Any]) -> None:
        left = {"procedural": 0.9, "digits": 0.3}[data["dataset"]["name"]]
        for v in data["scored"]["values"]:
            if v["metric"] == "auroc_robust" and "category" not in v:
                v["value"] = left
            elif v["metric"] == "robust_score":
                v["value"] = max(0.0, 2 * left - 1)

    table = table_of(GALLERY[0], change=split)
    (cell,) = table.cells(BY_KEY["r"], table.default_view)
    assert cell.value == pytest.approx((2 * 0.6 - 1) * 1e6, abs=1)
    stored = [table.cells(BY_KEY["r"], View(d, 4, WORST))[0].value for d in ("procedural", "digits")]
    assert stored == [800_000, 0]
    replicated = table.robust_replicates("all", 0)
    assert replicated is not None
    assert (cell.low, cell.high) == tuple(quantum(q) for q in np.quantile(replicated, [0.025, 0.975]))


def test_one_data_set_at_chance_does_not_unrank_a_row() -> None:
    """The interval of the mean counts (PROTOCOL.md section 7)."""

    def weaken(one: Invented, data: dict[str, Any]) -> None:
        if one.slug == "patchcore" and data["dataset"]["name"] == "digits":
            for v in data["scored"]["values"]:
                if v["metric"] == "auroc" and "attack" not in v and "category" not in v:
                    v |= {"value": 0.55, "low": 0.45, "high": 0.65}
            for r in data["scored"]["replicates"]:
                if r["metric"] == "auroc":
                    r["values"] = [x - 0.3 for x in r["values"]]

    table = table_of(*GALLERY[:2], change=weaken)
    assert [r.reason for r in ranks(table, table.default_view)] == [None, None]
    assert "includes 0.5" in (ranks(table, View("digits", 4, WORST))[1].reason or "")


def test_counter_claims_lower_a_row_with_credit() -> None:
    made = GALLERY[0]
    data = invented_data(made, "procedural")
    result = RunResult.model_validate_json(json.dumps(data))
    before = next(v for v in result.scored.values if v.metric == "robust_score")
    claim = CounterRecord(
        id="first", result=result.stem, authors=("Eve",), method="mine", budget="8", images=3,
        robust_before=before.value, robust_after=0.1,
    )  # fmt: skip
    left = LoweredResult(result=result.stem, robust=0.1, budgets={"2": 0.05, "8": 1.0})
    vouched = Verification(schema_version=1, protocol=1, results={}, steps=(), counter_claims=(claim,), lowered=(left,))
    found = {v.key: v for v in lowered(result, vouched).scored.values}
    robust = found[before.key]
    assert (robust.value, robust.low) == (0.1, None)
    assert "counter-claim first (Eve)" in (robust.reason or "")
    where = {"shots": 4, "attack": "worst_case", "goal": "two_sided"}
    gone, kept = (result.scored.find("auroc_robust", budget=e, **where) for e in ("2", "8"))
    assert gone is not None
    assert kept is not None
    assert found[gone.key].value == 0.05
    assert found[kept.key] == kept, "a claim never makes a row better"


def test_corruptions_are_a_mean_of_their_own() -> None:
    table = table_of(*GALLERY[:2])
    cells = table.cells(BY_KEY["corruptions"], table.default_view)
    for row, cell in zip(table.rows, cells, strict=True):
        stored = [
            c.value / SCALE
            for dataset in row.datasets.values()
            for shots, metric, condition, c in dataset.cells()
            if condition.natural and metric == "auroc_robust" and shots == table.ranked_shots and c.value is not None
        ]
        assert len(stored) == 4
        assert cell.value is not None
        assert cell.value / SCALE == pytest.approx(np.mean(stored), abs=2e-6)
        assert cell.low is None
        assert cell.high is None
    assert table.default_view.condition.attack == "worst_case"
    assert table.cells(BY_KEY["corruptions"], replace(table.default_view, shots=1))[0].value is None


def test_a_row_without_one_of_the_corruptions_has_no_mean() -> None:
    table = table_of(GALLERY[0], replace(GALLERY[1], natural=("blur:severe",)))
    whole, part = table.cells(BY_KEY["corruptions"], table.default_view)
    assert whole.value is not None
    assert part.value is None
    assert "jpeg:severe" in (part.note or "")


def test_cost_per_pass_counts_full_white_box_attacks() -> None:
    dataset = next(iter(table_of(GALLERY[0]).rows[0].datasets.values()))
    images = 160 * len(GALLERY[0].levels)
    passes = sum(images * 20 * POWER[name] for name in ("pgd_score_10", "apgd_score_10"))
    assert dataset.seconds_per_pass == pytest.approx(2 * 100 * GALLERY[0].seconds / passes)
