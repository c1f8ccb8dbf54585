"""Is the whole grid there? No category, seed, budget or image may be missing, unless the result says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, cast

from benchmark.errors import ResultError
from benchmark.planning.jobs import LEAVE_ONE_OUT, PROBES
from benchmark.planning.workbench import build_attack
from benchmark.registry import DATASETS
from benchmark.results.schema import Failure, RunResult
from benchmark.tracks import Probe, Tier, Track
from benchmark.types import keyed_seed
from benchmark.types.condition import budget_text
from benchmark.verify.subject import Entry, Subject

if TYPE_CHECKING:
    import pandas as pd

CellKey = tuple[str, int, int, str | None, str | None]  # category, shots, seed, attack, budget


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the track asks of a cell: images per class at most, None = every image of the episode."""

    per_class: int | None


def check_grid(subject: Subject) -> str:
    """Cells of the evidence against the track.

    Raises:
        ResultError: Naming the first cell that is missing, foreign or incomplete.
    """
    cells = 0
    for entry in subject.entries:
        name, result = entry.path.name, entry.result
        found = cells_of(entry)
        cells += len(found)
        wanted = wanted_cells(entry.track, asked_categories(entry), [c.name for c in result.dataset.categories])
        for key in found:
            if key not in wanted:
                raise ResultError(f"{name}: {_words(key)} is not part of track {result.track.name}")
        _check_restrictions(entry)
        if not result.track.restrictions:
            for key in sorted(set(wanted) - set(found), key=str):
                if not any(_explains(f, key) for f in result.failures):
                    raise ResultError(f"{name}: {_words(key)} is missing, and no failure explains it")
        for failure in result.failures:
            _check_excuse(name, failure, result)
        _check_counts(entry, found, wanted)
        _check_probes(entry)
    return f"{cells} cells, none missing"


def _check_probes(entry: Entry) -> None:
    """Every experiment beside the grid is there, on the track's images, or a failure says why not; none is foreign."""
    result, rows = entry.result, entry.probes
    columns = ["probe", "value", "category", "shots", "seed"]
    found = set() if rows is None else set(rows[columns].drop_duplicates().itertuples(index=False, name=None))
    present = [c.name for c in result.dataset.categories]
    wanted = {
        (probe.name, value, category, shots, seed)
        for probe in entry.track.probes
        for category in chosen_categories(probe, asked_categories(entry), present)
        for value, shots, seed in product(probe.values, probe.shots, probe.seeds)
    }
    for name, value, category, shots, seed in sorted(found - wanted):
        raise ResultError(
            f"{entry.path.name}: {name} {value:g} in {category}, {shots}-shot, seed {seed}: not in the track"
        )
    for name, value, category, shots, seed in sorted(wanted - found) if not result.track.restrictions else ():
        if not any(_explains(f, (category, shots, seed, name, None)) for f in result.failures):
            where = f"{category}, {shots}-shot, seed {seed}, {name} {value:g}"
            raise ResultError(f"{entry.path.name}: {where} is missing, and no failure explains it")
    if rows is not None:
        _check_probed_images(entry, rows)


def _check_probed_images(entry: Entry, rows: pd.DataFrame) -> None:
    supports = {
        (c.name, s.shots, s.seed): set(s.sample_ids) for c in entry.result.dataset.categories for s in c.supports
    }
    per_class = {probe.name: probe.subset_per_class for probe in entry.track.probes}
    for key, part in rows.groupby(["probe", "category", "shots", "seed"]):
        name, category, shots, seed = cast("tuple[str, str, int, int]", key)
        if name == LEAVE_ONE_OUT:
            wanted = supports.get((category, shots, seed))
        else:
            episode = entry.episodes.get((category, shots, seed))
            wanted = None if episode is None else _chosen_images(episode, per_class[name])
        if any(set(cell["sample_id"]) != wanted for _, cell in part.groupby(["value", "draw"])):
            raise ResultError(f"{entry.path.name}: {category}: {name}: not the images that the track chooses")


def _chosen_images(episode: pd.DataFrame, per_class: int | None) -> set[str]:
    """The images of a part of the track: all, or a few hash-chosen ones of each class."""
    clean = episode[episode["attack"].isna()]
    groups = [rows["sample_id"] for _, rows in clean.groupby("label")]
    by_class = [sorted(ids, key=lambda name: keyed_seed("audit", name)) for ids in groups]
    return {name for names in by_class for name in names[:per_class]}


