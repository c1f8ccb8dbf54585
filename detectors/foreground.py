"""AnomalyDINO's zero-shot foreground mask: the first principal component of an image's own patch tokens.

Source: Damm et al., "AnomalyDINO", WACV 2025, and its official code. The decision is not differentiable;
`margin` is the
differentiable quantity behind it, with the mean, the component and its sign held constant.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d

MaskForm = Literal["raster", "grid"]
THRESHOLD = 10.0
CENTRE = (0.2, 0.8)
MIN_CENTRE_FRACTION = 0.35


def margin(tokens: Tensor) -> Tensor:
    """Signed first principal score minus the threshold: positive where a patch counts as foreground.

    Args:
        tokens: Raw (not normalised) tokens [B, h, w, D].

    Returns:
        [B, h, w]. The sign is flipped for images whose centre window would be at most 35 % foreground.
    """
    flat = tokens.flatten(1, 2)  # [B, N, D]
    mean = flat.detach().mean(dim=1, keepdim=True)
    component = _first_component(flat.detach() - mean)
    score = ((flat - mean) * component[:, None]).sum(-1).reshape(tokens.shape[:3])  # [B, h, w]
    sign = torch.where(_is_centred(score.detach() > THRESHOLD), 1.0, -1.0)
    signed: Tensor = sign[:, None, None] * score
    return signed - THRESHOLD


def foreground(tokens: Tensor, form: MaskForm = "raster") -> Tensor:
    """Foreground mask, bool [B, h, w].

    Args:
        tokens: Raw tokens [B, h, w, D].
        form: Shape of the 3x3 dilation and closing. ``"raster"``: along the flattened raster order, wrapping
            over row ends, as
            the official code does (its array is (N, 1) when it reaches OpenCV) and as the published figures
            were
            made; ``"grid"``: on the 2-D grid, as anomalib does.
    """
    with torch.no_grad():
        return morph((margin(tokens) > 0), form)


def morph(mask: Tensor, form: MaskForm) -> Tensor:
    """Dilate, then close (dilate, erode) with a window of 3; the outside is neutral. Bool [B, h, w]."""
    values = mask.float().flatten(1)[:, None] if form == "raster" else mask.float()[:, None]
    pool = max_pool1d if form == "raster" else max_pool2d
    for _ in range(2):
        values = pool(values, 3, stride=1, padding=1)
    eroded = -pool(-values, 3, stride=1, padding=1)
    return (eroded > 0.5).reshape(mask.shape)


def _first_component(centred: Tensor) -> Tensor:
    """Unit eigenvectors [B, D] of the largest eigenvalue; the largest entry is positive."""
    values = centred.double()
    vector = torch.linalg.eigh(values.mT @ values).eigenvectors[..., -1]  # ascending order
    largest = vector.abs().argmax(dim=1, keepdim=True)
    signed: Tensor = vector * vector.gather(1, largest).sign()
    return signed.to(centred.dtype)


def _is_centred(mask: Tensor) -> Tensor:
    """Whether [B] more than 35 % of rows int(0.2 h) to int(0.8 h) and the same columns are foreground."""
    rows, columns = ([int(share * edge) for share in CENTRE] for edge in mask.shape[1:])
    centre = mask[:, rows[0] : rows[1], columns[0] : columns[1]].flatten(1)
    return centre.sum(dim=1) > MIN_CENTRE_FRACTION * centre.shape[1]
