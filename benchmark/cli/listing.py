"""`trustad list`: what is registered. Imports no torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from benchmark.errors import TrustADError, shown, told
from benchmark.registry import ATTACKS, BACKBONES, DATASETS, DETECTORS, Registry, load_attribute

app = cyclopts.App(name="list", help="List detectors, backbones, attacks, data sets, metrics or tracks.")
Json = Annotated[bool, Parameter(name="--json", negative="")]
FLAGS = ("zero_shot", "few_shot", "transductive", "auxiliary_labels", "random_weights")


@app.command
def detectors(*, as_json: Json = False) -> None:
    """Registered detectors with their flags."""
    cards: dict[str, Any] = load_attribute("detectors.cards:CARDS")
    _show(rows_of(DETECTORS, lambda name: _detector_row(name, cards.get(name))), as_json=as_json)


def rows_of(registry: Registry[Any], row: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each name; what a third party registered and cannot be shown is one line on stderr."""
    rows = []
    for name in registry:
        try:
            rows.append(row(name))
        except (TrustADError, AttributeError) as error:
            print(f"left out: {registry.kind} {name}: {told(error)}", file=sys.stderr)
    for name, fault in registry.faults().items():
        if name not in registry:
            print(f"left out: {registry.kind} {shown(name)} {fault}", file=sys.stderr)
    return rows


def _detector_row(name: str, card: Any) -> dict[str, Any]:
    card = card or DETECTORS.get(name).card
    flags = [flag.replace("_", "-") for flag in FLAGS if getattr(card, flag)]
    flags += [] if card.differentiable else ["not differentiable"]
    return {"name": name, "title": card.title, "flags": flags, "paper": card.paper}


@app.command
def attacks(*, as_json: Json = False) -> None:
    """Registered attacks with what the attacker must know."""
    cards: dict[str, Any] = load_attribute("attacks.cards:CARDS")
    _show(rows_of(ATTACKS, lambda name: _attack_row(name, cards.get(name))), as_json=as_json)


def _attack_row(name: str, card: Any) -> dict[str, Any]:
    card = card or ATTACKS.get(name).card
    return {"name": name, "knowledge": card.knowledge, "norm": card.norm, "summary": card.summary}


@app.command
def datasets(*, as_json: Json = False) -> None:
    """Registered data sets."""
    rows = rows_of(DATASETS, lambda name: {"name": name, "title": DATASETS.get(name)(None).info.title})
    _show(rows, as_json=as_json)


@app.command
def backbones(*, as_json: Json = False) -> None:
    """Backbones: those that ship, and those whose weights can be fetched; `NAME@BACKBONE` chooses one."""
    table: dict[str, Any] = load_attribute("detectors.backbones.weights:WEIGHTS")
    rows: list[dict[str, Any]] = [{"name": name, "weights": "shipped", "licence": ""} for name in BACKBONES]
    rows += [{"name": w.name, "weights": _size(w.megabytes), "licence": w.licence} for w in table.values()]
    _show(rows, as_json=as_json)


def _size(megabytes: int | None) -> str:
    return f"{megabytes} MB" if megabytes else "size unknown"


@app.command
def metrics(*, as_json: Json = False) -> None:
    """Metrics with version, direction and definition."""
    from benchmark.metrics import METRICS

    rows = []
    for name in METRICS:
        metric = METRICS.get(name)
        rows.append({"name": name, "version": metric.version, "level": metric.level, "definition": metric.formula})
    _show(rows, as_json=as_json)


@app.command
def tracks(*, as_json: Json = False) -> None:
    """Tracks: the fixed grids."""
    from benchmark.tracks import load_track, track_names

    rows = [load_track(name).model_dump(include={"name", "version", "summary"}) for name in track_names()]
    _show(rows, as_json=as_json)


def _show(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(rows), indent=1, ensure_ascii=False))
        return
    names = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        rest = [", ".join(v) if isinstance(v, list) else str(v) for k, v in row.items() if k != "name" and v]
        print(f"{row['name']:{names}s}  {'  '.join(rest)}")
