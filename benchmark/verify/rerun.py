"""The spot re-run: the detector scores the demo track again, from isolation, and must give what its evidence says.

The harness (here) sends pixels in an order drawn by chance, so answers cannot be read off a list by position; twins
of every image with noise that nobody can foresee, so they cannot be read off a list by content; and freshly generated
images, so a list smoothed over its neighbourhood fails too.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmark.data.canonical import canonicalise
from benchmark.data.episodes import as_tensor
from benchmark.errors import ContractError, NotApplicableError, ResultError
from benchmark.execution.perturb import perturb
from benchmark.execution.target import BoundTarget
from benchmark.metrics.ranking import auroc_value
from benchmark.planning.workbench import build_attack
from benchmark.results.evidence import SCORE_COLUMNS
from benchmark.results.rows import MetricValue
from benchmark.scoring.score import score_evidence
from benchmark.scoring.validity import MAX_DEAD, dead_share
from benchmark.types import AttackBatch, CategoryInfo, Dataset, FittedDetector, Sample, keyed_seed
from benchmark.types.condition import budget_text, parse_budget
from benchmark.verify.data import indexed, opened
from benchmark.verify.fresh import OnFresh, check_fresh, fresh_images
from benchmark.verify.isolation import Limits
from benchmark.verify.sandbox.client import Served, ServedTransductive, serving
from benchmark.verify.subject import Entry, Subject

if TYPE_CHECKING:
    import pandas as pd

TRACK = "demo"
CLEAN_TOLERANCE = 1e-4
ATTACKED_TOLERANCE = 0.03
REPEATED = frozenset({"none", "white_box", "black_box"})
"""Knowledge whose attacks need nothing but scores and their gradient."""
ALIKE = 0.5
"""Least rank correlation of an episode's scores with those of its one-grey-level twins."""


@dataclass(frozen=True)
class EpisodeRows:
    """The evidence of one episode with its images.

    Attributes:
        rows: Evidence rows of the episode.
        samples: Query samples in manifest order.
        images: uint8 [3, h, w] canonical images, aligned.
    """

    category: str
    shots: int
    seed: int
    rows: pd.DataFrame
    samples: tuple[Sample, ...]
    images: tuple[Tensor, ...]


def check_rerun(subject: Subject, limits: Limits) -> str:
    """Run the detector on the demo track's episodes and compare with the evidence.

    Raises:
        NotApplicableError: If the submission has no demo result, or the detector cannot be re-run here.
        ResultError: Naming the first score or AUROC that differs.
    """
    entry = next((e for e in subject.entries if e.result.track.name == TRACK), None)
    if entry is None:
        raise NotApplicableError(f"no result on track {TRACK}; add one with `trustad run --track {TRACK}`")
    dataset = opened(entry, subject)
    if dataset is None:
        raise NotApplicableError("the demo data are not here")
    try:
        with served_detector(subject, entry, limits) as served:
            _check_reference(entry, served)
            again = _evidence(entry, dataset, served)
    except ContractError as error:
        raise ResultError(str(error)) from error
    return _compared(entry, again)


def _check_reference(entry: Entry, served: Served) -> None:
    """Card, flags, configuration and weights of the detector that runs are those of the result."""
    found = served.reference if isinstance(served.reference, dict) else {}
    for name, claimed in entry.result.detector.model_dump(mode="json").items():
        if found.get(name) != claimed:
            raise ResultError(
                f"detector.{name}: {str(claimed)[:80]} in the result, {str(found.get(name))[:80]} when run"
            )


@contextmanager
def served_detector(subject: Subject, entry: Entry, limits: Limits) -> Iterator[Served]:
    """The submission's detector, in isolation, as its result configures it."""
    detector = entry.result.detector
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in detector.config.items() if k != "backbone"}
    kind = detector.flags.transductive
    with (
        _code(subject) as folder,
        serving(folder, detector.family, detector.backbone, options, limits, transductive=kind) as served,
    ):
        yield served


@contextmanager
def _code(subject: Subject) -> Iterator[Path | None]:
    """A folder with copies of detector.py and its weights alone: the evidence stays out of its sight."""
    if subject.code is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="trustad-code-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path in (subject.code, *sorted((subject.folder / "weights").glob("*.safetensors"))):
            shutil.copyfile(path, folder / path.name)
        yield folder


def _evidence(entry: Entry, dataset: Dataset, served: Served) -> pd.DataFrame:
    import pandas as pd

    parts, fresh = [], []
    for episode in episodes_in(entry, dataset):
        fit(entry, dataset, served, episode)
        clean = _clean(served, episode)
        _check_twins(served, episode, clean)
        if entry.result.dataset.name == "procedural":
            fresh.append(_on_fresh(entry, served, episode, clean))
        parts.append(_rows(entry, episode, clean, None, None))
        for attack, budgets in _attacks(entry, episode):
            for budget, scores in attacked_scores(entry, served, episode, attack, budgets):
                parts.append(_rows(entry, episode, scores, attack, budget_text(budget)))
    check_fresh(fresh)
    return pd.concat(parts, ignore_index=True)[SCORE_COLUMNS]