def chosen_categories(part: Tier | Probe, categories: Sequence[str], present: Sequence[str]) -> Sequence[str]:
    """The categories of a part of the track: all, or a few hash-chosen ones of those ``present``, which have images."""
    if part.subset_per_class is None:
        return categories
    return sorted(present, key=lambda name: keyed_seed("audit", name))[: part.subset_categories]


def cells_of(entry: Entry) -> dict[CellKey, int]:
    """Images of each cell in the evidence."""
    columns = ["category", "shots", "seed", "attack", "budget"]
    sizes = entry.scores.groupby(columns, dropna=False, observed=True).size()
    keys = [cast("tuple[Any, ...]", key) for key in sizes.index]
    cells = [cast(CellKey, tuple(None if part != part else part for part in key)) for key in keys]
    return dict(zip(cells, map(int, sizes), strict=True))


def wanted_cells(track: Track, categories: Sequence[str], present: Sequence[str]) -> Mapping[CellKey, Wanted]:
    """Every cell of a track on some categories; the tier with the most images counts.

    Tiers on a few categories choose them by hash among those ``present``, which have images.
    """
    wanted: dict[CellKey, Wanted] = {}
    for tier in sorted(track.tiers, key=lambda t: t.subset_per_class is not None):
        conditions: list[tuple[str | None, str | None]] = [
            (a, budget_text(n)) for a in tier.attacks for n in tier.budgets
        ] or [(None, None)]
        chosen = chosen_categories(tier, categories, present)
        for key in product(chosen, tier.shots, tier.seeds, conditions):
            category, shots, seed, (attack, budget) = key
            wanted.setdefault((category, shots, seed, attack, budget), Wanted(tier.subset_per_class))
    return wanted


def asked_categories(entry: Entry) -> tuple[str, ...]:
    """As the planner chose them: the named ones where the run was restricted, else the track's."""
    result = entry.result
    listed = next(d.categories for d in entry.track.datasets if d.name == result.dataset.name)
    known = listed or tuple(DATASETS.get(result.dataset.name)(None).info.categories)
    if not any(words.startswith("only categories ") for words in result.track.restrictions):
        return known
    named = {c.name for c in result.dataset.categories} | {f.category for f in result.failures}
    return tuple(c for c in known if c in named)


def _check_restrictions(entry: Entry) -> None:
    """A result is complete when nothing was left out and nothing failed; it may not say otherwise."""
    track, failures = entry.result.track, entry.result.failures
    complete = not track.restrictions and all(f.kind == "not_applicable" for f in failures)
    if track.complete != complete:
        raise ResultError(f"{entry.path.name}: complete is {track.complete}, by its own lists it is {complete}")


def _explains(failure: Failure, key: CellKey) -> bool:
    category, shots, seed, attack, _ = key
    return (
        failure.category == category
        and failure.shots in (None, shots)
        and failure.seed in (None, seed)
        and failure.attack in (None, attack)
    )


def _check_excuse(name: str, failure: Failure, result: RunResult) -> None:
    """`not_applicable` keeps a result complete, so only what the flags and the data set bear out may claim it."""
    if failure.kind == "failed" or failure.attack in PROBES:
        return
    flags, dataset = result.detector.flags, result.dataset
    if failure.attack is None:
        excused = failure.shots == 0 and not flags.zero_shot
    else:
        card = build_attack(failure.attack).card
        excused = (
            card.knowledge in ("surrogate", "transfer")
            or (card.knowledge == "white_box" and not flags.differentiable)
            or (card.uses_masks and not (dataset.has_masks and flags.has_map))
            or card.uses_foreground
        )
    if not excused:
        what = failure.attack or "the clean pass"
        raise ResultError(f"{name}: {failure.category}: {what} applies to this detector; run it or mark it failed")


