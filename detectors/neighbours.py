"""Exact nearest neighbours in a memory bank, differentiable with respect to the queries.

The search runs without gradient in blocks with a running best, so that no more than one block of the distance
matrix exists;
the winners' distances are then recomputed, and only those rows take part in the backward pass. At a fixed
neighbour this is
the gradient of the minimum, almost everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.linalg import vector_norm

Metric = Literal["cosine", "l2"]
QUERY_BLOCK, BANK_BLOCK = 4096, 8192


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Distances [N, k], ascending, and bank rows int64 [N, k]."""

    distance: Tensor
    index: Tensor


def nearest(queries: Tensor, bank: Tensor, *, k: int = 1, metric: Metric = "cosine") -> Neighbours:
    """The k nearest bank rows of every query.

    Args:
        queries: [N, D]; of unit length for the cosine.
        bank: [M, D]; of unit length for the cosine.
        k: Neighbours, at most M.
        metric: ``"cosine"``: 1 - <q, b>, in [0, 2]; ``"l2"``: Euclidean distance.

    Raises:
        ValueError: If k is not within 1..M.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"k = {k} neighbours of a bank of {len(bank)} rows; allowed are 1 to {len(bank)}")
    with torch.no_grad():
        index = torch.cat([_search(block, bank, k, metric) for block in torch.split(queries, QUERY_BLOCK)])
    winners = bank[index]  # [N, k, D]
    if metric == "cosine":
        distance = 1 - (queries[:, None] * winners).sum(-1)
    else:
        distance = vector_norm(queries[:, None] - winners, dim=-1)
    return Neighbours(distance, index)


@dataclass(frozen=True, slots=True)
class GroupNeighbours:
    """Best cosine [N, n] and its row int64 [N, n] in each of n groups."""

    similarity: Tensor
    index: Tensor


def nearest_per_group(queries: Tensor, groups: Tensor) -> GroupNeighbours:
    """The nearest row of every group, by cosine, without gradient; one group's matrix at a time.

    Args:
        queries: [N, D], unit rows.
        groups: [n, M, D], unit rows.
    """
    with torch.no_grad():
        best = [(queries @ group.T).max(dim=1) for group in groups]
    return GroupNeighbours(torch.stack([b.values for b in best], 1), torch.stack([b.indices for b in best], 1))


def _search(queries: Tensor, bank: Tensor, k: int, metric: Metric) -> Tensor:
    """Rows of the k largest similarities, blockwise: <q, b>, less |b|^2 / 2 for the Euclidean distance."""
    best = queries.new_full((len(queries), 0), 0.0)
    index = torch.zeros((len(queries), 0), dtype=torch.int64, device=queries.device)
    for start in range(0, len(bank), BANK_BLOCK):
        block = bank[start : start + BANK_BLOCK]
        similarity = queries @ block.T
        if metric == "l2":
            similarity -= block.square().sum(1) / 2
        value, row = similarity.topk(min(k, len(block)), dim=1) if k > 1 else similarity.max(dim=1, keepdim=True)
        best, order = torch.cat([best, value], dim=1).topk(min(k, best.shape[1] + value.shape[1]), dim=1)
        index = torch.cat([index, row + start], dim=1).gather(1, order)
    return index
