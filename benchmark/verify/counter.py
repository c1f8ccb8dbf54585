"""Counter-claims: somebody shows images on which a row is weaker than its result says.

    submissions/<slug>/counter/<id>/counter.toml               who, against which result: `CounterClaim`
                                    perturbation.safetensors   sample id -> int8 [3, h, w], added to the canonical image

Perturbations only, never images, whose licences may forbid it. Every image that is not named stays clean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, StringConstraints, ValidationError
from torch import Tensor

from benchmark.errors import NotApplicableError, ResultError
from benchmark.isolation import Limits
from benchmark.jsonio import canonical_json
from benchmark.result_rows import Count, Epsilon, MetricValue, Name, Strict, Text
from benchmark.scoring import Rules, score_evidence
from benchmark.submission import CounterRecord, Line
from benchmark.types import Dataset
from benchmark.verify.data import opened
from benchmark.verify.reading import check_plain
from benchmark.verify.rerun import EpisodeRows, episodes_in, fit, served_detector
from benchmark.verify.served import Served
from benchmark.verify.subject import Entry, Subject

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class CounterClaim(Strict):
    """counter.toml: one attack on one episode of one result.

    Attributes:
        result: Stem of the attacked result.
        authors: Who found it; the board credits them.
        method: How, in one line; ``code_url`` may say more.
    """

    schema_version: Annotated[int, Field(ge=1, le=1)]
    result: Name
    category: Name
    shots: Count
    seed: Count
    epsilon: Epsilon
    authors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=20)]
    method: Line
    code_url: Annotated[str, StringConstraints(pattern=r"^https://[^\s<>\"'\\]{1,500}$")] | None = None
    notes: Text = ""


def check_counter_claims(subject: Subject) -> str:
    """Form, ball and, where the data are at hand, range of every counter-claim."""
    folders = claim_folders(subject)
    for folder in folders:
        claim = load_claim(folder)
        entry = attacked_entry(subject, folder, claim)
        deltas = load_perturbation(folder, claim, entry)
        dataset = opened(entry, subject)
        if dataset is not None:
            list(_images(folder, entry, dataset, claim, deltas))
    return f"{len(folders)} counter-claims"


def claim_folders(subject: Subject) -> list[Path]:
    """Folders of the counter-claims, sorted."""
    root = subject.folder / "counter"
    return sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def load_claim(folder: Path) -> CounterClaim:
    """Read counter.toml.

    Raises:
        ResultError: If it is missing or malformed.
    """
    where = f"counter/{folder.name}/counter.toml"
    try:
        data = tomllib.loads((folder / "counter.toml").read_text("utf-8"))
        claim = CounterClaim.model_validate_json(canonical_json(data))
    except OSError as error:
        raise ResultError(f"{where} is missing") from error
    except (tomllib.TOMLDecodeError, TypeError, ValueError, RecursionError) as error:
        detail = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
        raise ResultError(f"{where}: {' '.join(str(detail).split())[:200]}") from error
    check_plain(where, claim.model_dump(mode="json"))
    return claim


def attacked_entry(subject: Subject, folder: Path, claim: CounterClaim) -> Entry:
    """The result that a claim is about."""
    entry = next((e for e in subject.entries if e.result.stem == claim.result), None)
    if entry is None:
        raise ResultError(f"counter/{folder.name}: there is no result {claim.result!r}")
    if int(claim.epsilon.partition("/")[0]) not in entry.track.ranked_epsilons:
        raise ResultError(f"counter/{folder.name}: {claim.epsilon} is no ranked budget of track {entry.track.name}")
    if claim.shots != entry.track.ranked_shots:
        raise ResultError(f"counter/{folder.name}: only {entry.track.ranked_shots}-shot episodes are ranked")
    return entry


def load_perturbation(folder: Path, claim: CounterClaim, entry: Entry) -> dict[str, Tensor]:
    """Integer perturbations within the ball, by sample id.

    Raises:
        ResultError: If the file is malformed, names a foreign image or leaves the ball.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    where, limit = f"counter/{folder.name}", int(claim.epsilon.partition("/")[0])
    try:
        deltas: dict[str, Tensor] = load((folder / "perturbation.safetensors").read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise ResultError(f"{where}: perturbation.safetensors cannot be read ({type(error).__name__})") from error
    scores = entry.scores
    mine = scores[(scores["category"] == claim.category) & (scores["shots"] == claim.shots)]
    known = set(mine[mine["seed"] == claim.seed]["sample_id"])
    if not deltas:
        raise ResultError(f"{where}: no perturbations")
    for name, delta in deltas.items():
        if name not in known:
            raise ResultError(f"{where}: {name[:80]!r} is no query image of that episode")
        if delta.dtype != torch.int8 or delta.ndim != 3 or delta.shape[0] != 3:
            raise ResultError(f"{where}: {name}: must be int8 [3, h, w], is {delta.dtype} {tuple(delta.shape)}")
        if int(delta.to(torch.int16).abs().max()) > limit:
            raise ResultError(f"{where}: {name}: leaves the ball of {claim.epsilon}")
    return deltas


def _images(
    folder: Path, entry: Entry, dataset: Dataset, claim: CounterClaim, deltas: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Sample ids with their perturbed images, range checked."""
    wanted = next(e for e in episodes_in(entry, dataset) if _is_of(e, claim))
    for sample, image in zip(wanted.samples, wanted.images, strict=True):
        if sample.id not in deltas:
            continue
        delta = deltas[sample.id]
        if delta.shape != image.shape:
            raise ResultError(f"counter/{folder.name}: {sample.id}: {tuple(delta.shape)}, not {tuple(image.shape)}")
        changed = image.to(torch.int16) + delta
        if int(changed.min()) < 0 or int(changed.max()) > 255:
            raise ResultError(f"counter/{folder.name}: {sample.id}: leaves the range 0..255")
        yield sample.id, changed.to(torch.uint8)


def _is_of(episode: EpisodeRows, claim: CounterClaim) -> bool:
    return (episode.category, episode.shots, episode.seed) == (claim.category, claim.shots, claim.seed)


def rescored_claims(subject: Subject, limits: Limits) -> Iterator[CounterRecord]:
    """Every counter-claim with the robust number that its images leave, the detector run in isolation.

    Raises:
        NotApplicableError: If the data are not at hand.
        ContractError: If the detector fails.
    """
    for folder in claim_folders(subject):
        claim = load_claim(folder)
        entry = attacked_entry(subject, folder, claim)
        dataset = opened(entry, subject)
        if dataset is None:
            raise NotApplicableError(f"counter/{folder.name}: the data set is not here; say where with --data-root")
        images = dict(_images(folder, entry, dataset, claim, load_perturbation(folder, claim, entry)))
        episode = next(e for e in episodes_in(entry, dataset) if _is_of(e, claim))
        with served_detector(subject, entry, limits) as served:
            fit(entry, dataset, served, episode)
            scores = _scores(served, images)
        before, after = robust_values(entry, claim, scores)
        yield CounterRecord(
            id=folder.name,
            result=claim.result,
            authors=claim.authors,
            method=claim.method,
            epsilon=claim.epsilon,
            images=len(images),
            robust_before=before.value,
            robust_after=after.value,
        )


def _scores(served: Served, images: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(served(image[None].float() / 255.0).score[0]) for name, image in images.items()}


def robust_values(entry: Entry, claim: CounterClaim, scores: Mapping[str, float]) -> tuple[MetricValue, MetricValue]:
    """R from the evidence, and with a claim's scores as one more full-coverage attack (other images stay clean)."""
    import pandas as pd

    name = "counter"
    clean = entry.scores[entry.scores["attack"].isna() & (entry.scores["shots"] == claim.shots)].copy()
    here = (clean["category"] == claim.category) & (clean["seed"] == claim.seed)
    clean["score"] = [
        scores.get(sample, own) if hit else own
        for sample, own, hit in zip(clean["sample_id"], clean["score"], here, strict=True)
    ]
    clean["score"] = clean["score"].astype(np.float32)
    clean["attack"], clean["goal"], clean["epsilon"] = name, "two_sided", claim.epsilon
    frame = pd.concat([entry.scores, clean], ignore_index=True)
    rules = entry.rules
    more = Rules(
        rules.dataset, rules.ranked_shots, rules.ranked_epsilons, rules.full_coverage | {name}, rules.has_normals
    )
    found = [score_evidence(rows, None, by) for rows, by in ((entry.scores, rules), (frame, more))]
    return _robust(found[0].values), _robust(found[1].values)


def _robust(values: tuple[MetricValue, ...]) -> MetricValue:
    return next(v for v in values if v.metric == "robust_score")
