"""Scores that the CLIP-based detectors share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv_transpose2d, normalize


def anomaly_probability(features: Tensor, text: Tensor, temperature: float) -> Tensor:
    """softmax(cos / temperature) of the second text row: [..., D] and [2, D] -> [...], in (0, 1)."""
    logits = normalize(features, dim=-1) @ text.T / temperature
    return logits.softmax(dim=-1)[..., 1]


def harmonic_windows(scores: Tensor, edge: int) -> Tensor:
    """Harmonic mean, for every patch, of the scores of the windows that cover it.

    Args:
        scores: Positive, one per window position, [B, h - edge + 1, w - edge + 1].
        edge: Window edge in patches.

    Returns:
        [B, h, w].
    """
    kernel = scores.new_ones(1, 1, edge, edge)
    inverse = conv_transpose2d(1 / scores.clamp_min(1e-8)[:, None], kernel)
    count = conv_transpose2d(torch.ones_like(scores)[:, None], kernel)
    return (count / inverse)[:, 0]
