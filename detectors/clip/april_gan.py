"""APRIL-GAN (VAND 2023 winner of the zero-shot track): inference from the released linear layers.

Source: Chen, Han, Zhang, 2023 (arXiv 2305.17382) and its official code, 518 pixels. The released files hold
``{"trainable_linearlayer": {"fc.0.weight": [768, 1024], "fc.0.bias": [768], ... "fc.3.bias"}}``; layers i = 0 to 3
belong to blocks 6, 12, 18 and 24. In few-shot mode the official image score adds the largest map value after min-max
scaling over the whole test set; here it is divided by its upper bound instead, so that images are scored alone. Score
and map are the log odds of the published values, maps being divided by their upper bound first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, linear, normalize

from benchmark.types import Detector, Extractor, Features, Prediction, Support
from detectors.backbones import WEIGHTS_DIR, build
from detectors.backbones.checkpoints import read_state, require_shapes
from detectors.backbones.extractor import FrozenExtractor
from detectors.backbones.weights import WEIGHTS, check_digest, locate
from detectors.bank import support_features
from detectors.cards import CARDS
from detectors.clip.model import is_seeded, load_clip, track_clip
from detectors.clip.scoring import anomaly_logit, log_odds, mean_log_odds
from detectors.clip.text import photo_text
from detectors.head import Head
from detectors.neighbours import nearest

DEFAULT_CLIP = "clip_vitl14_336"
EDGE = 518
LAYERS = 4
TEMPERATURE = 0.01
AUXILIARY = {"visa": "mvtec"}
"""Checkpoint used per data set: trained on VisA everywhere but on VisA itself."""


def auxiliary_of(dataset: str) -> str:
    """Name of the auxiliary set whose released checkpoint is used on a data set."""
    return AUXILIARY.get(dataset, "visa")


@dataclass(frozen=True)
class FittedAprilGAN(Head):
    """Text features [2, E], linear layers [L, E, D] and [L, E], and reference galleries [L, M, D] (M = 0:
    zero-shot)."""

    extractor: Extractor
    text: Tensor
    weight: Tensor
    bias: Tensor
    galleries: Tensor
    edge: int
    tensors = ("text", "weight", "bias", "galleries")

    def score(self, features: Features) -> Prediction:
        """Text probability of the image; map = mean over layers of upsampled text probabilities; as log odds."""
        assert features.cls is not None
        image = anomaly_logit(features.cls, self.text, TEMPERATURE)
        texts = torch.stack([self._text_logits(level, i) for i, level in enumerate(features.maps)])
        if not self.galleries.shape[1]:
            return Prediction(image, mean_log_odds(texts), features.region)
        references = torch.stack([self._reference_map(level, i) for i, level in enumerate(features.maps)])
        anomaly_map = (texts.sigmoid() + references).mean(0) / 3
        image = (image.sigmoid() + anomaly_map.flatten(1).amax(1)) / 2
        return Prediction(log_odds(image), log_odds(anomaly_map), features.region)

    def _text_logits(self, level: Tensor, index: int) -> Tensor:
        """Log odds of the abnormal text per pixel, [B, edge, edge]; resized before any softmax, as published."""
        tokens = linear(level, self.weight[index], self.bias[index])
        return self._resize(anomaly_logit(tokens, self.text, TEMPERATURE)[:, None])[:, 0]

    def _reference_map(self, level: Tensor, index: int) -> Tensor:
        """Cosine distance to the nearest reference token per pixel, in [0, 2]."""
        found = nearest(normalize(level.flatten(0, 2), dim=1), self.galleries[index])
        return self._resize(found.distance.reshape(level.shape[:3])[:, None])[:, 0]

    def _resize(self, maps: Tensor) -> Tensor:
        return interpolate(maps, (self.edge, self.edge), mode="bilinear", align_corners=True)


class AprilGAN(Detector):
    """See the module docstring.

    Args:
        backbone: CLIP model; default ``clip_vitl14_336``. With a ``seeded:`` model the linear layers are seeded too.
    """

    card = CARDS["april_gan"]
    extractor: FrozenExtractor

    def __init__(self, backbone: str | None = None) -> None:
        self.clip = backbone or DEFAULT_CLIP
        self.edge = clip_edge(self.clip)
        self.extractor = build(f"clip-blocks/{self.clip}", resize=(self.edge, self.edge))
        self.config = {"backbone": self.clip}

    @staticmethod
    def default_backbone(track_backbone: str) -> str:
        """The published CLIP model, or the seeded tiny one on tracks without downloads."""
        return track_clip(track_backbone, DEFAULT_CLIP)

    def fit(self, support: Support, *, seed: int) -> FittedAprilGAN:
        """Load the linear layers trained on the other set, encode the prompts, keep reference tokens."""
        device = self.extractor.device
        weight, bias = linear_layers(self.clip, support.info.dataset)
        galleries = weight.new_zeros(LAYERS, 0, weight.shape[2])
        if len(support):
            views = support_features(self.extractor, support)
            levels = zip(*(view.maps for view in views), strict=True)
            galleries = torch.stack([normalize(torch.cat([v.flatten(0, 2) for v in level]), dim=1) for level in levels])
        text = photo_text(self.clip, support.info.class_name)
        return FittedAprilGAN(
            self.extractor,
            text.to(device),
            weight.to(device),
            bias.to(device),
            galleries.to(device),
            self.edge,
        )


def clip_edge(clip: str) -> int:
    """Input edge in pixels: 518 for published models, a seeded tiny model's own."""
    own: int = load_clip(clip).module.visual.image_size[0]
    return EDGE if own > EDGE // 2 else own


def linear_layers(clip: str, dataset: str) -> tuple[Tensor, Tensor]:
    """Weights [4, E, D] and biases [4, E] of the released checkpoint, or seeded ones for a seeded CLIP model.

    Raises:
        WeightsError: If the checkpoint is missing, damaged or of another layout.
    """
    width, embed = load_clip(clip).module.visual.proj.shape
    if is_seeded(clip):
        generator = torch.Generator().manual_seed(0)
        return torch.randn(LAYERS, embed, width, generator=generator) / width**0.5, torch.zeros(LAYERS, embed)
    weights = WEIGHTS[f"april_gan_{auxiliary_of(dataset)}"]
    path = locate(weights, os.environ.get(WEIGHTS_DIR, ""))
    check_digest(weights, path)
    state = read_state(path, "trainable_linearlayer")
    shapes = {f"fc.{i}.weight": (embed, width) for i in range(LAYERS)} | {
        f"fc.{i}.bias": (embed,) for i in range(LAYERS)
    }
    require_shapes(state, shapes, path)
    stacked = [torch.stack([state[f"fc.{i}.{part}"].float() for i in range(LAYERS)]) for part in ("weight", "bias")]
    return stacked[0], stacked[1]
