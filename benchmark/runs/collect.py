"""From stored cells to the files of a submission: evidence and a result for each detector and data set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmark.planning.jobs import CellSpec, DetectorSpec
from benchmark.planning.planner import Plan, PlannedDataset
from benchmark.planning.workbench import Workbench
from benchmark.results.evidence import PIXEL_COLUMNS, PROBE_COLUMNS, SCORE_COLUMNS, sparse_histogram, write_evidence
from benchmark.results.provenance import code, environment
from benchmark.results.references import detector_ref, support_ref
from benchmark.results.schema import (
    PROTOCOL_VERSION,
    AttackRef,
    CategoryRef,
    DatasetRef,
    EvidenceFile,
    Failure,
    RunFacts,
    RunResult,
    Timing,
    TrackRef,
    save_result,
)
from benchmark.scoring.image import metric_versions
from benchmark.scoring.score import Rules, score_evidence
from benchmark.storage.cells import Cell, CellStore
from benchmark.storage.jsonio import digest_bytes, digest_file
from benchmark.tracks import Track
from benchmark.types.condition import budget_text

if TYPE_CHECKING:
    import pandas as pd


RunFailures: TypeAlias = Mapping[tuple[str, str], Sequence[Failure]]
"""Failures at run time by (detector label, data set)."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Where a result lies and whether it is whole."""

    detector: str
    dataset: str
    path: Path
    result: RunResult


def slug_of(detector: str) -> str:
    """Folder name of a detector's local results; two names never share one, whatever their case and punctuation.

    >>> slug_of("patchcore@gabor"), slug_of("My_Det")
    ('patchcore-gabor', 'my-det-7ebbd20e')
    """
    if _PLAIN.fullmatch(detector) and detector not in _TAKEN:
        return detector.replace("@", "-")
    readable = re.sub(r"[^a-z0-9]+", "-", detector.lower()).strip("-")[:60]
    return f"{readable}-{digest_bytes(detector.encode())[:8]}"


_WORDS = r"[a-z0-9]+(?:[_.][a-z0-9]+)*"
_PLAIN = re.compile(f"{_WORDS}(?:@{_WORDS})?")
_TAKEN = {"cells", "logs", "report", "con", "prn", "aux", "nul"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in range(10)
}


def collect(
    plan: Plan, store: CellStore, bench: Workbench, out: Path, failures: RunFailures, timing: Timing
) -> Iterator[Collected]:
    """Write the evidence and the result of every detector and data set that has clean scores.

    Args:
        plan: What was planned.
        store: Where the cells are.
        bench: The detectors and attacks of the plan.
        out: Run folder; files go to ``<out>/<slug>/{results,evidence}``.
        failures: What failed at run time.
        timing: Start, end and memory of the run.
    """
    for planned in plan.datasets:
        for spec in plan.detectors:
            cells = _stored(planned, spec, store)
            if any(c.is_clean for c, _ in cells):
                yield _collect_one(plan, planned, spec, cells, bench, out, failures, timing)


def result_path(plan: Plan, planned: PlannedDataset, spec: DetectorSpec, out: Path) -> Path:
    """Where the result of a detector on a data set lies in a run folder."""
    stem = f"{plan.track.name}-v{plan.track.version}__{planned.dataset.info.name}"
    return out / slug_of(spec.variant) / "results" / f"{stem}.json"


def _stored(planned: PlannedDataset, spec: DetectorSpec, store: CellStore) -> list[tuple[CellSpec, Cell]]:
    mine = [cell for cell in planned.cells if cell.detector == spec]
    loaded = [(cell, store.load(cell.address)) for cell in mine]
    return [(cell, found) for cell, found in loaded if found is not None]


def _collect_one(
    plan: Plan,
    planned: PlannedDataset,
    spec: DetectorSpec,
    cells: list[tuple[CellSpec, Cell]],
    bench: Workbench,
    out: Path,
    failures: RunFailures,
    timing: Timing,
) -> Collected:
    from benchmark.scoring.validity import validity_of

    track, name = plan.track, planned.dataset.info.name
    path = result_path(plan, planned, spec, out)
    stem, folder = path.stem, path.parents[1]
    grid = [(c, cell) for c, cell in cells if c.probe is None]
    scores = _scores_frame(name, spec, _with_clean(grid))
    pixels = _pixels_frame(name, spec, grid)
    probes = _probes_frame(name, spec, [(c, cell) for c, cell in _with_clean(cells) if c.probe is not None])
    evidence = list(_write_evidence(folder, stem, scores, pixels, probes))
    attacks = tuple(_attack_refs(grid, bench, planned))
    rules = rules_of(track, planned, attacks)
    scored = score_evidence(scores, pixels, rules, probes)
    failed = _failures(planned, spec, failures, cells)
    detector = bench.detector(spec)
    result = RunResult(
        schema_version=2,
        track=_track_ref(plan, failed),
        detector=detector_ref(detector, spec.label, spec.name, spec.backbone),
        dataset=_dataset_ref(planned),
        attacks=attacks,
        metrics=metric_versions({v.metric: None for v in scored.values}),
        scored=scored,
        evidence=tuple(evidence),
        validity=validity_of(scores, attacks, run_facts(grid), detector.card),
        failures=failed,
        environment=environment(plan.selection.device, track.chunk_size, plan.selection.precision),
        code=code(),
        timing=_timing(timing, cells),
    )
    save_result(result, path)
    return Collected(spec.label, name, path, result)