def episodes_in(entry: Entry, dataset: Dataset) -> Iterator[EpisodeRows]:
    """The episodes of a result's evidence with their images."""
    manifest = indexed(entry, dataset)
    edge = entry.track.canonical_edge
    for (category, shots, seed), rows in entry.episodes.items():
        wanted = set(rows["sample_id"])
        samples = tuple(s for s in manifest.of(category, "test") if s.id in wanted)
        images = tuple(as_tensor(canonicalise(dataset.image(s), edge)) for s in samples)
        yield EpisodeRows(category, shots, seed, rows, samples, images)


def fit(entry: Entry, dataset: Dataset, served: Served, episode: EpisodeRows) -> None:
    """Fit the served detector as the runner fits it for this episode."""
    reference = next(c for c in entry.result.dataset.categories if c.name == episode.category)
    support = next(s for s in reference.supports if (s.shots, s.seed) == (episode.shots, episode.seed))
    train = {s.id: s for s in indexed(entry, dataset).of(episode.category, "train")}
    originals = [torch.from_numpy(dataset.image(train[name]).copy()) for name in support.sample_ids]
    names = dataset.info.class_names
    info = CategoryInfo(dataset.info.name, episode.category, names.get(episode.category, episode.category))
    label = entry.result.detector.name
    seed = keyed_seed("fit", dataset.info.name, episode.category, episode.shots, episode.seed, label)
    edge = entry.track.canonical_edge
    if isinstance(served, ServedTransductive):
        query = {sample.id: image for sample, image in zip(episode.samples, episode.images, strict=True)}
        served.fit_query(info, originals, edge, seed, query)
    else:
        served.fit(info, originals, edge, seed)


def scorer(served: Served, sample_ids: Sequence[str]) -> FittedDetector:
    """The detector for query images; a transductive one leaves each of them out of its own references."""
    return served.excluding(sample_ids) if isinstance(served, ServedTransductive) else served


def _scores(served: Served, images: Sequence[Tensor], samples: Sequence[Sample] = ()) -> dict[int, float]:
    """Scores by place; the order in which they are asked for is drawn by chance. ``samples``: query images' own."""
    order = list(range(len(images)))
    secrets.SystemRandom().shuffle(order)
    found: dict[int, float] = {}
    for group in _groups(order, images):
        floats = torch.stack([images[place] for place in group]).float() / 255.0
        asked = scorer(served, [samples[place].id for place in group]) if samples else served
        found.update(zip(group, asked(floats).score.double().tolist(), strict=True))
    return found


def _groups(order: Sequence[int], images: Sequence[Tensor], size: int = 10) -> Iterator[list[int]]:
    """Batches of one shape."""
    for shape in sorted({tuple(images[place].shape) for place in order}):
        alike = [place for place in order if tuple(images[place].shape) == shape]
        yield from (alike[start : start + size] for start in range(0, len(alike), size))


def _clean(served: Served, episode: EpisodeRows) -> np.ndarray:
    found = _scores(served, episode.images, episode.samples)
    scores = np.array([found[place] for place in range(len(episode.samples))])
    claimed = _claimed_clean(episode)
    span = float(np.ptp(list(claimed.values())))
    for sample, score in zip(episode.samples, scores, strict=True):
        given = claimed[sample.id]
        if abs(score - given) > CLEAN_TOLERANCE * max(abs(given), span):
            raise ResultError(f"{sample.id}: clean score {given:.6g} in the evidence, {score:.6g} when run again")
    return scores


def _claimed_clean(episode: EpisodeRows) -> dict[str, float]:
    """Clean scores of the evidence, by sample id."""
    rows = episode.rows[episode.rows["attack"].isna()]
    return dict(zip(rows["sample_id"], rows["score"].astype(float), strict=True))


def _check_twins(served: Served, episode: EpisodeRows, clean: np.ndarray) -> None:
    """One grey level of unforeseeable noise must leave the order of the scores mostly as it is."""
    from scipy.stats import spearmanr

    generator = torch.Generator().manual_seed(secrets.randbits(62))
    twins = []
    for image in episode.images:
        step = torch.randint(0, 2, image.shape, generator=generator, dtype=torch.int16) * 2 - 1
        twins.append((image.to(torch.int16) + step).clamp(0, 255).to(torch.uint8))
    found = _scores(served, twins, episode.samples)
    scores = np.array([found[place] for place in range(len(twins))])
    if np.ptp(scores) == 0 or np.ptp(clean) == 0 or spearmanr(clean, scores).statistic < ALIKE:
        raise ResultError(
            f"{episode.category}: one grey level of noise leaves nothing of the order of the scores; stored answers?"
        )


