"""Scores that the CLIP-based detectors share.

The published maps and image scores are softmax probabilities at low temperatures: nearly all pixels lie at 0 or 1,
which single precision and equal-width histogram bins cannot tell apart. The detectors return log odds of the published
probabilities instead: the same order of pixels and images, so the same ranking metrics, and nothing saturates.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv_transpose2d, logsigmoid, normalize

TINIEST = 1e-7


def anomaly_logit(features: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Log odds of the second of two texts under softmax(cos / temperature): [..., D] and [2, D] -> [...]."""
    return normalize(features, dim=-1) @ (text[1] - text[0]) / temperature


def log_odds(probability: Tensor) -> Tensor:
    """log p - log(1 - p), with p kept within [1e-7, 1 - 1e-7]."""
    return torch.logit(probability, TINIEST)


def mean_log_odds(logits: Tensor) -> Tensor:
    """Log odds of the mean over the first axis of sigmoid(logits), exact also where all of them round to 0 or 1."""
    return torch.logsumexp(logsigmoid(logits), dim=0) - torch.logsumexp(logsigmoid(-logits), dim=0)


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
