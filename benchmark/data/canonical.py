"""The canonical image: the 8-bit picture that detectors score and attacks perturb (PROTOCOL.md, section 1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmark.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECIPE = 2
"""Version of the pixel recipe; bumped whenever reading, `canonicalise` or `canonical_mask` would give other bits."""


def canonical_shape(height: int, width: int, edge: int) -> tuple[int, int]:
    """Height and width after the smaller edge became ``edge``, aspect kept; the longer edge is rounded down.

    Raises:
        DataError: If a size is not positive.
    """
    if min(height, width, edge) < 1:
        raise DataError(
            f"an image of {width}x{height} cannot be resized to a smaller edge of {edge}; sizes must be positive"
        )
    if height <= width:
        return edge, edge * width // height
    return edge * height // width, edge


def canonicalise(image: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """Resize so that the smaller edge is ``edge``: PIL bicubic with antialias, aspect kept.

    Args:
        image: uint8 [H, W, 3].
        edge: Smaller edge of the result, in pixels.

    Returns:
        uint8 [h, w, 3], bit for bit what ``PIL.Image.resize`` gives; the input itself when it already has that size.
    """
    height, width = canonical_shape(image.shape[0], image.shape[1], edge)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def canonical_mask(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask [H, W] to ``shape`` (h, w) by nearest neighbour, as the reference evaluations do.

    A defect thinner than one canonical pixel can vanish; such images are counted as having an empty mask.
    """
    if mask.shape == tuple(shape):
        return mask
    small = Image.fromarray(mask.astype(np.uint8)).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    return np.asarray(small) > 0


def rotate(image: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    """Rotate about the centre (W/2, H/2) on the same canvas: bilinear, reflect-101 border.

    The geometry is ``cv2.warpAffine`` with ``cv2.getRotationMatrix2D((W/2, H/2), angle, 1)``, with which the official
    AnomalyDINO turns its references: pixel centres lie at whole numbers, so the centre is half a pixel right of and
    below the middle of the raster. OpenCV rounds source positions to 1/32 pixel; here they are exact.

    Args:
        image: uint8 [H, W, 3].
        angle: Degrees, counter-clockwise; 0 returns the image itself.
    """
    if angle == 0:
        return image
    import torch
    from torch.nn.functional import grid_sample

    height, width = image.shape[:2]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = torch.arange(width, dtype=torch.float64) - width / 2
    y = torch.arange(height, dtype=torch.float64)[:, None] - height / 2
    source_x = (cos * x - sin * y + width / 2) * (2 / max(width - 1, 1)) - 1  # [H, W], -1..1 from first to last centre
    source_y = (sin * x + cos * y + height / 2) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([source_x, source_y], dim=-1)[None].float()
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    turned = grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    result: NDArray[np.uint8] = turned[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()
    return result
