"""Counter-claims: somebody shows images on which a row is weaker than its result says.

    submissions/<slug>/counter/<id>/counter.toml               who, against which result: `CounterClaim`
                                    perturbation.safetensors   sample id -> int8 [3, h, w], added to the canonical image
                                    or evidence.parquet        scores that a stronger attack of this program reached

Never images, whose licences may forbid it. Every image that is not named stays clean. `counter_rescore` scores the
images, or runs the attack, again: only what the harness has seen itself lowers a row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, StringConstraints, ValidationError
from torch import Tensor

from benchmark.errors import ResultError
from benchmark.planning.workbench import build_attack
from benchmark.results.evidence import read_scores
from benchmark.results.rows import BudgetText, Count, Name, Strict, Text
from benchmark.results.submission import Line
from benchmark.storage.jsonio import canonical_json
from benchmark.types import Dataset
from benchmark.types.condition import parse_budget
from benchmark.verify.data import opened
from benchmark.verify.reading import check_plain
from benchmark.verify.rerun import REPEATED, EpisodeRows, episodes_in
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
        attack: With evidence: the attack of this program that gave it, such as ``pgd_score_100``.
    """

    schema_version: Annotated[int, Field(ge=1, le=1)]
    result: Name
    category: Name
    shots: Count
    seed: Count
    budget: BudgetText
    authors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=20)]
    method: Line
    attack: Name | None = None
    code_url: Annotated[str, StringConstraints(pattern=r"^https://[^\s<>\"'\\]{1,500}$")] | None = None
    notes: Text = ""


def check_counter_claims(subject: Subject) -> str:
    """Form, ball and, where the data are at hand, range of every counter-claim."""
    folders = claim_folders(subject)
    for folder in folders:
        claim = load_claim(folder)
        entry = attacked_entry(subject, folder, claim)
        if claim.attack is not None:
            claimed_scores(folder, claim, entry)
            continue
        deltas = load_perturbation(folder, claim, entry)
        dataset = opened(entry, subject)
        if dataset is not None:
            list(perturbed_images(folder, attacked_episode(entry, dataset, claim), deltas))
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
    if parse_budget(claim.budget) not in entry.track.ranked_budgets:
        raise ResultError(f"counter/{folder.name}: {claim.budget} is no ranked budget of track {entry.track.name}")
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

    where, limit = f"counter/{folder.name}", parse_budget(claim.budget)
    try:
        deltas: dict[str, Tensor] = load((folder / "perturbation.safetensors").read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise ResultError(f"{where}: perturbation.safetensors cannot be read ({type(error).__name__})") from error
    known = _labels(claim, entry)
    if not deltas:
        raise ResultError(f"{where}: no perturbations")
    for name, delta in deltas.items():
        if name not in known:
            raise ResultError(f"{where}: {name[:80]!r} is no query image of that episode")
        if delta.dtype != torch.int8 or delta.ndim != 3 or delta.shape[0] != 3:
            raise ResultError(f"{where}: {name}: must be int8 [3, h, w], is {delta.dtype} {tuple(delta.shape)}")
        if int(delta.to(torch.int16).abs().max()) > limit:
            raise ResultError(f"{where}: {name}: leaves the ball of {claim.budget}")
    return deltas


def claimed_scores(folder: Path, claim: CounterClaim, entry: Entry) -> dict[str, float]:
    """Scores of a claim's evidence, by sample id.

    Raises:
        ResultError: If the attack cannot be repeated by the harness, or a row is not of the claim's episode.
    """
    where = f"counter/{folder.name}"
    if (folder / "perturbation.safetensors").exists():
        raise ResultError(f"{where}: perturbations need no attack; hand in one of the two")
    card = build_attack(str(claim.attack)).card
    if card.knowledge not in REPEATED or card.uses_masks or card.uses_foreground or card.norm != "Linf":
        raise ResultError(f"{where}: the harness cannot repeat {claim.attack} by itself; hand in perturbations")
    rows = read_scores(folder / "evidence.parquet")
    result = entry.result
    stated: dict[str, object] = {
        "dataset": result.dataset.name,
        "detector": result.detector.name,
        "attack": claim.attack,
    }
    stated |= {"category": claim.category, "shots": claim.shots, "seed": claim.seed}
    stated |= {"attack": claim.attack, "goal": "two_sided", "budget": claim.budget}
    for name, value in stated.items():
        if not (rows[name] == value).all():
            raise ResultError(f"{where}: evidence.parquet: {name} must be {value!r} in every row")
    known = _labels(claim, entry)
    for name, label in zip(rows["sample_id"], rows["label"], strict=True):
        if known.get(name) != label:
            raise ResultError(f"{where}: {name[:80]!r} with label {label} is no query image of that episode")
    if rows.empty:
        raise ResultError(f"{where}: no scores")
    return dict(zip(rows["sample_id"], rows["score"].astype(float), strict=True))


def _labels(claim: CounterClaim, entry: Entry) -> dict[str, int]:
    """Labels of the query images of the claim's episode, by sample id."""
    scores = entry.scores
    mine = scores[(scores["category"] == claim.category) & (scores["shots"] == claim.shots)]
    mine = mine[(mine["seed"] == claim.seed) & mine["attack"].isna()]
    return dict(zip(mine["sample_id"], mine["label"].tolist(), strict=True))


def perturbed_images(folder: Path, episode: EpisodeRows, deltas: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Sample ids with their perturbed images, range checked."""
    for sample, image in zip(episode.samples, episode.images, strict=True):
        if sample.id not in deltas:
            continue
        delta = deltas[sample.id]
        if delta.shape != image.shape:
            raise ResultError(f"counter/{folder.name}: {sample.id}: {tuple(delta.shape)}, not {tuple(image.shape)}")
        changed = image.to(torch.int16) + delta
        if int(changed.min()) < 0 or int(changed.max()) > 255:
            raise ResultError(f"counter/{folder.name}: {sample.id}: leaves the range 0..255")
        yield sample.id, changed.to(torch.uint8)


def attacked_episode(entry: Entry, dataset: Dataset, claim: CounterClaim) -> EpisodeRows:
    """The episode that a claim is about, with its images."""
    wanted = (claim.category, claim.shots, claim.seed)
    return next(e for e in episodes_in(entry, dataset) if (e.category, e.shots, e.seed) == wanted)
