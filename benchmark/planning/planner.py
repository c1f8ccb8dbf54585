"""From a command to the least set of passes.

`make_plan` expands a track over detectors, episodes, attacks and budgets into cells, drops those that are
already stored, and groups the rest by the images they score. One pass then serves every detector, shot count
and seed that can share it:

    clean, noise            one pass for all
    surrogate attacks       one pass per (attack, backbone, episode)
    white and black box     one pass per (attack, detector, episode)
    transfer                the white-box pass of the source detector, scored by the others too
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

from benchmark.datasets.files import FileDataset
from benchmark.errors import DataError, NotApplicableError, TrustADError, UsageError, WeightsError, shown
from benchmark.planning.address import attack_identity, key_of, masks_digest
from benchmark.planning.contract import check_dataset
from benchmark.planning.jobs import LEAVE_ONE_OUT, PROBES, REDUCED, CellSpec, DetectorSpec, Job
from benchmark.planning.passes import jobs_of
from benchmark.planning.workbench import Workbench, asked_detector, parse_detector, transfer_source
from benchmark.registry import DATASETS, DETECTORS
from benchmark.results.schema import Failure
from benchmark.storage.cells import CellStore, cell_address
from benchmark.tracks import Probe, Tier, Track, TrackDataset
from benchmark.types import Dataset, Episode, Manifest, Sample, keyed_seed
from benchmark.types.condition import budget_text
from benchmark.types.precision import Precision

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """What the command line leaves of a track; empty tuples and None mean "all of it"."""

    detectors: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    shots: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    attacks: tuple[str, ...] = ()
    budgets: tuple[Fraction, ...] = ()
    limit: int | None = None
    backbone: str | None = None
    options: tuple[tuple[str, str, Any], ...] = ()
    data_root: Path | None = None
    device: str = "cpu"
    precision: Precision = "float32"

    def restrictions(self) -> tuple[str, ...]:
        """What was left out of the track, in words; a restricted result is never ranked."""
        named = {
            "categories": self.categories,
            "shots": self.shots,
            "seeds": self.seeds,
            "attacks": self.attacks,
            "budgets": tuple(map(budget_text, self.budgets)),
        }
        words = [f"only {kind} {', '.join(map(str, chosen))}" for kind, chosen in named.items() if chosen]
        words += [f"at most {self.limit} images per class"] if self.limit else []
        return (*words, REDUCED) if self.precision != "float32" else tuple(words)


@dataclass(frozen=True, slots=True)
class PlannedDataset:
    """One data set of the plan: its index and every cell of every detector, stored or not."""

    dataset: Dataset
    manifest: Manifest
    categories: tuple[str, ...]
    limit: int | None
    episodes: Mapping[tuple[str, int, int], Episode]
    cells: tuple[CellSpec, ...]
    failures: tuple[tuple[DetectorSpec | None, Failure], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run will do and has done."""

    track: Track
    selection: Selection
    detectors: tuple[DetectorSpec, ...]
    datasets: tuple[PlannedDataset, ...]
    jobs: tuple[Job, ...]
    done: int

    @property
    def missing(self) -> int:
        """Cells still to compute."""
        return sum(len(p.cells) for job in self.jobs for p in job.passes)


def make_plan(track: Track, selection: Selection, store: CellStore, bench: Workbench) -> Plan:
    """Expand a track into jobs.

    Raises:
        UsageError: If the selection leaves nothing, naming the option.
        UnknownNameError, WeightsError, DataError: As building the parts raises them.
    """
    specs = detectors_of(track, selection)
    for spec in specs:
        bench.detector(spec)
    chosen = tuple(d for d in track.datasets if not selection.datasets or d.name in selection.datasets)
    _check_names("dataset", selection.datasets, (d.name for d in track.datasets), track.name)
    planned = tuple(_plan_dataset(entry, track, selection, specs, bench) for entry in chosen)
    if selection.categories:
        _check_names("category", selection.categories, (c for p in planned for c in _known(p)), track.name)
    if not any(p.cells for p in planned):
        reasons = [f.reason for p in planned for _, f in p.failures]
        raise UsageError(f"nothing to run: {reasons[0] if reasons else 'the selection leaves no cell of the track'}")
    stored = {c.address for p in planned for c in p.cells if c.address in store}
    jobs = [job for p in planned for job in jobs_of(p, stored, track, selection, bench)]
    return Plan(track, selection, specs, planned, tuple(jobs), len(stored))


