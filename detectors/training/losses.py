"""Losses of segmentation maps, as AD-DINOv3 states them; each is a mean over images, so that batches may be split."""

from __future__ import annotations

from torch import Tensor

FOCUS = 2.0
FOCAL_SMOOTHING, DICE_SMOOTHING = 1e-5, 1.0


def focal(anomaly_map: Tensor, mask: Tensor) -> Tensor:
    """Focal loss (Lin et al., 2017) with gamma 2 and no class weights.

    The two-class target is smoothed to [1e-5, 1 - 1e-5], and 1e-5 is added to the probability of the true class.

    Args:
        anomaly_map: Probabilities of a defect [B, S, S].
        mask: 1.0 = defect, [B, S, S].
    """
    true = anomaly_map * mask + (1 - anomaly_map) * (1 - mask)
    true = true * (1 - FOCAL_SMOOTHING) + (1 - true) * FOCAL_SMOOTHING + FOCAL_SMOOTHING
    return -((1 - true) ** FOCUS * true.log()).mean()


def dice(anomaly_map: Tensor, mask: Tensor) -> Tensor:
    """1 - (2 |A M| + 1) / (|A| + |M| + 1) per image, averaged; arguments as `focal`."""
    overlap = (anomaly_map * mask).flatten(1).sum(1)
    total = anomaly_map.flatten(1).sum(1) + mask.flatten(1).sum(1)
    return (1 - (2 * overlap + DICE_SMOOTHING) / (total + DICE_SMOOTHING)).mean()
