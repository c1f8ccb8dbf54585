"""Scores under Gaussian noise, from which `benchmark.statistics.certificates` bounds the smoothed detector's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from benchmark.metrics.outcome import Floats
from benchmark.types.attack import keyed_seed

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.types.detector import Prediction

DRAWS = 100


def smooth_scores(
    fitted: Callable[[Tensor], Prediction],
    images: Tensor,
    sample_ids: tuple[str, ...],
    sigma: float,
    draws: int = DRAWS,
) -> Floats:
    """Scores [draws, B] under Gaussian noise keyed by the sample id; the smoothed score is their median.

    Args:
        fitted: The detector, or anything that scores its images.
        images: Canonical uint8 [B, 3, H, W].
        sample_ids: B ids.
        sigma: Standard deviation in [0, 1] units. Noisy images are not clipped.
        draws: Noise draws.
    """
    import torch

    clean = images.float() / 255.0
    generators = [torch.Generator().manual_seed(keyed_seed(name, "smoothing", repr(sigma))) for name in sample_ids]
    found = []
    for _ in range(draws):
        noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for generator in generators])
        found.append(fitted(clean + sigma * noise.to(clean.device)).score.double().cpu().numpy())
    return np.stack(found)