def rules_of(track: Track, planned: PlannedDataset, attacks: Iterable[AttackRef]) -> Rules:
    """The scoring rules of a track on a data set."""
    return Rules(
        dataset=planned.dataset.info.name,
        ranked_shots=track.ranked_shots,
        ranked_budgets=track.ranked_budgets,
        full_coverage=frozenset(a.name for a in attacks if a.full_coverage),
        has_normals=planned.dataset.info.has_normals,
    )


def _with_clean(cells: list[tuple[CellSpec, Cell]]) -> list[tuple[CellSpec, Cell]]:
    """Cells of episodes whose clean scores exist: attacked scores mean nothing without them."""
    clean = {(c.samples[0].category, c.shots, c.seed) for c, _ in cells if c.is_clean}
    return [(c, cell) for c, cell in cells if (c.samples[0].category, c.shots, c.seed) in clean]


# ---- evidence ---------------------------------------------------------------------------------------------------


def _condition(dataset: str, spec: DetectorSpec, cell: CellSpec) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "category": cell.samples[0].category,
        "detector": spec.label,
        "shots": cell.shots,
        "seed": cell.seed,
        "attack": cell.attack,
        "goal": None if cell.attack is None else "two_sided",
        "budget": None if cell.budget is None else budget_text(cell.budget),
    }


