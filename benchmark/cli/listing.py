"""`trustad list`: what is registered. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from benchmark.registry import ATTACKS, DATASETS, DETECTORS, load_attribute

app = cyclopts.App(name="list", help="List detectors, attacks, data sets, metrics or tracks.")
Json = Annotated[bool, Parameter(name="--json", negative="")]
FLAGS = ("zero_shot", "few_shot", "transductive", "auxiliary_labels", "random_weights")


@app.command
def detectors(*, as_json: Json = False) -> None:
    """Registered detectors with their flags."""
    cards: dict[str, Any] = load_attribute("detectors.cards:CARDS")
    rows = [_detector_row(name, cards.get(name)) for name in DETECTORS]
    _show(rows, as_json=as_json)


def _detector_row(name: str, card: Any) -> dict[str, Any]:
    card = card or DETECTORS.get(name).card
    flags = [flag.replace("_", "-") for flag in FLAGS if getattr(card, flag)]
    flags += [] if card.differentiable else ["not differentiable"]
    return {"name": name, "title": card.title, "flags": flags, "paper": card.paper}


@app.command
def attacks(*, as_json: Json = False) -> None:
    """Registered attacks with what the attacker must know."""
    cards: dict[str, Any] = load_attribute("attacks.cards:CARDS")
    rows = [{"name": name} | _attack_row(cards.get(name) or ATTACKS.get(name).card) for name in ATTACKS]
    _show(rows, as_json=as_json)


def _attack_row(card: Any) -> dict[str, Any]:
    return {"knowledge": card.knowledge, "norm": card.norm, "summary": card.summary}


@app.command
def datasets(*, as_json: Json = False) -> None:
    """Registered data sets."""
    rows = []
    for name in DATASETS:
        info = getattr(DATASETS.get(name), "info", None)
        title = getattr(info, "title", "") if info is not None else ""
        rows.append({"name": name, "title": title})
    _show(rows, as_json=as_json)


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
    names = max(len(row["name"]) for row in rows)
    for row in rows:
        rest = [", ".join(v) if isinstance(v, list) else str(v) for k, v in row.items() if k != "name" and v]
        print(f"{row['name']:{names}s}  {'  '.join(rest)}")