def detectors_of(track: Track, selection: Selection) -> tuple[DetectorSpec, ...]:
    """The detectors of a selection with their backbones and options.

    Raises:
        UnknownNameError, UsageError: For a name, a backbone or an option that does not fit.
    """
    default = selection.backbone or track.backbone
    asked = asked_detector if selection.detectors and selection.backbone else parse_detector
    specs = dict.fromkeys(asked(name, default) for name in selection.detectors or track.detectors)
    for name, option, _ in selection.options:
        if name not in {spec.name for spec in specs}:
            raise UsageError(f"--option {name}.{option}: {name} is not among the detectors of this run")
    return tuple(
        replace(spec, options=tuple((option, value) for name, option, value in selection.options if name == spec.name))
        for spec in specs
    )


def check_selection(track: Track, selection: Selection) -> None:
    """Refuse what cannot be run, before anything heavy is imported or read.

    Raises:
        UnknownNameError, UsageError: For names of detectors and data sets, backbones and options that do not fit.
        DataError: For a data set that is not there.
    """
    for name in (text.partition("@")[0] for text in selection.detectors if ":" not in text):
        DETECTORS.check(name)
    names = [entry.name for entry in track.datasets]
    _check_names("dataset", selection.datasets, names, track.name)
    for name in selection.datasets or names:
        factory = DATASETS.get(name)
        if isinstance(factory, type) and issubclass(factory, FileDataset) and factory(None).root is None:
            factory(selection.data_root).present()
    detectors_of(track, selection)


def _check_names(kind: str, asked: Iterable[str], known: Iterable[str], track: str) -> None:
    allowed = sorted(set(known))
    for name in asked:
        if name not in allowed:
            raise UsageError(f"{kind} {name!r} is not part of track {track!r}; it has {', '.join(allowed)}")


def _known(planned: PlannedDataset) -> tuple[str, ...]:
    return (*planned.dataset.info.categories, *planned.manifest.categories())


def _plan_dataset(
    entry: TrackDataset, track: Track, selection: Selection, specs: tuple[DetectorSpec, ...], bench: Workbench
) -> PlannedDataset:
    dataset: Dataset = DATASETS.get(entry.name)(selection.data_root)
    wanted = entry.categories or dataset.info.categories
    asked = tuple(c for c in selection.categories if c in wanted or not wanted)
    categories = asked or (() if selection.categories else wanted)
    manifest = dataset.index(categories or None)
    categories = categories or (() if selection.categories else manifest.categories())
    check_dataset(dataset, categories)
    limit = min(filter(None, (entry.limit, selection.limit)), default=None)
    found = set(manifest.categories())
    failures: list[tuple[DetectorSpec | None, Failure]] = []
    episodes: dict[tuple[str, int, int], Episode] = {}
    for category in categories:
        if category not in found:
            where = shown(f" in {dataset.root}") if dataset.root else ""
            failures.append((None, Failure(category=category, reason=f"no folder {category!r}{where}")))
            continue
        for shots, seed in _episodes_of(track, selection):
            try:
                episodes[category, shots, seed] = _episode(dataset, manifest, category, shots, seed, limit)
            except DataError as error:
                failures.append((None, Failure(category=category, shots=shots, seed=seed, reason=str(error))))
    cells = (
        *_cells(dataset, episodes, track, selection, specs, bench, failures),
        *_probe_cells(dataset, episodes, track, selection, specs, bench),
    )
    return PlannedDataset(dataset, manifest, tuple(categories), limit, episodes, cells, tuple(failures))


