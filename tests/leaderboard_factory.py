"""Invented submissions for tests of the site. Test-only: nothing here may ever be written under submissions/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.results.rows import NO_BUDGET
from benchmark.results.schema import RunResult, dump_result
from benchmark.statistics.robust import robust_score
from benchmark.storage.jsonio import digest_bytes, pretty_json
from benchmark.tracks import load_track

TITLES = {
    "procedural": "Procedural",
    "digits": "Digits",
    "mvtec_ad": "MVTec AD",
    "visa": "VisA",
    "btad": "BTAD",
    "mpdd": "MPDD",
}
CATEGORIES = {
    "procedural": ("weave", "wood", "metal", "tile", "nut", "capsule", "board", "ring"),
    "digits": tuple("01234"),
}
LEVELS = (1, 2, 4, 8, 16)
DIGEST = "ab" * 32


@dataclass(frozen=True)
class Invented:
    """A made-up detector; ``strength`` moves clean AUROC, ``toughness`` how slowly it falls."""

    slug: str
    title: str
    strength: float = 1.6
    toughness: float = 1.5
    seconds: float = 0.08
    badge: str = "green"
    track: str = "embedded"
    datasets: tuple[str, ...] = ("procedural", "digits")
    shots: tuple[int, ...] = (1, 4)
    ranked_shots: int = 4
    attacks: tuple[str, ...] = ("fgsm_head", "sign_noise", "pgd_score_10", "apgd_score_10")
    levels: tuple[int, ...] = LEVELS
    flags: dict[str, bool] = field(default_factory=dict)
    text: str | None = None
    backbone: str | None = "embedded"
    white_box: bool = True
    natural: tuple[str, ...] = ("blur:severe", "jpeg:severe")
    complete: bool = True
    ladder: tuple[str, ...] = ()

    @property
    def ranked(self) -> tuple[int, ...]:
        """The track's budgets of R."""
        return load_track(self.track).ranked_budgets


POWER = {"fgsm_head": 0.5, "sign_noise": 0.05, "pgd_score_10": 1.6, "apgd_score_10": 1.8, "worst_case": 1.95}


def _auroc(signal: float) -> float:
    return float(1 / (1 + np.exp(-1.7 * signal / np.sqrt(2))))


