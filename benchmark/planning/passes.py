"""Groups missing cells into passes: every cell that scores the same images shares one stream of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from benchmark.planning.jobs import CellSpec, DetectorSpec, EpisodeSpec, Job, PassSpec
from benchmark.planning.workbench import Workbench, transfer_source

if TYPE_CHECKING:
    from benchmark.planning.planner import PlannedDataset, Selection
    from benchmark.tracks import Track


def jobs_of(
    planned: PlannedDataset, stored: Set[str], track: Track, selection: Selection, bench: Workbench
) -> Iterator[Job]:
    """One job for each category that misses cells."""
    for category in planned.categories:
        mine = [c for c in planned.cells if c.samples[0].category == category]
        missing = [c for c in mine if c.address not in stored]
        if missing:
            yield job_of(planned, category, track, selection, tuple(_passes(missing, track, bench)))


def job_of(
    planned: PlannedDataset, category: str, track: Track, selection: Selection, passes: tuple[PassSpec, ...]
) -> Job:
    """The job of one category with the given passes."""
    info = planned.dataset.info
    episodes = [e for (name, _, _), e in planned.episodes.items() if name == category]
    clean = [c for c in planned.cells if c.is_clean and c.samples[0].category == category]
    return Job(
        dataset=info.name,
        root=selection.data_root,
        category=category,
        class_name=info.class_names.get(category, category),
        canonical_edge=track.canonical_edge,
        chunk_size=track.chunk_size,
        device=selection.device,
        precision=selection.precision,
        query=episodes[0].query,
        episodes=tuple(EpisodeSpec(e.shots, e.seed, e.support) for e in episodes),
        passes=passes,
        clean={(c.detector.label, c.shots, c.seed): c.address for c in clean},
    )


def streams(passes: Iterable[PassSpec]) -> Iterator[tuple[PassSpec, ...]]:
    """Passes that run side by side: one attack through several surrogate heads shares the forward of the clean images.

    All others run alone, so that their cells are stored as soon as they can be.
    """
    grouped: dict[tuple[Any, ...], list[PassSpec]] = {}
    for place, spec in enumerate(passes):
        shared = (spec.attack, spec.extractor_of, spec.cells[0].key["query"])
        grouped.setdefault(shared if spec.extractor_of else (place,), []).append(spec)
    yield from map(tuple, grouped.values())


def _passes(cells: Sequence[CellSpec], track: Track, bench: Workbench) -> Iterator[PassSpec]:
    grouped: dict[tuple[Any, ...], list[CellSpec]] = {}
    probes = [cell for cell in cells if cell.probe is not None]
    for cell in cells:
        if cell.probe is None:
            grouped.setdefault(_pass_key(cell, track, bench), []).append(cell)
    for (attack, source, _, extractor_of, shots, seed, _), group in sorted(grouped.items(), key=_pass_order):
        budgets = tuple(sorted({cell.budget or Fraction(0) for cell in group}))
        yield PassSpec(attack, source, extractor_of, shots, seed, budgets, group[0].samples, tuple(group))
    for c in probes:
        yield PassSpec(None, c.detector, None, c.shots, c.seed, (), c.samples, (c,), c.probe)


def _pass_order(item: tuple[tuple[Any, ...], list[CellSpec]]) -> tuple[bool, int]:
    """Clean first: flag calibrators and map ranges come from it. Otherwise in the order of the track."""
    return (item[0][0] is not None, 0)


def _pass_key(cell: CellSpec, track: Track, bench: Workbench) -> tuple[Any, ...]:
    """(attack, source, features id, extractor_of, shots, seed, samples digest)."""
    query = cell.key["query"]
    if cell.attack is None:
        return (None, None, None, None, None, None, query)
    attack = bench.attack(cell.attack)
    knowledge = attack.card.knowledge
    if knowledge == "none":
        return (cell.attack, None, None, None, None, None, query)
    if knowledge == "surrogate":
        features = cell.key["detector"]["features"]
        first = _first_with(features, bench)
        return (cell.attack, None, features, first, cell.shots, cell.seed, query)
    if knowledge == "transfer":
        source = transfer_source(attack, track)
        return (str(attack.config["attack"]), source, None, None, cell.shots, cell.seed, query)
    return (cell.attack, cell.detector, None, None, cell.shots, cell.seed, query)


def _first_with(features: str, bench: Workbench) -> DetectorSpec:
    """One fixed detector per feature id, so that all detectors that share it share the pass."""
    return next(s for s, d in bench.detectors.items() if d.extractor is not None and d.extractor.id == features)
