"""Prompts of the CLIP-based detectors, and their encoding by the text tower. Counts are pinned by a test."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from open_clip.tokenizer import tokenize
from torch import Tensor
from torch.nn.functional import normalize

from benchmark.types.precision import computing_in
from detectors.clip.model import load_clip

ARTICLES = ("a", "the")
NORMAL_STATES = (
    "{}",
    *(f"{adjective} {{}}" for adjective in ("flawless", "perfect", "unblemished")),
    *(f"{{}} without {noun}" for noun in ("flaw", "defect", "damage")),
)
WINDOW_ABNORMAL_STATES = ("damaged {}", *(f"{{}} with {noun}" for noun in ("flaw", "defect", "damage")))
"""WinCLIP's four; APRIL-GAN, AnomalyCLIP's baseline and AD-DINOv3 add "broken"."""
ABNORMAL_STATES = (*WINDOW_ABNORMAL_STATES, "broken {}")


def _photos(kinds: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"a {kind} of {article} {{}}." for kind in kinds for article in ARTICLES)


def _sized(sizes: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"a photo of {article} {size} {{}}." for size in sizes for article in ARTICLES)


_KINDS = tuple(f"{kind} photo" for kind in ("cropped", "close-up", "bright", "dark", "jpeg corrupted", "blurry"))
WINDOW_TEMPLATES = (
    *_photos((*_KINDS, "photo")),
    *_sized(("small", "large")),
    *(f"a photo of {article} {{}} for {purpose}." for purpose in ("visual inspection", "anomaly detection")
      for article in ARTICLES),
)  # fmt: skip
"""WinCLIP's 22."""
PHOTO_TEMPLATES = (
    *_photos((*_KINDS, "photo", "bad photo", "low resolution photo", "black and white photo", "good photo")),
    *_sized(("small", "large", "cool")),
    *(f"a photo of {word} {{}}." for word in ("my", "one")),
    *(f"there is {article} {{}} in the scene." for article in ARTICLES),
    *(f"this is {word} {{}} in the scene." for word in (*ARTICLES, "one")),
)
"""APRIL-GAN's 35."""


def compose(class_name: str, states: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every template around every state of a class: ``len(states) * len(templates)`` sentences."""
    return [template.format(state.format(class_name)) for state in states for template in templates]


def encode(module: Any, sentences: Sequence[str], *, batch: int = 64) -> Tensor:
    """Text features [n, D] of the text tower, not normalised, without gradient.

    Attention is causal, so the padding behind the longest sentence is cut off: five times less work, equal features.
    """
    tokens = tokenize(list(sentences))
    tokens = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
    with torch.no_grad():
        return torch.cat([_encode(module, part) for part in tokens.split(batch)])


def _encode(module: Any, tokens: Tensor) -> Tensor:
    """What open_clip's ``encode_text`` does, for token rows [n, T] of any length; the end token has the largest id."""
    length = tokens.shape[1]
    hidden = module.token_embedding(tokens) + module.positional_embedding[:length]
    hidden = module.ln_final(module.transformer(hidden, attn_mask=module.attn_mask[:length, :length]))
    last: Tensor = hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)] @ module.text_projection
    return last


@lru_cache(maxsize=64)
@computing_in("float32")  # kept for all runs of the process, whatever their precision
def window_text(clip: str, class_name: str) -> Tensor:
    """WinCLIP's two text features, unit rows [2, D], normal first: means of 7 x 22 and 4 x 22 prompt features."""
    module = load_clip(clip).module
    means = [
        encode(module, compose(class_name, states, WINDOW_TEMPLATES)).mean(0)
        for states in (NORMAL_STATES, WINDOW_ABNORMAL_STATES)
    ]
    return normalize(torch.stack(means), dim=1)


@lru_cache(maxsize=64)
@computing_in("float32")  # kept for all runs of the process, whatever their precision
def photo_text(clip: str, class_name: str) -> Tensor:
    """`photo_features` by the text tower of a CLIP model that is loaded anyhow."""
    return photo_features(load_clip(clip).module, class_name)


def photo_features(module: Any, class_name: str) -> Tensor:
    """APRIL-GAN's two text features, unit rows [2, D]: means of 7 x 35 and 5 x 35 unit prompt features."""
    means = [
        normalize(encode(module, compose(class_name, states, PHOTO_TEMPLATES)), dim=1).mean(0)
        for states in (NORMAL_STATES, ABNORMAL_STATES)
    ]
    return normalize(torch.stack(means), dim=1)