def _row(metric: str, shots: int, value: float | None, width: float = 0.0, **conditions: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": metric, "shots": shots, "n": 160, "value": value} | conditions
    if value is None:
        row["reason"] = "the detector gives no anomaly map"
    elif width:
        row["low"], row["high"] = max(0.0, value - width), min(1.0, value + width)
    return row


def _condition_rows(
    made: Invented, signal: float, shots: int, category: str | None, condition: dict[str, Any]
) -> list[dict[str, Any]]:
    where = condition | ({"category": category} if category else {})
    a = _auroc(signal)
    width = 0.05 if category else 0.02
    goal = condition.get("goal")
    name = "auroc_robust" if goal == "two_sided" else "auroc"
    rows = [_row(name, shots, a, width, **where)]
    worst = condition.get("attack") == "worst_case"
    if goal in (None, "two_sided"):
        rows.append(_row("average_precision", shots, min(1.0, a + 0.03), **where))
        rows.append(_row("f1", shots, 0.5 + a / 2.5, **where))
        rows.append(_row("g_mean", shots, a**1.3, **where))
    if goal is not None and not worst:
        rows.append(_row("entropy_auroc", shots, 0.5 + 0.4 * np.sin(6 * a), **where))
        rows.append(_row("ece_under_attack", shots, 0.04 + 0.5 * (1 - a), **where))
        rows.append(_row("aupro", shots, 0.8 * a if made.flags.get("has_map", True) else None, **where))
    return rows


def _values(made: Invented, rng: np.random.Generator, categories: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    shift = {c: float(rng.normal(0, 0.3)) for c in categories}
    for shots in made.shots:
        strength = made.strength + 0.15 * np.log2(max(shots, 1))
        for category in (None, *(categories if shots == made.ranked_shots else ())):
            base = strength + (shift[category] if category else 0.0)
            where = {"category": category} if category else {}
            clean = _auroc(base)
            rows += _condition_rows(made, base, shots, category, {})
            rows.append(_row("aupro", shots, 0.85 * clean if made.flags.get("has_map", True) else None, **where))
            rows.append(_row("pixel_auroc", shots, 0.5 + clean / 2.2, **where))
            if category is None:
                rows += [_row("ece_minmax", shots, 0.32 - clean / 5), _row("ece", shots, 0.08 - clean / 20)]
                rows += [_row("brier", shots, 0.3 - clean / 4), _row("nll", shots, 0.9 - clean / 2)]
                rows += [_row("aurc", shots, 0.2 - clean / 6), _row("flag_everything_f1", shots, 2 / 3)]
            attacks = ("worst_case", *made.attacks) if shots == made.ranked_shots else made.attacks[:2]
            if category is not None:
                attacks = attacks[:1]
            for attack in attacks:
                for level in made.ranked if attack == "worst_case" else made.levels:
                    goals = ("two_sided",) if attack == "worst_case" else ("two_sided", "evasion", "false_alarm")
                    for goal in goals:
                        weight = 1.0 if goal == "two_sided" else 0.5
                        signal = base - weight * POWER.get(attack, 1.0) * level / made.toughness
                        condition = {"attack": attack, "goal": goal, "budget": f"{level}"}
                        rows += _condition_rows(made, signal, shots, category, condition)
        for i, name in enumerate(made.natural if shots == made.ranked_shots else ()):
            natural: dict[str, Any] = {"attack": name, "goal": "two_sided", "budget": NO_BUDGET}
            rows.append(_row("auroc_robust", shots, _auroc(strength - 0.2 * (i + 1)), 0.02, **natural))
        if shots == made.ranked_shots:
            rows.append(_row("auroc_robust", shots, _auroc(strength)))
            robust = float(robust_score(_areas(made, strength)))
            rows.append(_row("robust_score", shots, robust, 0.03, attack="worst_case"))
    return rows


def _areas(made: Invented, strength: float) -> list[float]:
    """Worst-case AUROC at every budget of R, clean first."""
    return [_auroc(strength - POWER["worst_case"] * n / made.toughness) for n in (0, *made.ranked)]


def _replicates(made: Invented, values: Sequence[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Replicates of everything that results store, spread by 0.006."""
    found = []
    for v in values:
        headline = v["metric"] == "auroc_robust" and v.get("attack") in (None, "worst_case")
        clean = v["metric"] == "auroc" and "attack" not in v
        if (clean or headline) and "category" not in v:
            samples = (v["value"] + rng.normal(0, 0.006, 200)).clip(0, 1).round(6)
            found.append({k: v[k] for k in ("metric", "shots", "budget") if k in v} | {"values": samples.tolist()})
    areas = [r["values"] for r in found if r["metric"] == "auroc_robust"]
    if areas:
        robust = robust_score(np.array(areas)).tolist()
        found.append({"metric": "robust_score", "shots": made.ranked_shots, "values": robust})
    return found


def _bins(rng: np.random.Generator, bend: float) -> list[dict[str, Any]]:
    predicted = np.linspace(0.03, 0.97, 12)
    observed = np.clip(predicted + bend * np.sin(3 * predicted) + rng.normal(0, 0.03, 12), 0, 1)
    return [
        {"predicted": float(p), "observed": float(o), "count": 14} for p, o in zip(predicted, observed, strict=True)
    ]


def invented_result(made: Invented, dataset: str) -> RunResult:
    """A result of a made-up detector, with the shape of a real one."""
    return RunResult.model_validate_json(json.dumps(invented_data(made, dataset)))


def invented_data(made: Invented, dataset: str) -> dict[str, Any]:
    """The same as JSON data."""
    rng = np.random.default_rng(abs(hash_of(f"{made.slug}/{dataset}")))
    categories = CATEGORIES.get(dataset, ("a", "b", "c"))
    values = _values(made, rng, categories)
    word = made.text or made.title
    flags = {
        "zero_shot": made.shots == (0,),
        "few_shot": made.shots != (0,),
        "transductive": False,
        "auxiliary_labels": False,
        "differentiable": True,
        "deterministic": True,
        "has_map": True,
        "random_weights": False,
    } | made.flags
    curves = [
        ("minmax", None, 0.22),
        ("platt", None, 0.03),
        ("minmax", "fgsm_head", -0.35),
        ("platt", "fgsm_head", -0.3),
    ]
    return {
        "schema_version": 2,
        "track": {"name": made.track, "version": 1, "protocol": 1, "canonical_edge": 112, "complete": made.complete},
        "detector": {
            "name": f"{made.slug}@{made.backbone}" if made.backbone else made.slug,
            "family": made.slug,
            "backbone": made.backbone,
            "version": 1,
            "title": word,
            "summary": f"{word} scores patches by distance.",
            "paper": word,
            "url": "https://example.org/paper",
            "licence": "Apache-2.0",
            "training_data": word,
            "config": {"neighbours": 1},
            "weights": {"embedded": DIGEST},
            "flags": flags,
        },
        "dataset": {
            "name": dataset,
            "version": 1,
            "title": TITLES.get(dataset, dataset),
            "licence": "Apache-2.0",
            "url": "https://example.org/data",
            "manifest_digest": DIGEST,
            "has_normals": True,
            "has_masks": True,
            "redistributable": True,
            "categories": [
                {
                    "name": c,
                    "normals": 10,
                    "anomalies": 10,
                    "empty_masks": 0,
                    "supports": [
                        {
                            "shots": k,
                            "seed": 0,
                            "sample_ids": [f"{c}/train/good/{i:03d}.png" for i in range(k)],
                            "digest": DIGEST,
                        }
                        for k in made.shots
                    ],
                }
                for c in categories
            ],
        },
        "attacks": [
            {
                "name": a,
                "version": 1,
                "knowledge": _knowledge(a, made),
                "norm": "Linf",
                "full_coverage": True,
                "config": {"steps": 10},
                "forward_passes": 10 * POWER.get(a, 1),
                "backward_passes": 10 * POWER.get(a, 1),
            }
            for a in made.attacks
        ],
        "metrics": {v["metric"]: 1 for v in values},
        "scored": {
            "values": values,
            "replicates": _replicates(made, values, rng),
            "reliability": [
                {"shots": made.ranked_shots, "calibrator": c, "bins": _bins(rng, bend)} | _under(a)
                for c, a, bend in curves
            ],
            "entropy": [
                {"shots": made.ranked_shots, "counts": sorted(rng.poisson(12, 20).tolist(), reverse=a is None)}
                | _under(a)
                for a in (None, "fgsm_head")
            ],
        },
        "evidence": [{"file": f"{made.track}-v1__{dataset}.parquet", "kind": "scores", "sha256": DIGEST, "rows": 4000}],
        "validity": {
            "badge": made.badge,
            "checks": [
                {"name": "steps", "status": "pass", "detail": "100 steps are at least as strong as 10"},
                {
                    "name": "transfer",
                    "status": "pass" if made.badge == "green" else made.badge,
                    "detail": f"{word}: compared",
                },
            ],
        },
        "failures": [],
        "environment": {
            "python": "3.11",
            "platform": "Linux",
            "device": "cpu",
            "threads": 1,
            "precision": "float32",
            "chunk_size": 20,
            "packages": {"torch": "2.15"},
        },
        "code": {"version": "1.0.0", "commit": "c" * 40, "dirty": False},
        "timing": {
            "started": "2026-11-20T10:00:00Z",
            "finished": "2026-11-20T10:15:00Z",
            "wall_seconds": 900.0,
            "seconds_per_image": made.seconds,
            "peak_memory_bytes": int(1.3e9),
            "passes": dict.fromkeys(made.attacks, 100 * made.seconds),
        },
    }


def _under(attack: str | None) -> dict[str, str | None]:
    return {"attack": attack, "budget": "2" if attack else None}


def _knowledge(attack: str, made: Invented) -> str:
    return {"sign_noise": "none", "fgsm_head": "surrogate"}.get(attack, "white_box" if made.white_box else "black_box")


def hash_of(text: str) -> int:
    """A seed from text."""
    return int(digest_bytes(text.encode())[:8], 16)


def write_submission(root: Path, made: Invented) -> Path:
    """Write a made-up submission under ``root`` (a temporary folder) and return its folder."""
    folder = root / made.slug
    (folder / "results").mkdir(parents=True, exist_ok=True)
    word = made.text or made.title
    fields = {
        "schema_version": 1,
        "slug": made.slug,
        "name": word,
        "authors": [word, "Bob Example"],
        "year": 2026,
        "paper": word,
        "paper_url": f"https://example.org/{made.slug}",
        "code_url": "https://example.org/code",
        "code_commit": "d" * 40,
        "licence": "CC-BY-4.0",
        "training_data": word,
        "attacks_run_by": "authors",
        "notes": word,
    }
    toml = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())
    (folder / "submission.toml").write_text(toml)
    digests = {}
    for dataset in made.datasets:
        result = invented_result(made, dataset)
        text = dump_result(result)
        (folder / "results" / f"{result.stem}.json").write_text(text)
        digests[result.stem] = digest_bytes(text.encode())
    if made.ladder:
        steps = [{"step": s, "date": f"2026-11-{i + 10}", "by": "maintainer"} for i, s in enumerate(made.ladder)]
        data = {"schema_version": 1, "protocol": 1, "results": digests, "steps": steps}
        (folder / "verification.json").write_text(pretty_json(data))
    return folder


GALLERY: tuple[Invented, ...] = (
    Invented(
        "anomalydino", "AnomalyDINO", 1.95, 1.9, 0.11, ladder=("claimed", "schema_valid", "recomputed", "spot_rerun")
    ),
    Invented("patchcore", "PatchCore", 1.75, 1.7, 0.14, ladder=("claimed", "schema_valid", "recomputed")),
    Invented("knn", "Global kNN", 1.15, 2.8, 0.02, flags={"has_map": False}),
    Invented("padim", "PaDiM (shrunk)", 1.3, 1.2, 0.05, badge="amber"),
    Invented("spade", "SPADE", 1.25, 1.25, 0.2),
    Invented("winclip", "WinCLIP", 1.5, 1.0, 0.31, flags={"zero_shot": True}),
    Invented("musc", "MuSc (batched)", 2.1, 1.4, 0.42, flags={"transductive": True}),
    Invented("gabor-knn", "Gabor bank", 1.9, 1.1, 0.04, backbone="gabor"),
    Invented("random-vit", "Random ViT", 1.4, 2.0, 0.11, flags={"random_weights": True}),
    Invented("brittle", "Obfuscated gradients", 1.6, 9.0, 0.1, badge="red"),
)
