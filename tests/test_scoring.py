"""From evidence to values: every number against a plain computation on the rows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmark.errors import ResultError
from benchmark.results.rows import MetricValue, Scored
from benchmark.scoring.score import Rules, score_evidence

RULES = Rules("toy", 4, (Fraction(2), Fraction(8)), frozenset({"pgd", "noise"}), has_normals=True)
CATEGORIES = ("bolt", "cap")


def evidence(n: int = 12, seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """Two categories, clean and two attacks at two budgets; the attack moves scores the harmful way."""
    rng = np.random.default_rng(0)
    rows = []
    for category in CATEGORIES:
        for seed in seeds:
            for i in range(2 * n):
                label = int(i >= n)
                clean = rng.normal() + 2.0 * label
                base = {"dataset": "toy", "category": category, "sample_id": f"{category}/{i:03d}", "label": label}
                base |= {"detector": "d", "shots": 4, "seed": seed}
                rows.append(base | {"attack": None, "goal": None, "budget": None, "score": clean})
                for attack, strength in (("pgd", 1.0), ("noise", 0.1)):
                    for level in (2, 8):
                        moved = clean + strength * level / 4 * (1 - 2 * label)
                        where = {"attack": attack, "goal": "two_sided", "budget": f"{level}"}
                        rows.append(base | where | {"score": moved})
    return pd.DataFrame(rows).astype({"score": "float32", "label": "int8"})


def value(scored: Scored, metric: str, **where: object) -> MetricValue:
    wanted = {"category": None, "attack": None, "goal": None, "budget": None} | where
    found = [v for v in scored.values if v.metric == metric and all(getattr(v, k) == w for k, w in wanted.items())]
    assert len(found) == 1, (metric, where, len(found))
    return found[0]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return evidence()


@pytest.fixture(scope="module")
def scored(frame: pd.DataFrame) -> Scored:
    return score_evidence(frame, None, RULES)


def by_episode(frame: pd.DataFrame, function: object, attack: str | None = None, budget: str | None = None) -> float:
    rows = frame[frame.attack.isna()] if attack is None else frame[(frame.attack == attack) & (frame.budget == budget)]
    parts = [function(g.label, g.score) for _, g in rows.groupby(["category", "seed"])]  # type: ignore[operator]
    return float(np.mean(parts))


def test_clean_macro_means(frame: pd.DataFrame, scored: Scored) -> None:
    assert value(scored, "auroc").value == pytest.approx(by_episode(frame, roc_auc_score))
    assert value(scored, "average_precision").value == pytest.approx(by_episode(frame, average_precision_score))
    one = frame[frame.attack.isna() & (frame.category == "bolt")]
    expected = np.mean([roc_auc_score(g.label, g.score) for _, g in one.groupby("seed")])
    assert value(scored, "auroc", category="bolt").value == pytest.approx(expected)


def test_seed_spread_and_intervals_surround_the_value(scored: Scored) -> None:
    v = value(scored, "auroc")
    assert v.seed_min is not None
    assert v.seed_max is not None
    assert v.low is not None
    assert v.high is not None
    assert v.seed_min < v.value < v.seed_max  # type: ignore[operator]
    assert v.low < v.value < v.high  # type: ignore[operator]
    assert v.n == 48


def test_attacked_values_and_views(frame: pd.DataFrame, scored: Scored) -> None:
    where = {"attack": "pgd", "budget": "8"}
    two_sided = value(scored, "auroc_robust", goal="two_sided", **where)
    assert two_sided.value == pytest.approx(by_episode(frame, roc_auc_score, "pgd", "8"))

    def evasion(category: str, seed: int) -> float:
        rows = frame[(frame.category == category) & (frame.seed == seed)]
        clean = rows[rows.attack.isna() & (rows.label == 0)]
        hit = rows[(rows.attack == "pgd") & (rows.budget == "8") & (rows.label == 1)]
        both = pd.concat([clean, hit])
        return float(roc_auc_score(both.label, both.score))

    expected = np.mean([evasion(c, s) for c in CATEGORIES for s in (0, 1)])
    assert value(scored, "auroc_robust", goal="evasion", **where).value == pytest.approx(expected)
    assert two_sided.value < value(scored, "auroc_robust", goal="evasion", **where).value  # type: ignore[operator]


def test_worst_case_and_r(frame: pd.DataFrame, scored: Scored) -> None:
    def worst(level: int) -> float:
        rows = frame[frame.attack.isna() | (frame.budget.isin([f"{n}" for n in (2, 8) if n <= level]))]
        parts = []
        for _, g in rows.groupby(["category", "seed"]):
            per_image = g.groupby(["sample_id", "label"]).score.agg(["min", "max"]).reset_index()
            scores = np.where(per_image.label == 1, per_image["min"], per_image["max"])
            parts.append(roc_auc_score(per_image.label, scores))
        return float(np.mean(parts))

    areas = [by_episode(frame, roc_auc_score), worst(2), worst(8)]
    at_8 = value(scored, "auroc_robust", attack="worst_case", goal="two_sided", budget="8")
    assert at_8.value == pytest.approx(areas[2])
    r = value(scored, "robust_score", attack="worst_case", goal="two_sided")
    assert r.value == pytest.approx(np.mean([max(0.0, 2 * a - 1) for a in areas]))
    assert r.low < r.value < r.high  # type: ignore[operator]


def test_an_attack_without_full_coverage_is_no_part_of_the_worst_case(frame: pd.DataFrame) -> None:
    only_noise = score_evidence(frame, None, replace(RULES, full_coverage=frozenset({"noise"})))
    where = {"attack": "worst_case", "goal": "two_sided", "budget": "8"}
    noise = value(only_noise, "auroc_robust", attack="noise", goal="two_sided", budget="8")
    assert value(only_noise, "auroc_robust", **where).value == pytest.approx(noise.value)


def test_an_audit_subset_is_scored_on_its_images_only(frame: pd.DataFrame) -> None:
    kept = {f"bolt/{i:03d}" for i in (0, 1, 2, 13, 14, 15)}
    rows = frame[(frame.attack == "pgd") & (frame.budget == "2") & frame.sample_id.isin(kept) & (frame.seed == 0)]
    audit = rows.assign(attack="audit")
    scored = score_evidence(pd.concat([frame, audit]), None, RULES)
    v = value(scored, "auroc_robust", attack="audit", goal="two_sided", budget="2")
    assert v.n == 6
    assert v.value == pytest.approx(roc_auc_score(audit.label, audit.score))


def test_a_category_with_one_class_makes_the_mean_null_with_the_reason(frame: pd.DataFrame) -> None:
    rows = frame[(frame.category == "bolt") | (frame.label == 1)]
    v = value(score_evidence(rows, None, RULES), "auroc")
    assert v.value is None
    assert v.reason is not None
    assert "cap" in v.reason
    assert "no normal samples" in v.reason


def test_data_without_normals_has_no_image_metric(frame: pd.DataFrame) -> None:
    scored = score_evidence(frame[frame.label == 1], None, replace(RULES, has_normals=False))
    assert [v.reason for v in scored.values] == ["no normal images"]
    assert scored.replicates == ()


def test_two_detectors_resample_the_same_images(frame: pd.DataFrame) -> None:
    shifted = frame.assign(score=frame.score * 3 + 1, detector="e")
    assert score_evidence(frame, None, RULES).replicates == score_evidence(shifted, None, RULES).replicates


def test_row_order_does_not_matter(frame: pd.DataFrame, scored: Scored) -> None:
    assert score_evidence(frame.sample(frac=1, random_state=1), None, RULES) == scored


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f[f.attack.notna()], "no clean scores"),
        (lambda f: f[~(f.attack.isna() & (f.sample_id == "bolt/000"))], "without a clean score"),
        (lambda f: f.assign(label=np.where(f.attack.notna(), 1 - f.label, f.label)), "another label"),
    ],
)
def test_contradictory_evidence_is_refused(frame: pd.DataFrame, change: object, words: str) -> None:
    with pytest.raises(ResultError, match=words):
        score_evidence(change(frame), None, RULES)  # type: ignore[operator]
