"""The report on evidence with planted effects: it says what was planted, and says nothing more."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from benchmark.errors import NotApplicableError
from benchmark.metrics import ranking
from benchmark.metrics.uncertainty import entropy, entropy_auroc
from benchmark.report.claims import Section, sections
from benchmark.report.render import render_html, render_markdown, write_report
from benchmark.report.study import Study, study_of
from benchmark.results.evidence import PROBE_COLUMNS
from benchmark.scoring.episodes import episodes_of
from benchmark.types.condition import CLEAN, Condition

STRONG = Condition("strong", "two_sided", Fraction(2))

SHIFTS = {  # attack -> budget -> how far towards the other class each image is pushed
    "sign_noise": {"2": 0.02, "8": 0.05},
    "weak": {"2": 0.02, "8": 0.05},
    "strong": {"2": 2.5, "8": 12.0},  # just past the threshold, then far beyond: overshoot
}


def planted(detector: str = "toy", dataset: str = "digits", seeds: int = 2) -> pd.DataFrame:
    """Evidence of 4 categories with 30 + 30 images; the detector is good and its raw score badly calibrated."""
    rng = np.random.default_rng(0)
    rows = []
    for category in "abcd":
        image = rng.normal(size=60)
        for seed in range(seeds):
            labels = np.repeat([0, 1], 30)
            clean = image + 0.3 * rng.normal(size=60) + 2.5 * labels
            clean[::13] += 6 * labels[::13]  # a long tail spoils min-max scaling
            rows += _rows(category, seed, labels, None, None, clean)
            for attack, shifts in SHIFTS.items():
                for budget, shift in shifts.items():
                    moved = clean + shift * np.where(labels, -1, 1) + 0.02 * rng.normal(size=60)
                    rows += _rows(category, seed, labels, attack, budget, moved)
            rows += _rows(category, seed, labels, "audit_only", "2", clean)[:5]
    frame = pd.DataFrame(rows, columns=["category", "sample_id", "label", "seed", "attack", "budget", "score"])
    return frame.assign(
        detector=detector, dataset=dataset, shots=4, goal=frame["attack"].map(lambda a: "two_sided" if a else None)
    )


def _rows(
    category: str, seed: int, labels: np.ndarray, attack: str | None, budget: str | None, scores: np.ndarray
) -> list:
    return [
        (category, f"{category}/{k:02d}.png", int(y), seed, attack, budget, float(s))
        for k, (y, s) in enumerate(zip(labels, scores, strict=True))
    ]


@pytest.fixture(scope="module")
def section() -> Section:
    (only,) = sections(planted(), resamples=200)
    return only


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of(episodes_of(planted().round({"score": 1})), "digits", 50)  # rounded: with ties


def answer(section: Section, words: str) -> str:
    (found,) = [a.answer for a in section.answers if words in a.question]
    return found


def test_the_planted_claims_are_found(section: Section) -> None:
    for metric in ("AUROC", "AP", "F1", "G-mean"):
        said = answer(section, f"Does {metric} drop")
        assert "in 2 of 4 conditions" in said
        assert "under strong at 8" in said
    assert answer(section, "miscalibrated").startswith("Yes")
    assert answer(section, "entropy rise").startswith("Partly")
    assert answer(section, "break").startswith("strong: two_sided from 8, evasion from 8")
    assert "weak" not in answer(section, "break")


def test_attacks_on_a_part_of_the_images_are_left_out(section: Section) -> None:
    assert {d.attack for d in section.drops} == set(SHIFTS)


def test_every_interval_holds_its_value(section: Section) -> None:
    estimates = [e for d in section.drops for e in (d.clean, d.attacked, d.drop)]
    estimates += [e for c in section.calibrations for e in (c.nll, c.brier, *(c.lowered or ()))]
    estimates += [e for f in section.flags for e in (f.rise, f.auroc)]
    for estimate in estimates:
        assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9


def test_noise_is_not_judged_against_itself_and_does_not_exceed_itself(section: Section) -> None:
    for drop in section.drops:
        assert (drop.beyond_noise is None) == (drop.attack == "sign_noise")
        if drop.attack == "weak":
            assert drop.beyond_noise is not None
            assert drop.beyond_noise.low < 0.01


def test_draws_start_with_the_value_on_the_actual_images(study: Study) -> None:
    draws = study.detection()
    for row, condition in enumerate([CLEAN, *study.attacks]):
        metric = ranking.auroc if row == 0 else ranking.auroc_robust
        expected = np.mean([metric(e.labels, e.scores[condition]).value for e in study.episodes])
        assert draws["AUROC"][row, 0] == pytest.approx(expected)
        precision = np.mean([ranking.average_precision(e.labels, e.scores[condition]).value for e in study.episodes])
        assert draws["AP"][row, 0] == pytest.approx(precision)
    mean, area = study.flag(True)
    values = []
    for e in study.episodes:
        p = e.platt
        assert not isinstance(p, NotApplicableError)
        before, after = (entropy(p[condition][e.labels]) for condition in (CLEAN, STRONG))
        values.append([after.mean(), entropy_auroc(before, after, e.folds[e.labels]).value])
    row = 1 + study.attacks.index(STRONG)
    assert [mean[row, 0], area[row, 0]] == pytest.approx(np.mean(values, axis=0))
    assert area[0] == pytest.approx(np.full(51, 0.5))


def test_platt_lowers_what_the_report_says_it_lowers(section: Section) -> None:
    raw, platt = section.calibrations[:2]
    assert platt.lowered is not None
    assert [e.value for e in platt.lowered] == pytest.approx(
        [raw.ece - platt.ece, raw.nll.value - platt.nll.value, raw.brier.value - platt.brier.value]
    )
    assert platt.lowered[1].low > 0
    assert raw.p_value < 0.01 < platt.p_value


def test_one_label_gives_a_reason_instead_of_numbers() -> None:
    frame = planted()
    (only,) = sections(frame[frame["label"] == 1], resamples=20)
    assert not only.drops
    assert "no normal samples" in only.answers[0].answer
    assert "no normal samples" in render_markdown([only])
    with pytest.raises(NotApplicableError, match="the evidence has 4"):
        sections(frame, shots=2)


def test_pages_are_written_whole_and_escaped(tmp_path: Path) -> None:
    found = sections(planted(detector="<script>alert(1)</script>", seeds=1), resamples=50)
    page = write_report(found, tmp_path)
    html = page.read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<svg") == 2
    for source in re.findall(r"!\[.*?\]\((.*?)\)", (tmp_path / "report.md").read_text()):
        ElementTree.fromstring((tmp_path / source).read_text())
    assert "nan" not in html.lower().replace("nats", "")
    assert render_html(found) == html


def test_markdown_tables_have_as_many_cells_as_heads(section: Section) -> None:
    blocks = re.findall(r"(?:^\|.*\n)+", render_markdown([section]), re.M)
    assert len(blocks) == 3
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_corruptions_and_probes_have_tables_of_their_own() -> None:
    frame = planted(seeds=1)
    clean = frame[frame["attack"].isna()]
    corrupted = clean.assign(attack="jpeg:severe", goal="two_sided", budget="255", score=clean["score"] * 0.5)
    moved = clean["score"] - 9.0 * (2 * clean["label"] - 1)
    probes = clean.assign(probe="universal", value=8.0, draw=0, score=moved)[PROBE_COLUMNS]
    (found,) = sections(pd.concat([frame, corrupted], ignore_index=True), resamples=50, probes=probes)
    assert {d.attack for d in found.natural} == {"jpeg:severe"}
    assert "jpeg:severe" not in {d.attack for d in found.drops} | {f.attack for f in found.flags}
    assert {(v.probe, v.metric, v.n) for v in found.probes} == {
        ("universal", "auroc", 240),
        ("universal", "auroc_robust", 240),
    }
    text, html = render_markdown([found]), render_html([found])
    assert "| universal | 8.0 grey levels | auroc_robust | – | 0.000 [0.000, 0.000] | 240 |" in text
    assert html.count("jpeg:severe") == len(found.natural)
    assert "255" not in html
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
