"""``trustad weights``: list, fetch and verify the weights of backbones and text towers. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from benchmark.errors import UnknownNameError, WeightsError
from benchmark.registry import load_attribute

app = cyclopts.App(name="weights", help="List, fetch and verify weights.")
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of lines.")]
Folder = Annotated[Path | None, Parameter(name="--weights-dir", help="Folder of weights; default TRUSTAD_WEIGHTS_DIR.")]


@app.command(name="list")
def list_(*, weights_dir: Folder = None, as_json: Json = False) -> None:
    """Every set of weights: licence, size, origin, and where it lies on this machine."""
    from benchmark.storage.jsonio import pretty_json

    rows = [_row(weights, _folder(weights_dir)) for weights in _table().values()]
    if as_json:
        print(pretty_json(rows), end="")
        return
    for row in rows:
        size = f"{row['megabytes']} MB" if row["megabytes"] else "size unknown"
        print(f"{row['name']:22s}  {size:>9s}  {row['licence']:14s}  {row['path'] or 'absent'}  {row['url']}")


@app.command
def fetch(name: str, /, *, weights_dir: Folder = None) -> None:
    """Download one set of weights into the weights folder, or into the Hugging Face cache where none is given."""
    weights = _weights(name)
    fetch_into = load_attribute("detectors.backbones.fetch:fetch")
    path = fetch_into(weights, _folder(weights_dir))
    check = load_attribute("detectors.backbones.weights:check_digest")
    print(f"{path}  {check(weights, path)}")


@app.command
def verify(name: str, /, *, weights_dir: Folder = None) -> int:
    """Compare the local file with the recorded SHA-256. Exits 1 when they differ."""
    weights = _weights(name)
    path = load_attribute("detectors.backbones.weights:locate")(weights, _folder(weights_dir))
    try:
        found = load_attribute("detectors.backbones.weights:check_digest")(weights, path)
    except WeightsError as error:
        print(error)
        return 1
    known = load_attribute("detectors.backbones.weights:expected_digest")(weights, path)
    print(f"{path}  {found}  {'as published' if known else 'nobody states its SHA-256: not compared'}")
    return 0


def _table() -> dict[str, Any]:
    table: dict[str, Any] = load_attribute("detectors.backbones.weights:WEIGHTS")
    return table


def _weights(name: str) -> Any:
    if name not in _table():
        raise UnknownNameError("weights", name, _table(), "List them with `trustad weights list`.")
    return _table()[name]


def _folder(given: Path | None) -> str:
    return str(given.resolve()) if given is not None else os.environ.get("TRUSTAD_WEIGHTS_DIR", "")


def _row(weights: Any, folder: str) -> dict[str, Any]:
    try:
        path = str(load_attribute("detectors.backbones.weights:locate")(weights, folder))
    except WeightsError:
        path = None
    return {
        "name": weights.name,
        "architecture": weights.architecture,
        "licence": weights.licence,
        "megabytes": weights.megabytes,
        "revision": weights.revision,
        "sha256": weights.sha256,
        "url": weights.url,
        "path": path,
    }
