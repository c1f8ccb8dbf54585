"""Slow or exact counterparts of the pixel metrics, which tests compare with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from benchmark.metrics.outcome import Bools, Floats
from benchmark.metrics.pixel import BINS, EIGHT_CONNECTED, Histogram, PixelHistograms, area_to_limit


def stack_histograms(
    images: Sequence[tuple[Histogram, Histogram]], labels: Sequence[int], lo: float, hi: float
) -> PixelHistograms:
    """Join the histograms of images; anomalous images (label 1) without any region are excluded and counted."""
    kept = [image for image, label in zip(images, labels, strict=True) if not label or len(image[1])]
    empty = np.zeros((0, BINS), dtype=np.int32)
    return PixelHistograms(
        lo,
        hi,
        np.stack([normal for normal, _ in kept]) if kept else empty,
        np.concatenate([empty, *(regions for _, regions in kept)]),
        excluded=len(images) - len(kept),
    )


def aupro_exact(maps: Floats, masks: Bools, fpr_limit: float = 0.3) -> float:
    """AUPRO of maps [n, H, W] at every distinct value."""
    structure = np.zeros((3, 3, 3), dtype=np.int8)
    structure[1] = EIGHT_CONNECTED
    region, count = ndimage.label(masks, structure=structure)
    sizes = np.bincount(region.ravel(), minlength=count + 1)
    order = np.argsort(-maps.ravel(), kind="stable")
    label, value = region.ravel()[order], maps.ravel()[order]
    last = np.append(np.flatnonzero(np.diff(value)), value.size - 1)
    fpr = np.cumsum(label == 0)[last] / sizes[0]
    overlap = np.cumsum(np.where(label > 0, 1 / (sizes[label] * count), 0.0))[last]
    return area_to_limit(fpr, overlap, fpr_limit)