def _episode(dataset: Dataset, manifest: Manifest, category: str, shots: int, seed: int, limit: int | None) -> Episode:
    from benchmark.data.episodes import sample_episode

    return sample_episode(dataset, manifest, category, shots, seed, limit)


def _chosen(values: Iterable[T], selected: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(v for v in values if not selected or v in selected)


def _episodes_of(track: Track, selection: Selection) -> list[tuple[int, int]]:
    pairs = {
        (shots, seed)
        for tier in track.tiers
        for shots in _chosen(tier.shots, selection.shots)
        for seed in _chosen(tier.seeds, selection.seeds)
    }
    if not pairs:
        raise UsageError(
            f"track {track.name!r} has no episode with shots {selection.shots} and seeds {selection.seeds}"
        )
    return sorted(pairs)


def _conditions(tier: Tier, selection: Selection) -> Iterator[tuple[str | None, Fraction | None]]:
    if not tier.attacks:
        yield None, None
    for attack in tier.attacks:
        if not selection.attacks or attack in selection.attacks:
            for budget in _chosen(tier.budgets, selection.budgets):
                yield attack, budget


def _cells(
    dataset: Dataset,
    episodes: Mapping[tuple[str, int, int], Episode],
    track: Track,
    selection: Selection,
    specs: tuple[DetectorSpec, ...],
    bench: Workbench,
    failures: list[tuple[DetectorSpec | None, Failure]],
) -> Iterator[CellSpec]:
    seen: set[tuple[Any, ...]] = set()
    refused: set[tuple[Any, ...]] = set()
    for tier in sorted(track.tiers, key=lambda t: t.subset_per_class is not None):
        subset = _subset(tier, episodes)
        for (category, shots, seed), episode in episodes.items():
            if shots not in tier.shots or seed not in tier.seeds:
                continue
            samples = tuple(s for s in episode.query if subset is None or s.id in subset)
            for spec in specs:
                for attack, budget in _conditions(tier, selection):
                    identity = (spec, category, shots, seed, attack, budget)
                    if identity in seen or not samples:
                        continue
                    seen.add(identity)
                    try:
                        _check_applicable(bench, track, dataset, spec, attack, shots)
                    except (NotApplicableError, WeightsError) as error:
                        if identity[:5] not in refused:
                            refused.add(identity[:5])
                            failures.append((spec, _refused(identity, error)))
                        continue
                    yield _cell(bench, track, selection, dataset, episode, spec, attack, budget, samples)


def _probe_cells(
    dataset: Dataset,
    episodes: Mapping[tuple[str, int, int], Episode],
    track: Track,
    selection: Selection,
    specs: tuple[DetectorSpec, ...],
    bench: Workbench,
) -> Iterator[CellSpec]:
    """The experiments beside the grid; `--attack` selects them by their names too."""
    for probe in track.probes:
        if selection.attacks and probe.name not in selection.attacks:
            continue
        subset = _subset(probe, episodes)
        for (_, shots, seed), episode in episodes.items():
            of_query = tuple(s for s in episode.query if subset is None or s.id in subset)
            samples = episode.support if probe.name == LEAVE_ONE_OUT else of_query
            if shots not in probe.shots or seed not in probe.seeds or not samples:
                continue
            for spec, value in product(specs, probe.values):
                yield _probe_cell(track, selection, dataset, episode, bench, spec, (probe.name, value), samples)


def _refused(identity: tuple[Any, ...], error: TrustADError) -> Failure:
    kind: Literal["failed", "not_applicable"] = "not_applicable" if isinstance(error, NotApplicableError) else "failed"
    _, category, shots, seed, attack = identity[:5]
    return Failure(kind=kind, category=category, shots=shots, seed=seed, attack=attack, reason=str(error))


def _subset(tier: Tier | Probe, episodes: Mapping[tuple[str, int, int], Episode]) -> set[str] | None:
    """Hash-chosen sample ids of an audit tier; None = all."""
    if tier.subset_per_class is None:
        return None
    queries = {category: episode.query for (category, _, _), episode in episodes.items()}
    categories = sorted(queries, key=lambda name: keyed_seed("audit", name))[: tier.subset_categories]
    chosen: set[str] = set()
    for category in categories:
        for label in (0, 1):
            ids = [s.id for s in queries[category] if s.label == label]
            chosen.update(sorted(ids, key=lambda i: keyed_seed("audit", i))[: tier.subset_per_class])
    return chosen


def _check_applicable(
    bench: Workbench, track: Track, dataset: Dataset, spec: DetectorSpec, attack_name: str | None, shots: int
) -> None:
    detector = bench.detector(spec)
    if shots == 0 and not detector.card.zero_shot:
        raise NotApplicableError("the detector needs at least one normal image")
    if attack_name is None:
        return
    attack = bench.attack(attack_name)
    knowledge = attack.card.knowledge
    if knowledge == "surrogate" and (detector.extractor is None or shots == 0):
        raise NotApplicableError("the surrogate head needs backbone features and support images")
    if knowledge == "white_box" and not detector.card.differentiable:
        raise NotApplicableError("the detector declares differentiable = False")
    if knowledge == "transfer":
        _check_source(bench, spec, transfer_source(attack, track))
    if attack.card.uses_masks and not dataset.info.has_masks:
        raise NotApplicableError("the data set has no masks")


def _check_source(bench: Workbench, spec: DetectorSpec, source: DetectorSpec) -> None:
    """Without the source's weights only the transfer is missing from the grid."""
    if spec == source:
        raise NotApplicableError("the detector is the source of the transfer")
    try:
        bench.detector(source)
    except WeightsError as error:
        raise WeightsError(f"source of the transfer, {source.label}: {error}") from error


def _cell(
    bench: Workbench,
    track: Track,
    selection: Selection,
    dataset: Dataset,
    episode: Episode,
    spec: DetectorSpec,
    attack_name: str | None,
    budget: Fraction | None,
    samples: tuple[Sample, ...],
) -> CellSpec:
    attack = bench.attack(attack_name) if attack_name else None
    pixels = _wants_pixels(bench, track, dataset, spec, episode, budget)
    key = key_of(track, selection, dataset, episode, bench, spec, samples) | {
        "attack": None if attack is None else attack_identity(bench, track, attack),
        "budget": None if budget is None else budget_text(budget),
        "pixels": pixels,
    }
    key |= {"masks": masks_digest(samples) if pixels or (attack and attack.card.uses_masks) else None}
    address = cell_address(key)
    return CellSpec(spec, episode.shots, episode.seed, attack_name, budget, samples, pixels, key, address)


def _probe_cell(
    track: Track,
    selection: Selection,
    dataset: Dataset,
    episode: Episode,
    bench: Workbench,
    spec: DetectorSpec,
    probe: tuple[str, float],
    samples: tuple[Sample, ...],
) -> CellSpec:
    key = key_of(track, selection, dataset, episode, bench, spec, samples) | {"probe": [*probe, PROBES[probe[0]]]}
    address = cell_address(key)
    return CellSpec(spec, episode.shots, episode.seed, None, None, samples, False, key, address, probe)


def _wants_pixels(
    bench: Workbench, track: Track, dataset: Dataset, spec: DetectorSpec, episode: Episode, budget: Fraction | None
) -> bool:
    """At the ranked shots: clean for all seeds, attacked for the first seed and the smallest ranked budget >= 2."""
    if not (dataset.info.has_masks and bench.detector(spec).card.has_map and episode.shots == track.ranked_shots):
        return False
    shown = next((n for n in track.ranked_budgets if n >= 2), track.ranked_budgets[0])
    return budget is None or (episode.seed == 0 and budget == shown)
