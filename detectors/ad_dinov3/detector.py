"""AD-DINOv3 as a detector: zero-shot inference with adapters that `trustad train ad_dinov3` made.

Source: Yuan et al., 2025 (arXiv 2509.14084), 512 pixels. No trained adapters are public. The paper scores pixels only;
the image scores are this project's, named in `IMAGE_SCORES`. The map comes as log odds of the published probability:
the same order of pixels, but nothing saturates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from torch import Tensor

from benchmark.errors import NotApplicableError, WeightsError
from benchmark.types import CategoryInfo, Detector, Features, Prediction, Support
from detectors.ad_dinov3.checkpoint import Checkpoint, in_folder, read
from detectors.ad_dinov3.model import (
    Ablation,
    Adapters,
    LayerExtractor,
    adapt_text,
    chosen_layers,
    compute_maps,
)
from detectors.ad_dinov3.text import class_text, prompt_name
from detectors.backbones import WEIGHTS_DIR, build
from detectors.backbones.weights import WEIGHTS, check_digest, locate
from detectors.cards import CARDS
from detectors.clip.model import ARCHITECTURES, is_seeded, track_clip
from detectors.head import Head
from detectors.options import one_of

DEFAULT_BACKBONE, DEFAULT_CLIP = "dinov3_vitl16", "clip_vitl14_336"
UNTRAINED = "untrained"
TOP_SHARE = 0.01


def _top(anomaly_map: Tensor, image_logit: Tensor) -> Tensor:
    flat = anomaly_map.flatten(1)
    return flat.topk(max(1, int(TOP_SHARE * flat.shape[1])), dim=1).values.mean(1)


IMAGE_SCORES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "map_top": _top,
    "map_max": lambda anomaly_map, image_logit: anomaly_map.flatten(1).amax(1),
    "global": lambda anomaly_map, image_logit: image_logit,
    "global_map": lambda anomaly_map, image_logit: (image_logit + _top(anomaly_map, image_logit)) / 2,
}
"""Image score [B] from map [B, S, S] and image logit [B], all log odds: mean of the top 1 % of the map, its
maximum, the logit of the CLS token against the texts, or the mean of that logit and the top 1 %."""


@dataclass(frozen=True)
class FittedADDINOv3(Head):
    """Adapters ``patch`` and ``cls`` [L, E, D] and the adapted text [2, E] of one class."""

    extractor: LayerExtractor = field(repr=False)
    patch: Tensor
    cls: Tensor
    text: Tensor
    image_score: str
    calibrated_only: bool
    tensors = ("patch", "cls", "text")

    def score(self, features: Features) -> Prediction:
        """The text map; the calibration map where the adapters were trained without the text map."""
        assert features.region is not None
        size = min(features.region[2:])
        maps = compute_maps(features, self.patch, self.cls, self.text, size)
        anomaly_map = maps.log_odds(calibrated=self.calibrated_only)
        return Prediction(IMAGE_SCORES[self.image_score](anomaly_map, maps.image_logit), anomaly_map, features.region)


class ADDINOv3(Detector):
    """See the module docstring.

    Args:
        backbone: Any vision transformer with a CLS token; default ``dinov3_vitl16``.
        clip: CLIP model of the texts; default ``clip_vitl14_336``, or a seeded tiny one beside a backbone that needs no
            download.
        adapters: File of trained adapters, or ``"untrained"`` for the seeded start of a training. Default: the files
            ``ad_dinov3*.safetensors`` of the weights folder that fit the other options; an evaluated category is
            scored by the first that never saw it. Beside a seeded text tower, none at all means untrained.
        image_score: A key of `IMAGE_SCORES`.
        ablation: See `Ablation`; adapters must have been trained with the same.
        reference_quirks: Interleave the text vectors and name classes as the public code does.

    Raises:
        UsageError: For a value that is not allowed.
        WeightsError: If weights or adapters are missing, damaged or made for other options.
    """

    card = CARDS["ad_dinov3"]
    extractor: LayerExtractor

    def __init__(
        self,
        backbone: str | None = None,
        *,
        clip: str | None = None,
        adapters: str | None = None,
        image_score: str = "map_top",
        ablation: Ablation = "none",
        reference_quirks: bool = False,
    ) -> None:
        one_of("image_score", image_score, IMAGE_SCORES)
        one_of("ablation", ablation, get_args(Ablation))
        name = backbone or DEFAULT_BACKBONE
        self.clip = clip or track_clip(name, DEFAULT_CLIP)
        self.image_score, self.ablation, self.reference_quirks = image_score, ablation, reference_quirks
        extractor = LayerExtractor(build(name, layers=chosen_layers(ablation)))
        self.checkpoints = () if adapters == UNTRAINED else self._find(adapters, extractor.id)
        files = {checkpoint.path.name: checkpoint.digest for checkpoint in self.checkpoints}
        self.extractor = extractor.beside(files | clip_digest(self.clip), random_weights=self._random())
        self.config = {
            "backbone": name,
            "clip": self.clip,
            "adapters": list(files.values()),
            "image_score": image_score,
            "ablation": ablation,
            "reference_quirks": reference_quirks,
        }

    def fit(self, support: Support, *, seed: int) -> FittedADDINOv3:
        """Choose adapters that never saw the category and adapt its two texts.

        Raises:
            NotApplicableError: If all adapters were trained on the category.
        """
        info = support.info
        name = prompt_name(info.dataset, info.category, info.class_name, reference_quirks=self.reference_quirks)
        tensors = self._unseen(info).tensors if self.checkpoints else None
        text = class_text(self.clip, [name])[0]
        if tensors is None:
            tensors = untrained(self.extractor, text.shape[-1]).state_dict()
        patch, cls, weight, text = (
            tensor.to(self.extractor.device) for tensor in (*(tensors[k] for k in ("patch", "cls", "text")), text)
        )
        adapted = adapt_text(weight, text, interleaved=self.reference_quirks)
        return FittedADDINOv3(self.extractor, patch, cls, adapted, self.image_score, self.ablation == "no_cmcl")

    def _unseen(self, info: CategoryInfo) -> Checkpoint:
        for checkpoint in self.checkpoints:
            if not checkpoint.facts.saw(info.dataset, info.category):
                return checkpoint
        names = ", ".join(checkpoint.path.name for checkpoint in self.checkpoints)
        raise NotApplicableError(
            f"the adapters {names} were trained on {info.dataset}/{info.category}; "
            f"zero-shot needs adapters of another data set: `trustad train ad_dinov3 --aux NAME`"
        )

    def _find(self, adapters: str | None, extractor_id: str) -> tuple[Checkpoint, ...]:
        """The adapters that fit the options."""
        if adapters is not None:
            checkpoint = read(Path(adapters))
            if misfit := self._misfit(checkpoint, extractor_id):
                raise WeightsError(f"{adapters}: made for another {misfit}; give the same option, or other adapters")
            return (checkpoint,)
        folder = os.environ.get(WEIGHTS_DIR, "")
        found = tuple(c for c in in_folder(folder) if not self._misfit(c, extractor_id))
        if not found and not is_seeded(self.clip):
            raise WeightsError(
                f"no AD-DINOv3 adapters for these options in {folder or 'the weights folder (--weights-dir)'}; none "
                "are public: make them with `trustad train ad_dinov3 --aux visa --out ad_dinov3_visa.safetensors`"
            )
        return found

    def _misfit(self, checkpoint: Checkpoint, extractor_id: str) -> str:
        """The first option for which a file was not made, or ""."""
        facts = checkpoint.facts
        pairs = {
            "backbone or backbone weights": (facts.extractor, extractor_id),
            "clip": (facts.clip, self.clip),
            "ablation": (facts.ablation, self.ablation),
            "reference_quirks": (facts.reference_quirks, self.reference_quirks),
        }
        return next((what for what, (made, asked) in pairs.items() if made != asked), "")

    def _random(self) -> bool:
        return is_seeded(self.clip) or not self.checkpoints


def untrained(extractor: LayerExtractor, text_width: int, *, seed: int = 0) -> Adapters:
    """The adapters at the start of a training."""
    return Adapters(extractor.depth, extractor.width, text_width, seed=seed)


def clip_digest(clip: str) -> dict[str, str]:
    """Name -> SHA-256 of the CLIP weights, without loading them; nothing for seeded ones.

    Raises:
        UsageError, WeightsError: If the name is unknown or the weights are missing.
    """
    if is_seeded(clip):
        return {}
    one_of("clip", clip, ARCHITECTURES)
    return {clip: check_digest(WEIGHTS[clip], locate(WEIGHTS[clip], os.environ.get(WEIGHTS_DIR, "")))}
