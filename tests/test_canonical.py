"""The canonical image against Pillow and torchvision, rotation against an independent resampler."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import pil_to_tensor, resize

from benchmark.data.canonical import canonical_mask, canonical_shape, canonicalise, rotate
from benchmark.errors import DataError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """Gentle gradients, where half a pixel is worth a few grey levels."""
    return np.asarray(Image.fromarray(noise(5, 5)).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("height", "width"), [(100, 60), (60, 100), (61, 97), (30, 47), (448, 449)])
def test_is_what_torchvision_and_pillow_give(height: int, width: int) -> None:
    """AnomalyDINO's own transform is torchvision's Resize of a PIL image to the smaller edge."""
    image = noise(height, width)
    reference = resize(Image.fromarray(image), 48, InterpolationMode.BICUBIC)
    assert np.array_equal(canonicalise(image, 48), pil_to_tensor(reference).permute(1, 2, 0).numpy())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 800))
def test_smaller_edge_is_exact_and_aspect_is_kept(height: int, width: int, edge: int) -> None:
    h, w = canonical_shape(height, width, edge)
    assert min(h, w) == edge
    assert max(h, w) == math.floor(max(height, width) * edge / min(height, width) + 1e-9)


def test_identity_when_the_size_fits() -> None:
    image = noise(48, 80)
    assert canonicalise(image, 48) is image


def test_refuses_empty_sizes() -> None:
    with pytest.raises(DataError, match="sizes must be positive"):
        canonical_shape(0, 10, 48)


def test_mask_is_nearest_neighbour() -> None:
    mask = np.random.default_rng(0).random((40, 60)) < 0.5
    small = canonical_mask(mask, (20, 30))
    rows, columns = (2 * np.arange(20) + 1), (2 * np.arange(30) + 1)
    assert np.array_equal(small, mask[np.ix_(rows, columns)])
    assert small.dtype == np.bool_
    assert canonical_mask(mask, (40, 60)) is mask


def by_scipy(image: np.ndarray, angle: float) -> np.ndarray:
    """cv2.warpAffine(getRotationMatrix2D((W/2, H/2), angle, 1)) written with scipy's resampler."""
    height, width = image.shape[:2]
    a, b = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx, cy = width / 2, height / 2
    forward = np.array(
        [[a, b, (1 - a) * cx - b * cy], [-b, a, b * cx + (1 - a) * cy], [0, 0, 1]]
    )  # OpenCV's documented matrix
    back = np.linalg.inv(forward)  # output (x, y) -> source (x, y)
    matrix = back[:2, :2][::-1, ::-1]  # in (row, column) order
    offset = back[:2, 2][::-1]
    planes = [
        ndimage.affine_transform(image[..., c].astype(float), matrix, offset, order=1, mode="mirror") for c in range(3)
    ]
    return np.stack(planes, axis=-1).round()


@pytest.mark.parametrize("angle", [45, 90, 135, 180, 225, 270, 315, 10.5, -30])
@pytest.mark.parametrize(("height", "width"), [(60, 60), (40, 90), (91, 33)])
def test_rotation_matches_an_independent_resampler(angle: float, height: int, width: int) -> None:
    image = smooth(height, width)
    difference = np.abs(rotate(image, angle).astype(float) - by_scipy(image, angle))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_rotation_is_counter_clockwise_about_half_the_size() -> None:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[32, 50] = 200  # right of the centre (32, 32)
    turned = rotate(image, 90)
    assert turned[14, 32, 0] == 200  # above it
    assert turned.astype(int).sum() == 600


def test_rotation_reflects_without_repeating_the_border() -> None:
    image = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    assert rotate(image, 180)[0, 0, 0] == 62  # row 64 is row 62 mirrored about the last row, 63


def test_no_rotation_is_the_image_itself() -> None:
    image = noise(10, 12)
    assert rotate(image, 0) is image
    assert torch.equal(torch.from_numpy(rotate(image, 360).copy()), torch.from_numpy(image))