def _check_counts(entry: Entry, found: Mapping[CellKey, int], wanted: Mapping[CellKey, Wanted]) -> None:
    name = entry.path.name
    stated = {c.name: c for c in entry.result.dataset.categories}
    episodes = {key[:3] for key in found}
    for category, reference in stated.items():
        supports = {(category, s.shots, s.seed) for s in reference.supports}
        if {e for e in episodes if e[0] == category} - supports:
            raise ResultError(f"{name}: {category}: an episode without its support set")
    for key, count in found.items():
        category, shots, seed, attack, _ = key
        if category not in stated:
            raise ResultError(f"{name}: category {category!r} has evidence but no entry under dataset.categories")
        per_class = wanted[key].per_class
        whole = stated[category].normals + stated[category].anomalies
        if (attack is None or per_class is None) and count != whole:
            raise ResultError(f"{name}: {_words(key)} has {count} images of {whole}")
        if attack is not None and per_class is not None:
            _check_subset(entry, key, per_class)
        if attack is not None and (category, shots, seed, None, None) not in found:
            raise ResultError(f"{name}: {_words(key)} has no clean scores beside it")
    for attack_name, covers in _coverage(found, stated):
        claimed = next((a for a in entry.result.attacks if a.name == attack_name), None)
        if claimed is None:
            raise ResultError(f"{name}: attack {attack_name} has evidence but no entry under attacks")
        if claimed.full_coverage != (covers and build_attack(attack_name).card.full_coverage):
            raise ResultError(f"{name}: attack {attack_name}: full_coverage is {claimed.full_coverage}, not so here")


def _check_subset(entry: Entry, key: CellKey, per_class: int) -> None:
    """A tier on a part of the images has exactly the hash-chosen ones."""
    episode = entry.episodes[key[:3]]
    wanted = _chosen_images(episode, per_class)
    if set(episode[(episode["attack"] == key[3]) & (episode["budget"] == key[4])]["sample_id"]) != wanted:
        raise ResultError(f"{entry.path.name}: {_words(key)}: not the {len(wanted)} images that the track chooses")


def _coverage(found: Mapping[CellKey, int], stated: Mapping[str, object]) -> Iterator[tuple[str, bool]]:
    """For every attack, whether a tier runs it on all images of an episode."""
    for attack in sorted({key[3] for key in found if key[3] is not None}):
        mine = [(key, count) for key, count in found.items() if key[3] == attack]
        yield attack, any(count == found.get((*key[:3], None, None)) for key, count in mine)


def check_rows(subject: Subject) -> str:
    """Rows speak of the result's own detector and data set, and images keep their label in all conditions."""
    for entry in subject.entries:
        name, scores, result = entry.path.name, entry.scores, entry.result
        for frame in (scores, entry.pixels, entry.probes):
            if frame is None:
                continue
            if (distinct(frame, "detector"), distinct(frame, "dataset")) != (
                {result.detector.name},
                {result.dataset.name},
            ):
                raise ResultError(f"{name}: evidence of another detector or data set")
            if "goal" in frame and not distinct(frame, "goal") <= {"two_sided"}:
                raise ResultError(f"{name}: goals other than two_sided; the others are views of it")
        labels = scores.groupby("sample_id")["label"].nunique()
        if (labels > 1).any():
            raise ResultError(f"{name}: {labels.idxmax()} is normal in one row and anomalous in another")
        owners = scores.groupby("sample_id")["category"].nunique()
        if (owners > 1).any():
            raise ResultError(f"{name}: {owners.idxmax()} stands in two categories")
        _check_class_counts(entry)
    return "labels agree in all conditions"


def distinct(frame: pd.DataFrame, column: str) -> set[str]:
    """Texts of a column but null."""
    return set(frame[column].dropna().unique())


def _check_class_counts(entry: Entry) -> None:
    clean = entry.scores[entry.scores["attack"].isna()].drop_duplicates("sample_id")
    for category in entry.result.dataset.categories:
        mine = clean[clean["category"] == category.name]["label"]
        found = (int((mine == 0).sum()), int((mine == 1).sum()))
        if len(mine) and found != (category.normals, category.anomalies):
            raise ResultError(
                f"{entry.path.name}: {category.name} has {found[0]} normal and {found[1]} anomalous images, "
                f"the result says {category.normals} and {category.anomalies}"
            )


def limit_of(entry: Entry) -> int | None:
    """Query images per class: the track's limit, or a smaller one that the result says it was restricted to."""
    own = next(d.limit for d in entry.track.datasets if d.name == entry.result.dataset.name)
    said = [re.fullmatch(r"at most (\d{1,6}) images per class", words) for words in entry.result.track.restrictions]
    return min((n for n in (own, *(int(m[1]) for m in said if m)) if n), default=None)


def _words(key: CellKey) -> str:
    category, shots, seed, attack, budget = key
    return f"{category}, {shots}-shot, seed {seed}, {f'{attack} at {budget}' if attack else 'clean'}"
