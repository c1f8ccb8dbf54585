"""A poisoned reference: one support image changed within epsilon, queries clean. Only few-shot detectors have this
hole.

A memory of patches forgets what is anomalous once one reference holds patches that look like the defect. The attacker
knows the backbone and the anomalies that will be shown, and pulls the tokens of one support image towards the defects'
tokens. The detector is not differentiated (its fit has no gradient); the harness fits it to the poisoned support and
scores the clean queries.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attacks.gradients import ascent, faded
from attacks.pgd import MOMENTUM, softened
from benchmark.errors import NotApplicableError
from benchmark.types.ball import Ball, to_unit
from benchmark.types.data import Support
from benchmark.types.detector import Extractor, Prediction

STEPS = 40


def poison_support(extractor: Extractor, support: Support, anomalies: Tensor, index: int, epsilon: int) -> Tensor:
    """The poisoned image, uint8 [3, H, W], within epsilon of support image ``index``.

    What falls is the soft top of the anomalies' cosine distances to the nearest token of any support image, the
    poisoned one included; it stands in for the score of every nearest-neighbour method.

    Args:
        extractor: The detector's frozen feature extractor.
        support: The clean support set.
        anomalies: Anomalous query images uint8 [B, 3, H, W] that shall pass as normal.
        index: Which support image is poisoned.
        epsilon: Grey levels.

    Raises:
        NotApplicableError: Without support images.
    """
    if len(support) == 0:
        raise NotApplicableError("there is no support image to poison")
    images = support.images()
    with torch.no_grad():
        queries = _tokens(extractor, to_unit(anomalies))  # [B, N, D]
        others = [_tokens(extractor, to_unit(x[None]))[0] for i, x in enumerate(images) if i != index]
        similar = torch.stack([_nearest(queries, bank) for bank in others]).amax(0) if others else None
    ball = Ball.around(images[index][None], epsilon)

    def objective(candidate: Tensor) -> tuple[Tensor, Tensor]:
        closest = _nearest(queries, _tokens(extractor, candidate)[0])
        distance = 1.0 - (closest if similar is None else torch.maximum(closest, similar))
        value = -softened(Prediction(distance.amax(dim=1), distance[:, None])).mean()
        return value[None], value[None]

    levels, running = ball.origin, torch.zeros_like(ball.origin)
    best, best_value = ball.origin, -torch.inf
    for step in range(STEPS):
        candidate = ball.quantise(levels)
        value, _, gradient = ascent(objective, candidate)
        if value.item() > best_value:
            best, best_value = candidate, value.item()
        running = faded(running, gradient, MOMENTUM)
        levels = ball.clip(levels + 5.0 * epsilon / STEPS * (1 - step / STEPS) * running.sign())
    return ball.images(best)[0]


def _tokens(extractor: Extractor, images: Tensor) -> Tensor:
    """Unit tokens [B, N, D] of the last level."""
    return normalize(extractor(images).maps[-1].flatten(1, 2), dim=-1)


def _nearest(queries: Tensor, bank: Tensor) -> Tensor:
    """Cosine similarity [B, N] of each query token to its nearest bank token."""
    return (queries @ bank.T).amax(dim=-1)
