"""Synthetic anomalies on canonical 8-bit images: what the surrogate head learns to tell from normal images.

Three kinds take turns: CutPaste (a rectangle of the image pasted elsewhere, Li et al. 2021), blobs (an
irregular region shifted in colour) and pastes of another region of the same image through an irregular mask.
Everything is keyed by the sample id, so the anomalies of an image are the same for every shot count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.types.attack import keyed_seed

Image = NDArray[np.uint8]  # [H, W, 3]
Random = np.random.Generator


def synthetic_anomalies(image: Tensor, sample_id: str, count: int) -> Tensor:
    """``count`` anomalous versions, uint8 [count, 3, H, W], of one canonical image uint8 [3, H, W]."""
    source = image.permute(1, 2, 0).cpu().numpy()
    made = []
    for index in range(count):
        random = np.random.default_rng(keyed_seed(sample_id, "synthetic", index))
        made.append(_KINDS[index % len(_KINDS)](source, random))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


def _box(height: int, width: int, random: Random) -> tuple[int, int]:
    """Height and width of a patch of 0.5 to 10 % of the image, aspect 1:3 to 3:1, at least 2 and at most half
    a side."""
    area = height * width * random.uniform(0.005, 0.10)
    aspect = random.uniform(1.0, 3.0) ** random.choice([-1.0, 1.0])
    high, wide = int((area * aspect) ** 0.5), int((area / aspect) ** 0.5)
    return min(max(2, high), height // 2), min(max(2, wide), width // 2)


def _corner(height: int, width: int, box: tuple[int, int], random: Random) -> tuple[int, int]:
    return int(random.integers(height - box[0] + 1)), int(random.integers(width - box[1] + 1))


def _window(corner: tuple[int, int], box: tuple[int, int]) -> tuple[slice, slice]:
    return slice(corner[0], corner[0] + box[0]), slice(corner[1], corner[1] + box[1])


def _irregular(box: tuple[int, int], random: Random) -> NDArray[np.bool_]:
    """A ragged blob that fills about half of a box: a soft ellipse plus smooth noise, thresholded."""
    y, x = np.meshgrid(np.linspace(-1, 1, box[0]), np.linspace(-1, 1, box[1]), indexing="ij")
    coarse = torch.from_numpy(random.uniform(-0.6, 0.6, (1, 1, 5, 5)))
    noise = torch.nn.functional.interpolate(coarse, size=box, mode="bilinear", align_corners=True)[0, 0].numpy()
    mask: NDArray[np.bool_] = x * x + y * y + noise < 0.8
    mask[box[0] // 2, box[1] // 2] = True
    return mask


def _cut_paste(image: Image, random: Random) -> Image:
    height, width = image.shape[:2]
    box = _box(height, width, random)
    patch = image[_window(_corner(height, width, box, random), box)].astype(np.float64)
    patch = patch * random.uniform(0.8, 1.2) + random.uniform(-20, 20)
    out = image.copy()
    out[_window(_corner(height, width, box, random), box)] = np.clip(np.rint(patch), 0, 255).astype(np.uint8)
    return out


def _blob(image: Image, random: Random) -> Image:
    height, width = image.shape[:2]
    box = _box(height, width, random)
    where = _window(_corner(height, width, box, random), box)
    colour, weight = random.uniform(0, 255, 3), random.uniform(0.3, 0.9)
    mixed = image[where] * (1 - weight) + colour * weight
    out = image.copy()
    out[where] = np.where(_irregular(box, random)[..., None], np.rint(mixed).astype(np.uint8), image[where])
    return out


def _other_region(image: Image, random: Random) -> Image:
    height, width = image.shape[:2]
    box = _box(height, width, random)
    patch = image[_window(_corner(height, width, box, random), box)][
        :: random.choice([-1, 1]), :: random.choice([-1, 1])
    ]
    where = _window(_corner(height, width, box, random), box)
    out = image.copy()
    out[where] = np.where(_irregular(box, random)[..., None], patch, image[where])
    return out


_KINDS: tuple[Callable[[Image, Random], Image], ...] = (_cut_paste, _blob, _other_region)
