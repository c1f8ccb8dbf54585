"""Time of `trustad verify --no-rerun` on a full few-shot submission: synthetic scores of the real size.

python tests/perf/verify_few_shot.py FOLDER [mvtec_ad ...]
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.datasets.published import PUBLISHED
from benchmark.planning.workbench import build_attack
from benchmark.registry import DATASETS
from benchmark.results.evidence import SCORE_COLUMNS, write_evidence
from benchmark.results.provenance import code, environment
from benchmark.results.schema import (
    AttackRef,
    CategoryRef,
    DatasetRef,
    DetectorRef,
    EvidenceFile,
    Failure,
    Flags,
    RunResult,
    SupportRef,
    Timing,
    TrackRef,
    Validity,
    save_result,
)
from benchmark.scoring.image import metric_versions
from benchmark.storage.jsonio import digest_file, digest_json
from benchmark.tracks import load_track
from benchmark.types import keyed_seed
from benchmark.verify.checks import verify_submission
from benchmark.verify.grid import wanted_cells
from benchmark.verify.rescore import rescore, save
from benchmark.verify.subject import Subject

TRACK = load_track("few-shot")
NAME = "synthetic"
FLAGS = Flags(
    zero_shot=False,
    few_shot=True,
    transductive=False,
    auxiliary_labels=False,
    differentiable=True,
    deterministic=True,
    has_map=False,
    random_weights=False,
)


def frame(dataset: str) -> pd.DataFrame:
    """Scores of every cell of the track: anomalies 1.5 sigma higher, less under attack."""
    random = np.random.default_rng(0)
    parts = []
    for (category, shots, seed, attack, budget), wanted in wanted_cells(
        TRACK, list(PUBLISHED[dataset]), list(PUBLISHED[dataset])
    ).items():
        ids, labels = images(dataset, category, wanted.per_class)
        scores = random.normal(size=len(ids)) + labels * (1.5 if attack is None else 0.5)
        where = {"dataset": dataset, "category": category, "detector": NAME, "shots": shots, "seed": seed}
        rows = pd.DataFrame({"sample_id": ids, "label": labels, "score": scores, **where})
        for name, value in (("attack", attack), ("goal", attack and "two_sided"), ("budget", budget)):
            rows[name] = pd.Series([value] * len(rows), dtype=object)
        parts.append(rows)
    types = {"label": "int8", "shots": "int32", "seed": "int32", "score": "float32"}
    return pd.concat(parts, ignore_index=True)[SCORE_COLUMNS].astype(types)


def images(dataset: str, category: str, per_class: int | None) -> tuple[list[str], np.ndarray]:
    """Ids and labels of a category, or of the track's hash-chosen part."""
    counts = PUBLISHED[dataset][category]
    found: list[tuple[str, int]] = []
    for label, key in ((0, "good"), (1, "bad")):
        ids = [f"{category}/test/{key}/{place:03d}.png" for place in range(counts[key])]
        chosen = ids if per_class is None else sorted(ids, key=lambda name: keyed_seed("audit", name))[:per_class]
        found += [(name, label) for name in sorted(chosen)]
    return [name for name, _ in found], np.array([label for _, label in found], np.int8)


def write(folder: Path, dataset: str) -> None:
    """Evidence and result of one data set."""
    stem = f"{TRACK.name}-v{TRACK.version}__{dataset}"
    path = folder / "evidence" / f"{stem}.parquet"
    scores = frame(dataset)
    write_evidence(path, scores, SCORE_COLUMNS)
    info = DATASETS.get(dataset)(None).info
    pairs = sorted({(k, s) for tier in TRACK.tiers for k in tier.shots for s in tier.seeds})
    supports = tuple(SupportRef(shots=k, seed=s, sample_ids=("x",) * k, digest=digest_json([k, s])) for k, s in pairs)
    categories = tuple(
        CategoryRef(name=c, normals=n["good"], anomalies=n["bad"], empty_masks=0, supports=supports)
        for c, n in PUBLISHED[dataset].items()
    )
    stated = {name: getattr(info, name) for name in ("name", "version", "title", "licence", "url")}
    stated |= {name: getattr(info, name) for name in ("has_normals", "has_masks", "redistributable")}
    result = RunResult(
        schema_version=1,
        track=TrackRef(name=TRACK.name, version=TRACK.version, protocol=1, canonical_edge=448, complete=False),
        detector=DetectorRef(
            name=NAME,
            family=NAME,
            backbone=None,
            version=1,
            title=NAME,
            summary="",
            paper="",
            url="",
            licence="CC0-1.0",
            training_data="none",
            config={},
            weights={},
            flags=FLAGS,
        ),
        dataset=DatasetRef(**stated, manifest_digest=digest_json(dataset), categories=categories),
        attacks=tuple(attacks()),
        metrics=metric_versions({}),
        values=(),
        replicates=(),
        reliability=(),
        entropy=(),
        evidence=(EvidenceFile(file=path.name, kind="scores", sha256=digest_file(path), rows=len(scores)),),
        validity=Validity(badge="amber", checks=()),
        failures=tuple(
            Failure(category=c, attack=probe.name, reason="no part of this timing")
            for c in PUBLISHED[dataset]
            for probe in TRACK.probes
        ),
        environment=environment("cpu", TRACK.chunk_size, "float32"),
        code=code(),
        timing=Timing(
            started="2026-01-01T00:00:00+00:00",
            finished="2026-01-02T00:00:00+00:00",
            wall_seconds=1.0,
            seconds_per_image=None,
            peak_memory_bytes=0,
        ),
    )
    target = folder / "results" / f"{stem}.json"
    save_result(result, target)
    for found in rescore(target):
        save(found)
    print(f"{dataset}: {len(scores):,} rows, {path.stat().st_size:,} + {target.stat().st_size:,} bytes")


def attacks() -> list[AttackRef]:
    """Every attack of the track."""
    full = {a for tier in TRACK.tiers if tier.subset_per_class is None for a in tier.attacks}
    found = []
    for name in sorted({a for tier in TRACK.tiers for a in tier.attacks}):
        attack = build_attack(name)
        config = {key: tuple(v) if isinstance(v, list) else v for key, v in attack.config.items()}
        found.append(
            AttackRef(
                name=name,
                version=attack.card.version,
                knowledge=attack.card.knowledge,
                norm=attack.card.norm,
                full_coverage=attack.card.full_coverage and name in full,
                config=config,
                forward_passes=1.0,
                backward_passes=1.0,
            )
        )
    return found


def main() -> None:
    folder = Path(sys.argv[1]) / NAME
    for dataset in sys.argv[2:] or [d.name for d in TRACK.datasets]:
        write(folder, dataset)
    (folder / "submission.toml").write_text(
        f'schema_version = 1\nslug = "{NAME}"\nname = "{NAME}"\nauthors = ["x"]\nyear = 2026\nlicence = "CC0-1.0"\n'
        'training_data = "none"\nattacks_run_by = "authors"\n'
    )
    started = time.perf_counter()
    verdict = verify_submission(Subject(folder), rerun=False)
    cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"verify --no-rerun: {time.perf_counter() - started:.1f} s; {cpu:.1f} CPU s with making; {verdict.words}")


if __name__ == "__main__":
    main()
