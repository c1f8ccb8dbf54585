"""What detectors, attacks and data sets say of themselves, checked before the first pass: results repeat it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import ValidationError

from benchmark.errors import ContractError, Terminated, TrustADError, told
from benchmark.planning.jobs import DetectorSpec
from benchmark.results.references import detector_ref, plain_config
from benchmark.results.rows import NAME
from benchmark.results.schema import AttackRef, DatasetRef
from benchmark.types import Attack, AttackCard, Card, Dataset, Detector
from benchmark.types.data import DatasetInfo

T = TypeVar("T")
PLAIN = (bool, int, float, str, type(None))


def made(what: str, make: Callable[[], T]) -> T:
    """What a plug-in's own code makes.

    Raises:
        ContractError: For whatever that code raises, ``sys.exit`` included, other than the project's own errors.
        TypeError: As it is; the caller knows which options it gave.
    """
    try:
        return make()
    except (TrustADError, TypeError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        raise ContractError(f"{what}: cannot be made ({told(error)})") from error


def check_detector(detector: Detector, spec: DetectorSpec) -> None:
    """A detector's card, config and weights.

    Raises:
        ContractError: Naming the detector and the field.
    """
    where = f"detector {spec.label}"
    _check_card(where, getattr(detector, "card", None), Card)
    _check_config(where, detector.config)
    try:
        detector_ref(detector, spec.label, spec.name, spec.backbone)
    except (ValidationError, AttributeError, TypeError, ValueError) as error:
        raise ContractError(f"{where}: {_first(error)}") from error


def check_attack(attack: Attack, name: str) -> None:
    """An attack's card and config.

    Raises:
        ContractError: Naming the attack and the field.
    """
    where = f"attack {name}"
    card = getattr(attack, "card", None)
    _check_card(where, card, AttackCard)
    _check_config(where, attack.config)
    try:
        AttackRef(
            name=attack.name,
            version=attack.card.version,
            knowledge=attack.card.knowledge,
            norm=attack.card.norm,
            full_coverage=attack.card.full_coverage,
            config=plain_config(attack.config),
            forward_passes=0.0,
            backward_passes=0.0,
        )
    except (ValidationError, AttributeError, TypeError, ValueError) as error:
        raise ContractError(f"{where}: {_first(error)}") from error


def check_dataset(dataset: Dataset, categories: Iterable[str]) -> None:
    """What a data set says of itself, and the names of its categories.

    Raises:
        ContractError: Naming the data set and the field, or the category that no result can name.
    """
    info = getattr(dataset, "info", None)
    if not isinstance(info, DatasetInfo):
        raise ContractError(
            f"data set {type(dataset).__name__}: its info is {info!r}; set a benchmark.types DatasetInfo"
        )
    for name in categories:
        if not re.fullmatch(NAME, name):
            raise ContractError(
                f"data set {info.name}: category {name!r} cannot stand in a result; "
                "give its folder a name of letters a to z, digits, and _ . + - between them"
            )
    try:
        DatasetRef(
            name=info.name,
            version=info.version,
            title=info.title,
            licence=info.licence,
            url=info.url,
            manifest_digest="0" * 64,
            has_normals=info.has_normals,
            has_masks=info.has_masks,
            redistributable=info.redistributable,
            categories=(),
        )
    except ValidationError as error:
        raise ContractError(f"data set {info.name}: {_first(error)}") from error


def _check_card(where: str, card: object, kind: type[Card] | type[AttackCard]) -> None:
    if not isinstance(card, kind):
        raise ContractError(f"{where}: its card is {card!r}; set `card` to a benchmark.types.{kind.__name__}")
    for part in fields(kind):
        value = getattr(card, part.name)
        wanted = {"int": int, "str": str, "bool": bool}.get(str(part.type))
        if wanted is not None and type(value) is not wanted:
            raise ContractError(f"{where}: card.{part.name} is {value!r}, not {_ONE[wanted]}")


_ONE = {int: "a whole number", str: "a text", bool: "True or False"}


def _check_config(where: str, config: Any) -> None:
    """JSON values only: text, numbers, true, false, null and lists of them, under names."""
    try:
        pairs = list(config.items())
    except AttributeError:
        raise ContractError(f"{where}: config is {config!r}, not a mapping") from None
    for name, value in pairs:
        if type(name) is not str:
            raise ContractError(f"{where}: config has the key {name!r}, which is no text")
        parts = value if type(value) in (list, tuple) else [value]
        wrong = next((part for part in parts if type(part) not in PLAIN or part != part), None)
        if wrong is not None:
            kind = f"{type(wrong).__module__}.{type(wrong).__qualname__}".removeprefix("builtins.")
            raise ContractError(
                f"{where}: config[{name!r}] holds {wrong!r} ({kind}); give text, numbers, True, False, None or lists"
            )


def _first(error: Exception) -> str:
    """The first fault that a model found, with its place."""
    if not isinstance(error, ValidationError):
        return told(error)
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
