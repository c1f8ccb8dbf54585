"""Counter-claims scored again: what the harness sees itself lowers a row, with credit to the attacker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import NotApplicableError, ResultError
from benchmark.results.rows import MetricValue
from benchmark.results.submission import CounterRecord, LoweredResult
from benchmark.scoring.score import score_evidence
from benchmark.types.condition import parse_budget
from benchmark.verify.counter import (
    CounterClaim,
    attacked_entry,
    attacked_episode,
    claim_folders,
    claimed_scores,
    load_claim,
    load_perturbation,
    perturbed_images,
)
from benchmark.verify.data import opened
from benchmark.verify.isolation import Limits
from benchmark.verify.rerun import EpisodeRows, attacked_scores, fit, scorer, served_detector
from benchmark.verify.sandbox.client import Served
from benchmark.verify.subject import Entry, Subject

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Rescored:
    """A claim with the scores that the detector gave to its images (sample id -> score), run in isolation."""

    id: str
    claim: CounterClaim
    entry: Entry
    scores: Mapping[str, float]


def rescored_claims(subject: Subject, limits: Limits) -> list[Rescored]:
    """Every counter-claim of a submission, scored.

    Raises:
        NotApplicableError: If the data are not at hand.
        ContractError: If the detector fails.
    """
    return [_rescored(subject, folder, limits) for folder in claim_folders(subject)]


def _rescored(subject: Subject, folder: Path, limits: Limits) -> Rescored:
    claim = load_claim(folder)
    entry = attacked_entry(subject, folder, claim)
    dataset = opened(entry, subject)
    if dataset is None:
        raise NotApplicableError(f"counter/{folder.name}: the data set is not here; say where with --data-root")
    episode = attacked_episode(entry, dataset, claim)
    with served_detector(subject, entry, limits) as served:
        fit(entry, dataset, served, episode)
        scores = _scores(folder, claim, entry, episode, served)
    return Rescored(folder.name, claim, entry, scores)


def _scores(folder: Path, claim: CounterClaim, entry: Entry, episode: EpisodeRows, served: Served) -> dict[str, float]:
    if claim.attack is None:
        images = perturbed_images(folder, episode, load_perturbation(folder, claim, entry))
        return {name: float(scorer(served, [name])(image[None].float() / 255.0).score[0]) for name, image in images}
    named = claimed_scores(folder, claim, entry)
    level = parse_budget(claim.budget)
    found = dict(attacked_scores(entry, served, episode, claim.attack, [level]))
    if level not in found:
        raise ResultError(f"counter/{folder.name}: {claim.attack} does not apply to this detector")
    scored = zip(episode.samples, found[level].tolist(), strict=True)
    return {sample.id: score for sample, score in scored if sample.id in named}


def credit(one: Rescored) -> CounterRecord:
    """What a claim alone does to R."""
    before, after = (_robust(robust_values(one.entry, claims)) for claims in ([], [one]))
    return CounterRecord(
        id=one.id,
        result=one.claim.result,
        authors=one.claim.authors,
        method=one.claim.method,
        budget=one.claim.budget,
        images=len(one.scores),
        robust_before=before,
        robust_after=after,
    )


def lowered(claims: Sequence[Rescored]) -> list[LoweredResult]:
    """What the claims against each result leave of it together."""
    found = []
    for stem in sorted({one.claim.result for one in claims}):
        mine = [one for one in claims if one.claim.result == stem]
        values = robust_values(mine[0].entry, mine)
        robust = _robust(values)
        if robust is not None:
            budgets = {v.budget: v.value for v in values if v.budget is not None and v.value is not None}
            found.append(LoweredResult(result=stem, robust=robust, budgets=budgets))
    return found


def _robust(values: Sequence[MetricValue]) -> float | None:
    return next(v.value for v in values if v.metric == "robust_score")


def robust_values(entry: Entry, claims: Sequence[Rescored]) -> list[MetricValue]:
    """R and the worst-case AUROCs, each claim being one more full-coverage attack (other images stay clean)."""
    import pandas as pd

    rules, names = entry.rules, [f"counter-{one.id}" for one in claims]
    parts = [_as_attack(entry, one, name) for one, name in zip(claims, names, strict=True)]
    more = replace(rules, full_coverage=rules.full_coverage | set(names))
    scored = score_evidence(pd.concat([entry.scores, *parts], ignore_index=True), None, more)
    wanted = ("robust_score", "auroc_robust")
    worst = [v for v in scored.values if v.metric in wanted and v.attack == "worst_case"]
    return [v for v in worst if v.category is None]


def _as_attack(entry: Entry, one: Rescored, name: str) -> pd.DataFrame:
    """Evidence rows of every episode of the claim's support size, its images with their new scores."""
    claim = one.claim
    rows = entry.scores[entry.scores["attack"].isna() & (entry.scores["shots"] == claim.shots)].copy()
    here = (rows["category"] == claim.category) & (rows["seed"] == claim.seed)
    rows["score"] = [
        one.scores.get(sample, own) if hit else own
        for sample, own, hit in zip(rows["sample_id"], rows["score"], here, strict=True)
    ]
    rows["score"] = rows["score"].astype(np.float32)
    rows["attack"], rows["goal"], rows["budget"] = name, "two_sided", claim.budget
    return rows
