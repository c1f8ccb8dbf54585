"""Pixel evidence of one cell: maps are rendered, counted into histograms and dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from benchmark.errors import ContractError
from benchmark.maps import render_map
from benchmark.metrics.pixel import BINS, histogram_image
from benchmark.store import CellPixels
from benchmark.types import Prediction

Masks = Callable[[Sequence[str]], Tensor]


class PixelCollector:
    """Counts the pixels of every image of a cell.

    The range of the bins is the range of the raw maps on the clean images. An attacked cell takes it from its clean
    cell; a clean cell keeps its small grid maps until the pass ends, then renders them one batch at a time.

    Args:
        masks: Ground truth bool [B, H, W] of sample ids, at canonical size.
        span: (low, high) of the clean cell, or None for a clean cell.
    """

    def __init__(self, masks: Masks, span: tuple[float, float] | None) -> None:
        self._masks = masks
        self._span = span
        self._waiting: list[tuple[tuple[str, ...], Prediction]] = []
        self._rows: dict[str, list[tuple[int, np.ndarray]]] = {}

    def add(self, prediction: Prediction, ids: tuple[str, ...]) -> None:
        """Take the maps of one batch."""
        if prediction.anomaly_map is None:
            raise ContractError("the card says has_map = True, but a prediction has no anomaly_map")
        small = replace(prediction, score=prediction.score.cpu(), anomaly_map=prediction.anomaly_map.detach().cpu())
        if self._span is None:
            self._waiting.append((ids, small))
        else:
            self._count(small, ids, *self._span)

    def finish(self, order: Sequence[str]) -> CellPixels:
        """The evidence, in the given order of sample ids."""
        if self._span is None:
            maps = [p.anomaly_map for _, p in self._waiting if p.anomaly_map is not None]
            self._span = (min(float(m.min()) for m in maps), max(float(m.max()) for m in maps))
            for ids, prediction in self._waiting:
                self._count(prediction, ids, *self._span)
            self._waiting.clear()
        rows = [(place, region, hist) for place, name in enumerate(order) for region, hist in self._rows[name]]
        return CellPixels(
            *self._span,
            image=np.array([row[0] for row in rows], np.int32),
            region=np.array([row[1] for row in rows], np.int32),
            counts=np.stack([row[2] for row in rows]) if rows else np.zeros((0, BINS), np.int32),
        )

    def _count(self, prediction: Prediction, ids: tuple[str, ...], low: float, high: float) -> None:
        masks = self._masks(ids).cpu().numpy()
        maps = render_map(prediction, masks.shape[1], masks.shape[2]).numpy()
        for name, one_map, mask in zip(ids, maps, masks, strict=True):
            normal, regions = histogram_image(one_map, mask, low, high)
            self._rows[name] = [(-1, normal), *enumerate(regions)]
