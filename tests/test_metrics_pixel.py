"""Pixel metrics from 1,024-bin histograms against exact values, and the exact AUPRO against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics as sk

from benchmark.errors import ContractError
from benchmark.metrics import pixel
from benchmark.metrics.pixel import PixelHistograms
from tests.pixel_oracle import aupro_exact, stack_histograms


def realistic(
    seed: int, strength: float, edge: int = 112, images: int = 12
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Smooth patch-like maps with a heavy right tail; defects of 1 to 3 regions on two thirds of the images."""
    rng = np.random.default_rng(seed)
    maps, masks, labels = [], [], []
    for index in range(images):
        mask = np.zeros((edge, edge), dtype=bool)
        for _ in range(index % 3 and rng.integers(1, 4)):
            y, x, r = [*rng.integers(10, edge - 10, 2).tolist(), rng.integers(3, 14)]
            yy, xx = np.ogrid[:edge, :edge]
            mask |= (yy - y) ** 2 + (xx - x) ** 2 < r**2
        coarse = rng.gamma(2.0, 0.05, (14, 14))
        smooth = ndimage.zoom(coarse, edge / 14, order=1)
        signal = ndimage.gaussian_filter(mask * strength * rng.uniform(0.3, 1.5), 4)
        maps.append((smooth + signal).astype(np.float32))
        masks.append(mask)
        labels.append(int(mask.any()))
    return np.stack(maps), np.stack(masks), labels


def histograms(maps: np.ndarray, masks: np.ndarray, labels: list[int]) -> PixelHistograms:
    lo, hi = float(maps.min()), float(maps.max())
    images = [pixel.histogram_image(m, k, lo, hi) for m, k in zip(maps, masks, strict=True)]
    return stack_histograms(images, labels, lo, hi)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strength", [0.05, 0.3, 2.0])
def test_histogram_metrics_are_within_a_thousandth_of_the_exact_ones(seed: int, strength: float) -> None:
    maps, masks, labels = realistic(seed, strength)
    found = histograms(maps, masks, labels)
    truth, score = masks.ravel(), maps.ravel()
    precision, recall, _ = sk.precision_recall_curve(truth, score)
    exact_f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert pixel.pixel_auroc(found).value == pytest.approx(sk.roc_auc_score(truth, score), abs=1e-3)
    assert pixel.pixel_average_precision(found).value == pytest.approx(
        sk.average_precision_score(truth, score), abs=1e-3
    )
    assert pixel.pixel_f1_max(found).value == pytest.approx(exact_f1, abs=1e-3)
    for limit in (0.3, 0.05):
        exact = aupro_exact(maps, masks, limit)
        assert pixel.aupro(found, limit).value == pytest.approx(exact, abs=1e-3)


def aupro_in_words(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Every threshold, every region, one at a time."""
    regions = []
    for index, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(index, labelled == r) for r in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for cut in np.unique(maps)[::-1]:
        flagged = maps >= cut
        fpr = flagged[~masks].mean()
        points.append((fpr, float(np.mean([flagged[i][region].mean() for i, region in regions]))))
    grid = np.linspace(0, limit, 20001)
    fpr, pro = zip(*points, strict=True)
    return float(np.mean(np.interp(grid, *_last_of_each(fpr, pro))))


def _last_of_each(fpr: tuple[float, ...], pro: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """A vertical step of the curve keeps its two ends, a hair apart, for interpolation."""
    x = np.array(fpr) + 1e-12 * np.arange(len(fpr))
    return x.tolist(), list(pro)


@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_exact_aupro_agrees_with_a_plain_restatement(limit: float) -> None:
    maps, masks, _ = realistic(7, 0.2, edge=24, images=4)
    masks[1, 3, 3] = masks[1, 4, 4] = True  # touch at a corner: one region
    maps = np.round(maps, 2)
    assert aupro_exact(maps, masks, limit) == pytest.approx(aupro_in_words(maps, masks, limit), abs=2e-4)


def test_regions_are_eight_connected_and_histograms_keep_every_pixel() -> None:
    mask = np.zeros((6, 6), dtype=np.uint8)
    mask[1, 1] = mask[2, 2] = 255
    mask[5, 5] = 255
    scores = np.linspace(-1, 2, 36).reshape(6, 6)
    normal, regions = pixel.histogram_image(scores, mask, 0.0, 1.0)
    assert regions.sum(axis=1).tolist() == [2, 1]
    assert normal.sum() == 33
    assert normal[0] >= (scores < 0).sum() - 2
    assert (normal + regions.sum(axis=0))[-1] == (scores >= 1023 / 1024).sum()
    assert normal.dtype == regions.dtype == np.int32


def test_aupro_is_one_for_a_perfect_map_and_half_the_limit_for_a_random_one() -> None:
    maps, masks, labels = realistic(3, 0.0)
    assert pixel.aupro(histograms(masks.astype(float), masks, labels), 0.3).value == pytest.approx(1.0)
    noise = np.random.default_rng(0).random(maps.shape)
    assert pixel.aupro(histograms(noise, masks, labels), 0.3).value == pytest.approx(0.15, abs=0.02)
    constant = histograms(np.ones_like(maps), masks, labels)
    assert pixel.pixel_auroc(constant).value == 0.5
    assert pixel.aupro(constant, 0.3).value == pytest.approx(0.15)
    assert pixel.pixel_average_precision(constant).value == pytest.approx(masks.mean())


def test_empty_masks_of_anomalous_images_are_excluded_and_counted() -> None:
    maps, masks, labels = realistic(5, 0.4)
    first = labels.index(1)
    kept = [i for i in range(len(labels)) if i != first]
    without = histograms(maps, masks, labels)
    lo, hi = without.lo, without.hi
    masks[first] = False
    images = [pixel.histogram_image(m, k, lo, hi) for m, k in zip(maps, masks, strict=True)]
    found = stack_histograms(images, labels, lo, hi)
    assert found.excluded == 1
    expected = stack_histograms([images[i] for i in kept], [labels[i] for i in kept], lo, hi)
    assert pixel.aupro(found) == pixel.aupro(expected)


def test_degenerate_pixels_are_named() -> None:
    maps, masks = np.zeros((2, 4, 4)), np.zeros((2, 4, 4), dtype=bool)
    for mask, reason in ((masks, "no defect pixels"), (~masks, "no normal pixels")):
        found = histograms(maps, mask, [int(mask.any())] * 2)
        for metric in (pixel.pixel_auroc, pixel.pixel_average_precision, pixel.pixel_f1_max, pixel.aupro):
            assert metric(found).reason == reason
    assert pixel.aupro(stack_histograms([], [], 0.0, 1.0)).reason == "no defect pixels"
    with pytest.raises(ContractError, match="one size"):
        pixel.histogram_image(maps[0], masks[0, :2], 0.0, 1.0)
    with pytest.raises(ContractError, match="NaN"):
        pixel.histogram_image(maps[0] * np.nan, masks[0], 0.0, 1.0)