def _scores_frame(dataset: str, spec: DetectorSpec, cells: list[tuple[CellSpec, Cell]]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for cell, done in cells:
        ids = {"sample_id": [s.id for s in cell.samples], "label": [s.label for s in cell.samples]}
        parts.append(pd.DataFrame(ids | {"score": done.scores} | _condition(dataset, spec, cell)))
    types = {"label": "int8", "shots": "int32", "seed": "int32", "score": "float32"}
    return pd.concat([p.astype({"attack": object, "goal": object, "budget": object}) for p in parts])[
        SCORE_COLUMNS
    ].astype(types)


def _pixels_frame(dataset: str, spec: DetectorSpec, cells: list[tuple[CellSpec, Cell]]) -> pd.DataFrame | None:
    import pandas as pd

    rows = []
    for cell, done in cells:
        if done.pixels is None:
            continue
        p = done.pixels
        condition = _condition(dataset, spec, cell)
        for image, region, counts in zip(p.image.tolist(), p.region.tolist(), p.counts, strict=True):
            bins, pixels = sparse_histogram(counts)
            row = {"sample_id": cell.samples[image].id, "region": region, "low": p.low, "high": p.high}
            rows.append(condition | row | {"bins": bins, "counts": pixels})
    return pd.DataFrame(rows, columns=PIXEL_COLUMNS) if rows else None


def _probes_frame(dataset: str, spec: DetectorSpec, cells: list[tuple[CellSpec, Cell]]) -> pd.DataFrame | None:
    import numpy as np
    import pandas as pd

    parts = []
    for cell, done in cells:
        assert cell.probe is not None
        draws = len(done.scores) // len(cell.samples)
        rows = {
            "sample_id": [s.id for s in cell.samples] * draws,
            "label": [s.label for s in cell.samples] * draws,
            "draw": np.repeat(np.arange(draws), len(cell.samples)),
            "score": done.scores,
            "probe": cell.probe[0],
            "value": cell.probe[1],
        }
        parts.append(pd.DataFrame(rows | _condition(dataset, spec, cell)))
    if not parts:
        return None
    types = {"label": "int8", "shots": "int32", "seed": "int32", "draw": "int32", "value": "float64"}
    return pd.concat(parts)[PROBE_COLUMNS].astype(types | {"score": "float32"})


def _write_evidence(
    folder: Path, stem: str, scores: pd.DataFrame, pixels: pd.DataFrame | None, probes: pd.DataFrame | None
) -> Iterator[EvidenceFile]:
    files = [("scores", f"{stem}.parquet", scores, SCORE_COLUMNS)]
    if pixels is not None:
        files.append(("pixels", f"{stem}.pixel.parquet", pixels, PIXEL_COLUMNS))
    if probes is not None:
        files.append(("probes", f"{stem}.probe.parquet", probes, PROBE_COLUMNS))
    for kind, name, frame, columns in files:
        path = folder / "evidence" / name
        write_evidence(path, frame, columns)
        yield EvidenceFile.model_validate({"file": name, "kind": kind, "sha256": digest_file(path), "rows": len(frame)})


# ---- references -------------------------------------------------------------------------------------------------


def _track_ref(plan: Plan, failed: Sequence[Failure]) -> TrackRef:
    restrictions = plan.selection.restrictions()
    return TrackRef(
        name=plan.track.name,
        version=plan.track.version,
        protocol=PROTOCOL_VERSION,
        canonical_edge=plan.track.canonical_edge,
        complete=not restrictions and all(f.kind == "not_applicable" for f in failed),
        restrictions=restrictions,
    )


def _dataset_ref(planned: PlannedDataset) -> DatasetRef:
    info = planned.dataset.info
    return DatasetRef(
        name=info.name,
        version=info.version,
        title=info.title,
        licence=info.licence,
        url=info.url,
        manifest_digest=planned.manifest.digest,
        has_normals=info.has_normals,
        has_masks=info.has_masks,
        redistributable=info.redistributable,
        categories=tuple(_category_refs(planned)),
    )


def _category_refs(planned: PlannedDataset) -> Iterator[CategoryRef]:
    from benchmark.data.shortcuts import audit

    audits = {found.category: found for found in audit(planned.dataset, planned.manifest)}
    for category in planned.categories:
        episodes = [e for (name, _, _), e in sorted(planned.episodes.items()) if name == category]
        if not episodes:
            continue
        query = episodes[0].query
        yield CategoryRef(
            name=category,
            normals=sum(s.label == 0 for s in query),
            anomalies=sum(s.label == 1 for s in query),
            empty_masks=sum(s.label == 1 and not s.masks for s in query) if planned.dataset.info.has_masks else 0,
            supports=tuple(support_ref(e) for e in episodes),
            shortcuts=dict(audits[category].auroc),
            warnings=tuple(text for text in [audits[category].warning] if text),
        )


def _attack_refs(cells: list[tuple[CellSpec, Cell]], bench: Workbench, planned: PlannedDataset) -> Iterator[AttackRef]:
    whole = {key: len(e.query) for key, e in planned.episodes.items()}
    for name in sorted({c.attack for c, _ in cells if c.attack is not None}):
        attack = bench.attack(name)
        mine = [(c, cell) for c, cell in cells if c.attack == name]
        covers = any(len(c.samples) == whole[c.samples[0].category, c.shots, c.seed] for c, _ in mine)
        yield AttackRef(
            name=name,
            version=attack.card.version,
            knowledge=attack.card.knowledge,
            norm=attack.card.norm,
            full_coverage=attack.card.full_coverage and covers,
            config={key: tuple(v) if isinstance(v, list) else v for key, v in attack.config.items()},
            forward_passes=_mean(mine, "forward"),
            backward_passes=_mean(mine, "backward"),
        )


def _mean(cells: list[tuple[CellSpec, Cell]], fact: str) -> float:
    return round(sum(float(cell.facts.get(fact, 0.0)) for _, cell in cells) / len(cells), 6)


def run_facts(cells: list[tuple[CellSpec, Cell]]) -> RunFacts:
    """For the validity checks: the largest repeat error, and by attack the mean share of images without gradient."""
    probed = [(c, cell) for c, cell in cells if "dead" in cell.facts]
    return RunFacts(
        repeat_error=max(float(cell.facts["repeat_error"]) for c, cell in cells if c.attack is None),
        dead={
            name: _mean([(c, cell) for c, cell in probed if c.attack == name], "dead")
            for name in sorted({c.attack for c, _ in probed if c.attack is not None})
        },
    )


def _failures(
    planned: PlannedDataset,
    spec: DetectorSpec,
    failures: RunFailures,
    cells: list[tuple[CellSpec, Cell]],
) -> tuple[Failure, ...]:
    planned_failures = [f for owner, f in planned.failures if owner in (None, spec)]
    run = failures.get((spec.label, planned.dataset.info.name), ())
    return tuple(
        sorted([*planned_failures, *run], key=lambda f: (f.category, f.shots or 0, f.seed or 0, f.attack or ""))
    )


def _timing(timing: Timing, cells: list[tuple[CellSpec, Cell]]) -> Timing:
    seconds = {"clean": 0.0}
    for cell, done in cells:
        name = cell.condition or "clean"
        seconds[name] = seconds.get(name, 0.0) + done.seconds
    images = sum(len(c.samples) for c, _ in cells if c.is_clean)
    return timing.model_copy(
        update={
            "passes": {name: round(value, 3) for name, value in sorted(seconds.items())},
            "seconds_per_image": round(seconds["clean"] / images, 6),
        }
    )