def _on_fresh(entry: Entry, served: Served, episode: EpisodeRows, clean: np.ndarray) -> OnFresh:
    """The clean AUROC of the evidence beside that on images that nobody has seen."""
    images, anomalous = fresh_images(episode.category, {s.defect for s in episode.samples if s.label})
    edge = entry.track.canonical_edge
    found = _scores(served, [as_tensor(canonicalise(image, edge)) for image in images])
    scores = np.array([found[place] for place in range(len(images))])
    known = np.array([bool(s.label) for s in episode.samples])
    return OnFresh(
        claimed=auroc_value(clean[known], clean[~known]),
        claimed_n=int(min(known.sum(), (~known).sum())),
        found=auroc_value(scores[anomalous], scores[~anomalous]),
        found_n=int(anomalous.sum()),
    )


def _attacks(entry: Entry, episode: EpisodeRows) -> Iterator[tuple[str, list[Fraction]]]:
    knowledge = {a.name: a.knowledge for a in entry.result.attacks}
    for attack, rows in episode.rows[episode.rows["attack"].notna()].groupby("attack", observed=True):
        if knowledge[str(attack)] in REPEATED:
            yield str(attack), sorted({parse_budget(str(e)) for e in rows["budget"]})


def attacked_scores(
    entry: Entry, served: Served, episode: EpisodeRows, name: str, budgets: Sequence[Fraction]
) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Budgets with the scores [n] of the episode's images under an attack; nothing if it does not apply.

    Raises:
        ResultError: If a white-box attack finds no gradients where the result says that it has them.
    """
    attack = build_attack(name)
    draws = 1 if entry.result.detector.flags.deterministic else 8
    scores = {budget: np.zeros(len(episode.samples)) for budget in budgets}
    dead = np.zeros(len(episode.samples), bool)
    order = list(range(len(episode.samples)))
    secrets.SystemRandom().shuffle(order)
    for group in _groups(order, episode.images):
        ids = tuple(episode.samples[place].id for place in group)
        images = torch.stack([episode.images[place] for place in group])
        batch = AttackBatch(images, torch.tensor([episode.samples[place].label for place in group]), ids)
        target = BoundTarget(served, ids, draws=draws)
        try:
            with torch.no_grad():
                for budget, changed in zip(
                    budgets, perturb(attack, target, batch, [int(n) for n in budgets]), strict=True
                ):
                    scores[budget][group] = scorer(served, ids)(changed.float() / 255.0).score.double().numpy()
        except NotApplicableError:
            return
        dead[group] = target.dead.numpy()
    if attack.card.knowledge == "white_box":
        _check_gradients(entry, episode, dead)
    yield from scores.items()


def _check_gradients(entry: Entry, episode: EpisodeRows, dead: np.ndarray) -> None:
    """A row whose gradients are said to be alive must have them here too."""
    claimed = next((c.status for c in entry.result.validity.checks if c.name == "gradients"), "pass")
    labels = torch.tensor([s.label for s in episode.samples])
    clean = torch.tensor([_claimed_clean(episode)[s.id] for s in episode.samples])
    share = dead_share(torch.from_numpy(dead), clean, labels)
    if claimed == "pass" and share > MAX_DEAD:
        raise ResultError(f"{episode.category}: {share:.0%} of the images have zero gradients when run again")


def _rows(
    entry: Entry, episode: EpisodeRows, scores: np.ndarray, attack: str | None, budget: str | None
) -> pd.DataFrame:
    import pandas as pd

    result = entry.result
    return pd.DataFrame(
        {
            "dataset": result.dataset.name,
            "category": episode.category,
            "sample_id": [s.id for s in episode.samples],
            "label": np.array([s.label for s in episode.samples], np.int8),
            "detector": result.detector.name,
            "shots": episode.shots,
            "seed": episode.seed,
            "attack": pd.Series([attack] * len(scores), dtype=object),
            "goal": pd.Series([attack and "two_sided"] * len(scores), dtype=object),
            "budget": pd.Series([budget] * len(scores), dtype=object),
            "score": scores.astype(np.float32),
        }
    )


def _compared(entry: Entry, again: pd.DataFrame) -> str:
    """Attacked AUROCs of both, within 0.03 and the re-run's own interval."""
    compared, worst = 0, 0.0
    for value in score_evidence(again, None, entry.rules).values:
        if value.metric != "auroc_robust" or value.attack in (None, "worst_case") or value.goal != "two_sided":
            continue
        if value.category is not None or value.value is None:
            continue
        claimed = entry.result.scored.find(
            "auroc_robust", shots=value.shots, attack=value.attack, goal="two_sided", budget=value.budget
        )
        if claimed is None or claimed.value is None:
            continue
        difference = abs(claimed.value - value.value)
        if difference > ATTACKED_TOLERANCE + _half(value):
            raise ResultError(
                f"{value.attack} at {value.budget}: AUROC {claimed.value:.3f} in the result, "
                f"{value.value:.3f} when run again"
            )
        compared, worst = compared + 1, max(worst, difference)
    return f"clean scores to {CLEAN_TOLERANCE:g}, {compared} attacked AUROCs, largest difference {worst:.4f}"


def _half(value: MetricValue) -> float:
    """Half the width of a value's interval."""
    return 0.0 if value.low is None or value.high is None else (value.high - value.low) / 2
