"""Pixel evidence of one cell: maps are rendered, counted into histograms and dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from torch import Tensor, from_numpy

from benchmark.errors import ContractError
from benchmark.execution.maps import render_map
from benchmark.execution.memory import beside_heap
from benchmark.metrics.pixel import histogram_image
from benchmark.storage.cells import CellPixels
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
        self._tables: list[np.ndarray] = []
        self._places: dict[str, tuple[int, range]] = {}  # of an image: its table and rows there

    def add(self, prediction: Prediction, ids: tuple[str, ...]) -> None:
        """Take the maps of one batch."""
        if prediction.anomaly_map is None:
            raise ContractError("the card says has_map = True, but a prediction has no anomaly_map")
        raw = prediction.anomaly_map.detach().float().cpu()
        small = replace(prediction, score=prediction.score.cpu(), anomaly_map=raw)
        if self._span is None:
            self._waiting.append((ids, replace(small, anomaly_map=from_numpy(beside_heap(raw.numpy())))))
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
        places = [self._places[name] for name in order]
        sizes = [len(rows) for _, rows in places]
        return CellPixels(
            *self._span,
            image=np.repeat(np.arange(len(order), dtype=np.int32), sizes),
            region=np.concatenate([np.arange(-1, size - 1, dtype=np.int32) for size in sizes]),
            counts=np.concatenate([self._tables[table][rows.start : rows.stop] for table, rows in places]),
        )

    def _count(self, prediction: Prediction, ids: tuple[str, ...], low: float, high: float) -> None:
        masks = self._masks(ids).cpu().numpy()
        maps = render_map(prediction, masks.shape[1], masks.shape[2]).numpy()
        tables = [np.vstack(histogram_image(*pair, low, high)) for pair in zip(maps, masks, strict=True)]
        ends = np.cumsum([0, *map(len, tables)]).tolist()
        places = [(len(self._tables), range(*rows)) for rows in pairwise(ends)]
        self._places.update(zip(ids, places, strict=True))
        self._tables.append(beside_heap(np.concatenate(tables)))
