"""What lies in a run folder: its cells by condition, what is damaged in it, and what nothing will ask for again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import ResultError, TrustADError, UsageError
from benchmark.planning.workbench import build_attack
from benchmark.registry import DATASETS, DETECTORS, load_attribute
from benchmark.results.schema import PROTOCOL_VERSION, load_result
from benchmark.storage.cells import Cell, CellStore, run_lock
from benchmark.storage.jsonio import digest_file
from benchmark.storage.scratch import sweep


@dataclass
class Contents:
    """The cells of one detector and data set.

    Attributes:
        conditions: Cells by attack or probe; ``clean`` for the query images as they are.
        images: Scores in all of them.
        seconds: Time that they took, by their own record.
    """

    detector: str
    dataset: str
    conditions: dict[str, int]
    images: int = 0
    seconds: float = 0.0


def open_store(run: Path) -> CellStore:
    """The cells of an existing run folder.

    Raises:
        UsageError: If there are none.
    """
    store = CellStore(run)
    if not store.folder.is_dir():
        raise UsageError(f"{run} is no run folder: it has no cells/; give the --out of a `trustad run`")
    return store


def contents(store: CellStore) -> list[Contents]:
    """What is stored, by detector and data set; damaged cells are left out."""
    found: dict[tuple[str, str], Contents] = {}
    for cell in _sound(store):
        place = (cell.key["detector"]["name"], cell.key["dataset"][0])
        entry = found.setdefault(place, Contents(*place, {}))
        condition = _condition(cell.key)
        entry.conditions[condition] = entry.conditions.get(condition, 0) + 1
        entry.images += cell.scores.size
        entry.seconds += cell.seconds
    return [found[place] for place in sorted(found)]


def faults(run: Path) -> Iterator[str]:
    """One line for each cell whose digest does not hold, each result that breaks the schema, and each evidence file
    that is not the one its result was computed from. Reads only.
    """
    store = open_store(run)
    for address in store.addresses():
        if fault := store.fault(address):
            yield f"{store.path(address).relative_to(run)}: {fault}"
    for path in sorted(run.glob("*/results/*.json")):
        try:
            result = load_result(path)
        except ResultError as error:
            yield str(error)
            continue
        for part in result.evidence:
            evidence = path.parents[1] / "evidence" / part.file
            if not evidence.is_file():
                yield f"{evidence.relative_to(run)}: missing"
            elif digest_file(evidence) != part.sha256:
                yield f"{evidence.relative_to(run)}: the digest differs from the one in {path.relative_to(run)}"


def collect_garbage(run: Path, *, dry_run: bool) -> Iterator[tuple[Path, str]]:
    """Remove damaged cells, cells that no plan of this version can ask for, and what killed runs left.

    Yields:
        Every path with the reason; with ``dry_run`` nothing is removed and temporary files are not listed.

    Raises:
        StoreError: If a run is using the folder.
    """
    store = open_store(run)
    with run_lock(run):
        if not dry_run:
            yield from ((path, "left by a killed run") for path in sweep(run))
        for address in store.addresses():
            if reason := store.fault(address) or _superseded(store.load(address)):
                if not dry_run:
                    store.path(address).unlink()
                yield store.path(address), reason


def _sound(store: CellStore) -> Iterator[Cell]:
    for address in store.addresses():
        if not store.fault(address) and (cell := store.load(address)):
            yield cell


def _condition(key: Mapping[str, Any]) -> str:
    if key.get("probe"):
        return str(key["probe"][0])
    return str(key["attack"]["name"]) if key.get("attack") else "clean"


def _superseded(cell: Cell | None) -> str:
    """Which part of the key has another version now; "" for a cell that can be asked for."""
    assert cell is not None
    key = cell.key
    if key["protocol"] != PROTOCOL_VERSION:
        return f"protocol {key['protocol']}, now {PROTOCOL_VERSION}"
    parts = [("detector", key["detector"]["name"].partition("@")[0], key["detector"]["version"])]
    parts.append(("data set", key["dataset"][0], key["dataset"][1]))
    if attack := key.get("attack"):
        parts.append(("attack", attack["name"], attack["version"]))
    for kind, name, stored in parts:
        now = _version(kind, name)
        if now not in (None, stored):
            return f"{kind} {name} version {stored}, now {now}"
    return ""


def _version(kind: str, name: str) -> int | None:
    """The version of today; None where it is not known, such as another installation's plug-in."""
    try:
        if kind == "data set":
            return int(DATASETS.get(name)(None).info.version)
        if kind == "attack":
            return build_attack(name).card.version
        cards: Mapping[str, Any] = load_attribute("detectors.cards:CARDS")
        card = cards.get(name) or getattr(DETECTORS.get(name), "card", None)
        return None if card is None else int(card.version)
    except TrustADError:
        return None
