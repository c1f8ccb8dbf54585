"""Detectors and attacks by name, built once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmark.errors import UsageError
from benchmark.planning.contract import check_attack, check_detector, made
from benchmark.planning.jobs import DetectorSpec
from benchmark.registry import ATTACKS, DETECTORS, load_attribute
from benchmark.tracks import Track
from benchmark.types import Attack, Detector


@dataclass
class Workbench:
    """Detectors and attacks by name, built once per process."""

    detectors: dict[DetectorSpec, Detector] = field(default_factory=dict)
    attacks: dict[str, Attack] = field(default_factory=dict)

    def detector(self, spec: DetectorSpec) -> Detector:
        """The detector of a spec."""
        if spec not in self.detectors:
            self.detectors[spec] = build_detector(spec)
        return self.detectors[spec]

    def attack(self, name: str) -> Attack:
        """The attack of a name."""
        if name not in self.attacks:
            self.attacks[name] = build_attack(name)
        return self.attacks[name]


def build_detector(spec: DetectorSpec) -> Detector:
    """Construct a registered detector.

    Raises:
        UnknownNameError: For an unknown detector or backbone.
        UsageError: If the detector does not take the options.
        ContractError: If it cannot be made, or says of itself what no result can hold.
    """
    factory = detector_factory(spec.name)
    options = dict(spec.options) | ({"backbone": spec.backbone} if spec.backbone else {})
    try:
        detector: Detector = made(f"detector {spec.name!r}", lambda: factory(**options))
    except TypeError as error:
        raise UsageError(f"detector {spec.name!r} does not take the options {options}: {error}") from error
    check_detector(detector, spec)
    return detector


def build_attack(name: str) -> Attack:
    """Construct a registered attack; ``jpeg:severe`` asks the attack family ``jpeg`` for its member ``severe``.

    Raises:
        UnknownNameError: For an unknown attack or member.
        UsageError: If a family is asked for without a member, or an attack is none.
    """
    family, _, member = name.partition(":")
    factory = ATTACKS.get(family)
    try:
        attack: Attack = made(f"attack {name!r}", lambda: factory(member) if member else factory())
    except TypeError as error:
        raise UsageError(f"attack {name!r}: families need a member (FAMILY:MEMBER), others take none") from error
    check_attack(attack, name)
    return attack


def detector_factory(name: str) -> Callable[..., Detector]:
    """What makes a detector: a registered name, or ``MODULE:ATTRIBUTE`` of the user's own code.

    Raises:
        UnknownNameError: If no detector has the name.
        UsageError: If the code cannot be imported, or is nothing that can be called.
    """
    factory: Callable[..., Detector] = load_attribute(name) if ":" in name else DETECTORS.get(name)
    if not callable(factory):
        raise UsageError(f"{name} is {type(factory).__name__}, not something that makes a detector")
    return factory


def parse_detector(text: str, track_backbone: str) -> DetectorSpec:
    """``name`` or ``name@backbone``; a detector with a backbone of its own keeps it."""
    name, _, backbone = text.partition("@")
    chosen = backbone or _own_backbone(name, track_backbone)
    return DetectorSpec(name, chosen or None)


def asked_detector(text: str, backbone: str) -> DetectorSpec:
    """As `parse_detector`, where somebody named both the detector and a backbone for all.

    Raises:
        UsageError: If the detector would keep another backbone than the one that was asked for.
    """
    spec = parse_detector(text, backbone)
    if "@" not in text and spec.backbone not in (None, backbone):
        raise UsageError(
            f"--backbone {backbone}: {text} keeps its own, {spec.backbone}; "
            f"write --detector {text}@{backbone}, or {text}@{spec.backbone}"
        )
    return spec


def _own_backbone(name: str, track_backbone: str) -> str | None:
    chosen: str | None = getattr(detector_factory(name), "default_backbone", lambda track: track)(track_backbone)
    return chosen


def transfer_source(attack: Attack, track: Track) -> DetectorSpec:
    """The detector whose adversarial images a transfer attack replays, on the track's own backbone."""
    return parse_detector(str(attack.config["source"]), track.backbone)
