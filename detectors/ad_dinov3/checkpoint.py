"""Files of trained adapters: three tensors, and what they were made of and from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from benchmark.errors import ResultError, WeightsError
from benchmark.storage.jsonio import canonical_json, digest_file, strict_loads
from detectors.ad_dinov3.model import Ablation

METADATA_KEY = "ad_dinov3"
PATTERN = "ad_dinov3*.safetensors"
"""Names under which adapters are found in the weights folder."""
TENSORS = frozenset({"patch", "cls", "text"})


@dataclass(frozen=True)
class Facts:
    """What a file of adapters says of itself.

    Attributes:
        extractor: `LayerExtractor.id` of the features they were trained on.
        clip: Name of the CLIP model of the texts.
        ablation: See `Ablation`.
        reference_quirks: Trained with the quirks of the public code.
        dataset: The auxiliary data set.
        categories: Its categories seen in training.
        held_out: Its categories on which the epoch was chosen.
        manifest: Digest of its manifest.
        epoch: The chosen epoch, from 1.
        auroc: Mean pixel AUROC on the held-out categories after that epoch.
        recipe: Settings of the training.
        history: Losses and held-out AUROC of every epoch.
    """

    extractor: str
    clip: str
    ablation: Ablation
    reference_quirks: bool
    dataset: str
    categories: tuple[str, ...]
    held_out: tuple[str, ...]
    manifest: str
    epoch: int
    auroc: float
    recipe: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()

    def saw(self, dataset: str, category: str) -> bool:
        """Whether images of this category took part, in training or in choosing the epoch."""
        return dataset == self.dataset and category in (*self.categories, *self.held_out)


@dataclass(frozen=True)
class Checkpoint:
    """Adapters read from a file; see `detectors.ad_dinov3.model.Adapters` for the tensors."""

    path: Path
    digest: str
    facts: Facts
    tensors: Mapping[str, Tensor]


def pack(facts: Facts, tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a file of adapters."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return cast(bytes, save(plain, {METADATA_KEY: canonical_json(asdict(facts))}))


def read(path: Path) -> Checkpoint:
    """Read a file of adapters.

    Raises:
        WeightsError: If it is missing, damaged, or no file of adapters.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of AD-DINOv3 adapters; make one with `trustad train ad_dinov3`")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        fields = strict_loads(metadata[METADATA_KEY], source=str(path))
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        facts = Facts(**values)
    except (SafetensorError, OSError, KeyError, TypeError, ResultError) as error:
        raise WeightsError(
            f"{path}: damaged, or not a file of AD-DINOv3 adapters; make one with `trustad train ad_dinov3`"
        ) from error
    if set(tensors) != TENSORS:
        raise WeightsError(f"{path}: holds tensors {sorted(tensors)}; adapters are {sorted(TENSORS)}")
    return Checkpoint(path, digest_file(path), facts, tensors)


def in_folder(folder: str) -> list[Checkpoint]:
    """All files of adapters in a weights folder ("" = none), those trained on VisA first, as published."""
    found = [read(path) for path in sorted(Path(folder).glob(PATTERN))] if folder else []
    return sorted(found, key=lambda checkpoint: checkpoint.facts.dataset != "visa")
