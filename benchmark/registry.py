"""One registry for every kind of thing, and the project's table of contents.

Built-ins are lazy ``"module:attribute"`` strings; third parties register through entry points of the same
shape in the groups ``trustad.detectors``, ``trustad.attacks``, ``trustad.datasets`` and ``trustad.metrics``.
Listing imports nothing heavy.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from benchmark.errors import NameClashError, Terminated, UnknownNameError, UsageError, told

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")


class Registry(Generic[T]):
    """Names to lazily imported objects.

    Args:
        kind: Singular noun for messages, e.g. ``"detector"``.
        builtins: Name -> ``"module:attribute"``.
        group: Entry-point group in which third parties claim names; None where there is none.
    """

    def __init__(self, kind: str, builtins: Mapping[str, str], group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._builtins = dict(builtins)

    @cached_property
    def _claims(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Every name -> target, ours before others'; and what is wrong with entry points, by name."""
        claimed, faults = dict(self._builtins), dict[str, str]()
        try:
            points = list(entry_points(group=self.group)) if self.group else []
        except Exception as error:  # metadata of some installed package that cannot be read
            return claimed, {"entry points": f"cannot be read ({told(error)})"}
        for point in points:
            if not _NAME.fullmatch(point.name):
                faults[point.name] = f"in group {self.group}: a name has letters, digits, and _ . - between them"
            elif claimed.setdefault(point.name, point.value) != point.value:
                faults[point.name] = (
                    f"is claimed by {claimed[point.name]} and by {point.value}; "
                    f"uninstall one of the packages or rename its entry point in group {self.group}"
                )
        return claimed, faults

    @cached_property
    def targets(self) -> Mapping[str, str]:
        """Every name -> ``"module:attribute"``."""
        return self._claims[0]

    def faults(self) -> Mapping[str, str]:
        """What is wrong with the entry points of third parties, by name; all other names can be used."""
        return self._claims[1]

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self.targets))

    def __contains__(self, name: object) -> bool:
        return name in self.targets

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def check(self, name: str) -> None:
        """Refuse a name that `get` would not know; nothing is imported.

        Raises:
            UnknownNameError, NameClashError: As `get`.
        """
        if name in self.faults():
            raise NameClashError(f"{self.kind} {name!r} {self.faults()[name]}")
        if name not in self.targets:
            raise UnknownNameError(self.kind, name, self.targets, f"List them with `trustad list {self.kind}s`.")

    def get(self, name: str) -> T:
        """Import and return the object behind a name.

        Raises:
            UnknownNameError: With the closest names and how to list all.
            UsageError: If a third party's target cannot be imported.
            NameClashError: If two different targets claim the name.
        """
        self.check(name)
        return cast(T, load_attribute(self.targets[name]))


def load_attribute(target: str) -> Any:
    """Import ``"module:attribute"``.

    Raises:
        UsageError: If the text has another form, or the module cannot be imported or lacks the attribute.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise UsageError(f"{target!r} is not of the form MODULE:ATTRIBUTE")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Terminated:
        raise
    except (Exception, SystemExit) as error:  # a third party's module may raise anything
        raise UsageError(f"cannot load {target}: {told(error)}") from error


DETECTORS: Registry[Any] = Registry(
    "detector",
    {
        "ad_dinov3": "detectors.ad_dinov3.detector:ADDINOv3",
        "anomalib": "detectors.anomalib_adapter:AnomalibModel",
        "anomalyclip": "detectors.clip.anomalyclip:AnomalyCLIP",
        "anomalydino": "detectors.anomalydino:AnomalyDINO",
        "anomalydino_batched": "detectors.anomalydino_batched:BatchedAnomalyDINO",
        "april_gan": "detectors.clip.april_gan:AprilGAN",
        "knn": "detectors.knn:GlobalKNN",
        "musc": "detectors.musc:MuSc",
        "padim": "detectors.padim:PaDiM",
        "patchcore": "detectors.patchcore:PatchCore",
        "spade": "detectors.spade:SPADE",
        "subspacead": "detectors.subspacead:SubspaceAD",
        "winclip": "detectors.clip.winclip:WinCLIP",
    },
    "trustad.detectors",
)

BACKBONES: Registry[Any] = Registry(
    "backbone",
    {
        "embedded": "detectors.backbones.shipped:embedded",
        "gabor": "detectors.backbones.shipped:gabor",
    },
    "trustad.backbones",
)

ATTACKS: Registry[Any] = Registry(
    "attack",
    {
        "apgd_score": "attacks.apgd:APGDScore",
        "apgd_score_10": "attacks.apgd:APGDScore10",
        "blur": "attacks.natural:Blur",
        "brightness": "attacks.natural:Brightness",
        "contrast": "attacks.natural:Contrast",
        "fgsm_head": "attacks.head:FGSMHead",
        "flag_adaptive": "attacks.objectives:FlagAdaptive",
        "gaussian_noise": "attacks.noise:GaussianNoise",
        "jpeg": "attacks.natural:Jpeg",
        "mask_flip": "attacks.objectives:MaskFlip",
        "mi_fgsm_head": "attacks.head:MIFGSMHead",
        "nes_score": "attacks.nes:NESScore",
        "pgd_head": "attacks.head:PGDHead",
        "pgd_head_oracle": "attacks.head:PGDHeadOracle",
        "pgd_map": "attacks.objectives:PGDMap",
        "pgd_score": "attacks.pgd:PGDScore",
        "pgd_score_10": "attacks.pgd:PGDScore10",
        "pgd_score_100": "attacks.pgd:PGDScore100",
        "pgd_score_frozen_mask": "attacks.objectives:PGDScoreFrozenMask",
        "pgd_score_restarts": "attacks.pgd:PGDScoreRestarts",
        "sign_noise": "attacks.noise:SignNoise",
        "square_score": "attacks.square:SquareScore",
        "torchattacks": "attacks.zoo:Zoo",
        "transfer": "attacks.transfer:Transfer",
        "transfer_10": "attacks.transfer:Transfer10",
        "uniform_noise": "attacks.noise:UniformNoise",
    },
    "trustad.attacks",
)

DATASETS: Registry[Any] = Registry(
    "dataset",
    {
        "digits": "benchmark.datasets.digits:Digits",
        "procedural": "benchmark.datasets.procedural:Procedural",
        "folder": "benchmark.datasets.mvtec:Folder",
        "mvtec_ad": "benchmark.datasets.mvtec:MVTecAD",
        "visa": "benchmark.datasets.visa:VisA",
        "btad": "benchmark.datasets.industrial:BTAD",
        "mpdd": "benchmark.datasets.mvtec:MPDD",
        "magnetic_tile": "benchmark.datasets.industrial:MagneticTile",
        "mvtec_loco": "benchmark.datasets.industrial:MVTecLOCO",
        "mvtec_ad_2": "benchmark.datasets.industrial:MVTecAD2",
        "real_iad": "benchmark.datasets.realiad:RealIAD",
        "bmad": "benchmark.datasets.medical:BMAD",
        "bmad_image": "benchmark.datasets.medical:BMADImage",
        "isic": "benchmark.datasets.medical:ISIC",
        "colondb": "benchmark.datasets.medical:ColonDB",
        "clinicdb": "benchmark.datasets.medical:ClinicDB",
        "tn3k": "benchmark.datasets.medical:TN3K",
    },
    "trustad.datasets",
)
