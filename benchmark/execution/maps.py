"""From a detector's raw grid map to the canonical image, and to pixel evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.types import Prediction


def render_map(prediction: Prediction, height: int, width: int) -> Tensor:
    """Resize a raw map to the image: bilinear inside its region, edge values outside, then the detector's Gaussian.

    Args:
        prediction: With an anomaly map [B, h, w].
        height, width: Size of the image in pixels.

    Returns:
        float32 [B, height, width].
    """
    import torch.nn.functional as F

    if prediction.anomaly_map is None:
        raise ValueError("the detector gave no anomaly map")
    top, left, bottom, right = prediction.region or (0, 0, height, width)
    grid = prediction.anomaly_map.float()[:, None]
    inside = F.interpolate(grid, size=(bottom - top, right - left), mode="bilinear", align_corners=False)
    whole = F.pad(inside, (left, width - right, top, height - bottom), mode="replicate")
    return gaussian_blur(whole, prediction.map_sigma)[:, 0]


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian of [B, C, H, W], truncated at 4 sigma with mirrored borders (scipy.ndimage's ``reflect``)."""
    import torch
    import torch.nn.functional as F

    if sigma <= 0:
        return images
    radius = int(4.0 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    for axis in (2, 3):
        padded = _reflect(images, radius, axis)
        shape = [1, 1, 1, 1]
        shape[axis] = len(kernel)
        images = F.conv2d(padded, kernel.view(shape).expand(channels, 1, *shape[2:]), groups=channels)
    return images


def _reflect(images: Tensor, radius: int, axis: int) -> Tensor:
    """Half-sample symmetric padding (d c b a | a b c d | d c b a) of any radius."""
    import torch

    size = images.shape[axis]
    index = torch.arange(-radius, size + radius, device=images.device) % (2 * size)
    return images.index_select(axis, torch.where(index < size, index, 2 * size - 1 - index))
