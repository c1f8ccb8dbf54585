"""AnomalyCLIP: inference from the released object-agnostic prompts.

Source: Zhou et al., ICLR 2024 (arXiv 2310.18961) and its official code, 518 pixels. The released files hold
``{"prompt_learner": {...}}``; used are ``ctx_pos`` and ``ctx_neg`` [1, 1, 12, 768] (the words before "object." and
"damaged object.") and ``compound_prompts_text.0`` to ``.7`` [4, 768] (tokens put behind the first one in text blocks 1
to 8). The remaining entries are buffers of the frozen model and projections that inference never calls. Score and map
are the log odds of the published values, the map (divided by its upper bound) resized and smoothed before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from open_clip.tokenizer import tokenize
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from torchvision.transforms.functional import gaussian_blur

from benchmark.types import Detector, Extractor, Features, Prediction, Support
from benchmark.types.precision import computing_in
from detectors.backbones import WEIGHTS_DIR, build
from detectors.backbones.checkpoints import read_state, require_shapes
from detectors.backbones.extractor import FrozenExtractor
from detectors.backbones.weights import WEIGHTS, check_digest, locate
from detectors.cards import CARDS
from detectors.clip.april_gan import auxiliary_of, clip_edge
from detectors.clip.model import is_seeded, load_clip, track_clip
from detectors.clip.scoring import anomaly_logit
from detectors.head import Head

DEFAULT_CLIP = "clip_vitl14_336"
CONTEXT, DEEP_TOKENS, DEEP_LAYERS = 12, 4, 8
SENTENCES = ("object.", "damaged object.")
TEMPERATURE = 0.07
MAP_SIGMA, KERNEL = 4.0, 33


@dataclass(frozen=True)
class FittedAnomalyCLIP(Head):
    """Text features [2, E], and the edge of the map in pixels."""

    extractor: Extractor
    text: Tensor
    edge: int
    tensors = ("text",)

    def score(self, features: Features) -> Prediction:
        """Text probability of the image feature; map = mean over blocks of those of the patches; as log odds."""
        assert features.cls is not None
        image = anomaly_logit(features.cls, self.text, TEMPERATURE)
        levels = torch.stack([anomaly_logit(level, self.text, TEMPERATURE) for level in features.maps])
        both = torch.stack([levels.sigmoid().mean(0), (-levels).sigmoid().mean(0)], dim=1)  # [B, 2, h, w]
        both = interpolate(both, (self.edge, self.edge), mode="bilinear", align_corners=False)
        smooth = gaussian_blur(both, [KERNEL, KERNEL], [MAP_SIGMA, MAP_SIGMA]).log()
        return Prediction(image, smooth[:, 0] - smooth[:, 1], features.region)


class AnomalyCLIP(Detector):
    """See the module docstring.

    Args:
        backbone: CLIP model; default ``clip_vitl14_336``. With a ``seeded:`` model the prompts are seeded too.
    """

    card = CARDS["anomalyclip"]
    extractor: FrozenExtractor

    def __init__(self, backbone: str | None = None) -> None:
        self.clip = backbone or DEFAULT_CLIP
        self.edge = clip_edge(self.clip)
        self.extractor = build(f"clip-values/{self.clip}", resize=(self.edge, self.edge))
        self.config = {"backbone": self.clip}

    @staticmethod
    def default_backbone(track_backbone: str) -> str:
        """The published CLIP model, or the seeded tiny one on tracks without downloads."""
        return track_clip(track_backbone, DEFAULT_CLIP)

    def fit(self, support: Support, *, seed: int) -> FittedAnomalyCLIP:
        """Encode the learned prompts; references are not used."""
        text = learned_text(self.clip, auxiliary_of(support.info.dataset), os.environ.get(WEIGHTS_DIR, ""))
        return FittedAnomalyCLIP(self.extractor, text.to(self.extractor.device), self.edge)


@lru_cache(maxsize=8)
@computing_in("float32")  # as `window_text`
def learned_text(clip: str, auxiliary: str, folder: str) -> Tensor:
    """Text features of the learned prompts, unit rows [2, E], normal first.

    Raises:
        WeightsError: If the checkpoint is missing, damaged or of another layout.
    """
    module = load_clip(clip).module
    state = _seeded_prompts(module) if is_seeded(clip) else _released_prompts(module, auxiliary, folder)
    deep = [state[f"compound_prompts_text.{i}"] for i in range(DEEP_LAYERS)]
    with torch.no_grad():
        return normalize(encode_learned(module, torch.cat([state["ctx_pos"], state["ctx_neg"]])[:, 0], deep), dim=1)


def encode_learned(module: Any, context: Tensor, deep: list[Tensor]) -> Tensor:
    """Text features [2, E] of `SENTENCES` behind learned words, with learned tokens in deeper blocks.

    Args:
        module: open_clip CLIP model.
        context: Words before each sentence, [2, 12, D].
        deep: Tokens [4, D] that replace those behind the first one before blocks 1, 2 ...; rounded to half precision,
            as the official code does.
    """
    tokens = tokenize([" ".join(["X"] * CONTEXT) + " " + sentence for sentence in SENTENCES])
    x = module.token_embedding(tokens)
    x = torch.cat([x[:, :1], context, x[:, 1 + CONTEXT :]], dim=1) + module.positional_embedding
    for index, block in enumerate(module.transformer.resblocks):
        if 0 < index <= len(deep):
            inserted = deep[index - 1].half().float().expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], inserted, x[:, 1 + DEEP_TOKENS :]], dim=1)
        x = block(x, attn_mask=module.attn_mask)
    ends = module.ln_final(x)[torch.arange(len(x)), tokens.argmax(dim=1)]
    features: Tensor = ends @ module.text_projection
    return features


def _shapes(module: Any) -> dict[str, tuple[int, ...]]:
    width = module.token_embedding.weight.shape[1]
    contexts = dict.fromkeys(("ctx_pos", "ctx_neg"), (1, 1, CONTEXT, width))
    return contexts | {f"compound_prompts_text.{i}": (DEEP_TOKENS, width) for i in range(DEEP_LAYERS)}


def _released_prompts(module: Any, auxiliary: str, folder: str) -> Mapping[str, Tensor]:
    weights = WEIGHTS[f"anomalyclip_{auxiliary}"]
    path = locate(weights, folder)
    check_digest(weights, path)
    state = read_state(path, "prompt_learner")
    require_shapes(state, _shapes(module), path)
    return {name: tensor.float() for name, tensor in state.items()}


def _seeded_prompts(module: Any) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in _shapes(module).items()}
