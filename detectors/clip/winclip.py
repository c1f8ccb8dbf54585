"""WinCLIP: CLIP features of sliding windows against a prompt ensemble, and against reference windows if there are any.

Source: Jeong et al., CVPR 2023 (arXiv 2303.14814); aligned with anomalib's implementation. Windows of 2 x 2 and 3 x 3
    patches and the full image; overlapping windows by their harmonic mean; temperature 0.07; image score (text +
    largest reference distance) / 2. Score and map are the log odds of the published values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.types import Detector, Extractor, Features, Prediction, Support
from detectors.backbones import build
from detectors.backbones.extractor import FrozenExtractor
from detectors.bank import support_features
from detectors.cards import CARDS
from detectors.clip.model import load_clip, track_clip
from detectors.clip.networks import WINDOWS
from detectors.clip.scoring import anomaly_logit, harmonic_windows, log_odds
from detectors.clip.text import window_text
from detectors.head import Head
from detectors.neighbours import nearest

DEFAULT_CLIP = "clip_vitb16_plus_240"
TEMPERATURE = 0.07


@dataclass(frozen=True)
class FittedWinCLIP(Head):
    """Text features [2, E] and, with references, unit galleries of patches, 2 x 2 and 3 x 3 windows."""

    extractor: Extractor
    text: Tensor
    galleries: tuple[Tensor, ...]

    def score(self, features: Features) -> Prediction:
        """Zero-shot without galleries, else the mean of text and reference evidence."""
        assert features.cls is not None
        image = anomaly_logit(features.cls, self.text, TEMPERATURE).sigmoid()
        anomaly_map = self._text_map(features, image)
        if self.galleries:
            distance = self._reference_map(features)
            anomaly_map = (anomaly_map + distance) / 2
            image = (image + distance.flatten(1).amax(1)) / 2
        return Prediction(log_odds(image), log_odds(anomaly_map), features.region)

    def _text_map(self, features: Features, image: Tensor) -> Tensor:
        """Harmonic mean over the three scales, [B, h, w]."""
        scales = [image[:, None, None].expand(features.maps[0].shape[:3])]
        for windows, edge in zip(features.maps[1:], WINDOWS, strict=True):
            scales.append(harmonic_windows(anomaly_logit(windows, self.text, TEMPERATURE).sigmoid(), edge))
        return len(scales) / (1 / torch.stack(scales).clamp_min(1e-8)).sum(0)

    def _reference_map(self, features: Features) -> Tensor:
        """Mean over scales of half the cosine distance to the nearest reference, [B, h, w]."""
        scales = []
        for level, gallery, edge in zip(features.maps, self.galleries, (1, *WINDOWS), strict=True):
            found = nearest(normalize(level.flatten(0, 2), dim=1), gallery)
            scales.append(harmonic_windows(found.distance.reshape(level.shape[:3]) / 2, edge))
        return torch.stack(scales).mean(0)

    def state(self) -> dict[str, Tensor]:
        """``text`` and ``gallery0`` ..."""
        return {"text": self.text} | {f"gallery{i}": gallery for i, gallery in enumerate(self.galleries)}

    def with_state(self, state: Mapping[str, Tensor]) -> FittedWinCLIP:
        """The same head with the tensors of a saved twin."""
        galleries = tuple(state[f"gallery{i}"] for i in range(len(self.galleries)))
        return replace(self, text=state["text"], galleries=galleries)


class WinCLIP(Detector):
    """See the module docstring.

    Args:
        backbone: CLIP model; default ``clip_vitb16_plus_240``.
    """

    card = CARDS["winclip"]
    extractor: FrozenExtractor

    def __init__(self, backbone: str | None = None) -> None:
        self.clip = backbone or DEFAULT_CLIP
        edge = load_clip(self.clip).module.visual.image_size[0]
        self.extractor = build(f"clip-windows/{self.clip}", resize=(edge, edge))
        self.config = {"backbone": self.clip}

    @staticmethod
    def default_backbone(track_backbone: str) -> str:
        """The published CLIP model, or the seeded tiny one on tracks without downloads."""
        return track_clip(track_backbone, DEFAULT_CLIP)

    def fit(self, support: Support, *, seed: int) -> FittedWinCLIP:
        """Encode the prompts of the class and, if there are references, their windows."""
        galleries: tuple[Tensor, ...] = ()
        text = window_text(self.clip, support.info.class_name)
        if len(support):
            views = support_features(self.extractor, support)
            levels = zip(*(view.maps for view in views), strict=True)
            galleries = tuple(normalize(torch.cat([v.flatten(0, 2) for v in level]), dim=1) for level in levels)
        return FittedWinCLIP(self.extractor, text.to(self.extractor.device), galleries)
