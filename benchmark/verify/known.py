"""Does a result speak of things that exist: track, data set, detector and attacks in the versions of this program?"""

from __future__ import annotations

from benchmark.errors import ResultError, TrustADError
from benchmark.planning.workbench import build_attack
from benchmark.registry import ATTACKS, DATASETS, DETECTORS
from benchmark.results.schema import PROTOCOL_VERSION, AttackRef
from benchmark.scoring.image import metric_versions
from benchmark.storage.jsonio import canonical_json
from benchmark.verify.subject import Entry, Subject

STATED = ("version", "title", "licence", "url", "has_normals", "has_masks", "redistributable")


def check_known(subject: Subject) -> str:
    """Track, data set, detector, attack and metric versions.

    Raises:
        ResultError: Naming the first that is unknown or of another version.
    """
    for entry in subject.entries:
        try:
            _check_track(entry)
            _check_dataset(entry)
            _check_detector(entry, subject)
            for attack in entry.result.attacks:
                _check_attack(attack)
        except TrustADError as error:
            raise ResultError(f"{entry.path.name}: {error}") from error
        current = metric_versions({v.metric: None for v in entry.result.scored.values})
        if current != entry.result.metrics:
            raise ResultError(f"{entry.path.name}: metrics of other versions; run `trustad rescore` on it")
    return "track, data sets, detector, attacks and metrics of this program's versions"


def _check_track(entry: Entry) -> None:
    claimed, track = entry.result.track, entry.track
    if (claimed.version, claimed.protocol) != (track.version, PROTOCOL_VERSION):
        raise ResultError(
            f"track {claimed.name} v{claimed.version}, protocol {claimed.protocol}; "
            f"this program has v{track.version}, protocol {PROTOCOL_VERSION}"
        )
    if claimed.canonical_edge != track.canonical_edge:
        raise ResultError(f"canonical edge {claimed.canonical_edge}; the track has {track.canonical_edge}")
    if entry.result.dataset.name not in {d.name for d in track.datasets}:
        raise ResultError(f"data set {entry.result.dataset.name!r} is not part of track {track.name!r}")


def _check_dataset(entry: Entry) -> None:
    claimed = entry.result.dataset
    info = DATASETS.get(claimed.name)(None).info
    for name in STATED:
        if getattr(claimed, name) != getattr(info, name):
            raise ResultError(
                f"data set {claimed.name}: {name} is {getattr(info, name)!r}, not {getattr(claimed, name)!r}"
            )


def _check_detector(entry: Entry, subject: Subject) -> None:
    claimed = entry.result.detector
    if claimed.name != (f"{claimed.family}@{claimed.backbone}" if claimed.backbone else claimed.family):
        raise ResultError(f"detector {claimed.name!r} is not {claimed.family}@{claimed.backbone}")
    if claimed.family not in DETECTORS:
        return
    if subject.code is not None:
        raise ResultError(f"detector.py takes the name of the registered detector {claimed.family!r}; choose another")
    card = getattr(DETECTORS.get(claimed.family), "card", None)
    for name in ("version", "title", "licence"):
        if card is not None and getattr(claimed, name) != getattr(card, name):
            raise ResultError(f"detector {claimed.family}: {name} is {getattr(card, name)!r}")
    for name, value in claimed.flags:
        if card is not None and name != "random_weights" and value != getattr(card, name):
            raise ResultError(f"detector {claimed.family}: the flag {name} is {getattr(card, name)}")


def _check_attack(claimed: AttackRef) -> None:
    if claimed.name.partition(":")[0] not in ATTACKS:
        raise ResultError(f"attack {claimed.name!r} is not one of this program's; add it there first")
    attack = build_attack(claimed.name)
    card = attack.card
    stated = (claimed.version, claimed.knowledge, claimed.norm, canonical_json(claimed.config))
    actual = (card.version, card.knowledge, card.norm, canonical_json(dict(attack.config)))
    if stated != actual:
        raise ResultError(f"attack {claimed.name}: version, knowledge, norm or configuration is not this program's")
