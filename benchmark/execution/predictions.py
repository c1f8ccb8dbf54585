"""Believing nothing that a detector says: every prediction is checked before it counts."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.errors import ContractError
from benchmark.types import Prediction


def checked_prediction(label: str, found: Prediction, images: Tensor, ids: tuple[str, ...]) -> Prediction:
    """The prediction of a batch, if it keeps the contract.

    Args:
        label: The detector's name, for the message.
        found: What it gave for the images.
        images: float [B, 3, H, W].
        ids: Their B sample ids.

    Raises:
        ContractError: Naming the detector, if scores or maps are no tensors of the right shape, are not finite in
            float32, the map's region lies outside the image, or its blur is not from 0 to the image's larger edge.
    """
    where = f"detector {label}"
    if not isinstance(found, Prediction):
        raise ContractError(f"{where}: gave {type(found).__name__}, not a Prediction")
    _check_scores(where, found.score, ids)
    if found.anomaly_map is not None:
        _check_map(where, found, images)
    return found


def _check_scores(where: str, score: object, ids: tuple[str, ...]) -> None:
    if not isinstance(score, Tensor) or score.shape != (len(ids),) or not score.is_floating_point():
        given = f"{score.dtype} {list(score.shape)}" if isinstance(score, Tensor) else type(score).__name__
        raise ContractError(f"{where}: its score is {given}, not one float for each of {len(ids)} images")
    finite = torch.isfinite(score.detach().float())
    if not bool(finite.all()):
        first = ids[int(finite.int().argmin())]
        raise ContractError(f"{where}: scores that are not finite in float32, first for {first}")


def _check_map(where: str, found: Prediction, images: Tensor) -> None:
    grid, (count, _, height, width) = found.anomaly_map, images.shape
    if not isinstance(grid, Tensor) or grid.ndim != 3 or len(grid) != count or not grid.numel():
        given = list(grid.shape) if isinstance(grid, Tensor) else type(grid).__name__
        raise ContractError(f"{where}: its anomaly_map is {given}, not [{count}, h, w]")
    if not bool(torch.isfinite(grid.detach().float()).all()):
        raise ContractError(f"{where}: an anomaly_map that is not finite in float32")
    if found.region is not None and not _inside(found.region, height, width):
        raise ContractError(
            f"{where}: region {found.region} is no (top, left, bottom, right) inside an image of {height} x {width}"
        )
    if not isinstance(found.map_sigma, (int, float)) or not 0 <= found.map_sigma <= max(height, width):
        raise ContractError(f"{where}: map_sigma {found.map_sigma!r} is not from 0 to {max(height, width)} pixels")


def _inside(region: object, height: int, width: int) -> bool:
    if not isinstance(region, tuple) or len(region) != 4 or not all(isinstance(part, int) for part in region):
        return False
    top, left, bottom, right = region
    return bool(0 <= top < bottom <= height and 0 <= left < right <= width)
