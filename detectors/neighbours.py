"""Exact nearest neighbours in a memory bank, differentiable with respect to the queries.

The search runs without gradient in blocks with a running best, so that no more than one block of the distance
matrix exists; the winners' distances are then recomputed, and only those rows take part in the backward pass. At a
fixed neighbour this is the gradient of the minimum, almost everywhere.

The nearest row of a union is the nearest of the parts' nearest: banks that share parts share their search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.linalg import vector_norm

Metric = Literal["cosine", "l2"]
QUERY_BLOCK, BANK_BLOCK = 4096, 2048
GROUP = 64
"""Columns whose maximum is sought at once."""
LONG = 512
"""Columns from which that is the faster way."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Distances [N, k], ascending, and bank rows int64 [N, k]."""

    distance: Tensor
    index: Tensor


@dataclass(frozen=True, slots=True)
class Parts:
    """A bank as consecutive parts: one key and one number of rows for each. Equal keys mean equal rows."""

    keys: tuple[str, ...]
    rows: tuple[int, ...]


def nearest(
    queries: Tensor,
    bank: Tensor,
    *,
    k: int = 1,
    metric: Metric = "cosine",
    parts: Parts | None = None,
    memo: dict[Any, Any] | None = None,
) -> Neighbours:
    """The k nearest bank rows of every query.

    Args:
        queries: [N, D]; of unit length for the cosine.
        bank: [M, D]; of unit length for the cosine.
        k: Neighbours, at most M.
        metric: ``"cosine"``: 1 - <q, b>, in [0, 2]; ``"l2"``: Euclidean distance.
        parts: What the bank consists of.
        memo: Read and filled with the nearest rows of each part, for other banks with the same queries.

    Raises:
        ValueError: If k is not within 1..M.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"k = {k} neighbours of a bank of {len(bank)} rows; allowed are 1 to {len(bank)}")
    with torch.no_grad():
        known = {} if memo is None else memo
        found = [
            _search(block, bank, k, metric)
            if parts is None
            else _search_parts(block, place, bank, parts, k, metric, known)
            for place, block in enumerate(torch.split(queries, QUERY_BLOCK))
        ]
        index = torch.cat([rows for _, rows in found])
    winners = bank.index_select(0, index.flatten()).view(*index.shape, -1)  # [N, k, D]
    if metric == "cosine":
        distance = 1 - (queries[:, None] * winners).sum(-1)
    else:
        distance = vector_norm(winners.sub_(queries[:, None]), dim=-1)
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
        best = [_largest(queries @ group.T) for group in groups]
    return GroupNeighbours(torch.cat([value for value, _ in best], 1), torch.cat([row for _, row in best], 1))


Found = tuple[Tensor, Tensor]
"""The largest similarities [N, k], descending, and their bank rows int64 [N, k]."""


def _search(queries: Tensor, bank: Tensor, k: int, metric: Metric) -> Found:
    """Blockwise; the similarity is <q, b>, less |b|^2 / 2 for the Euclidean distance."""
    return _merged(_blocks(queries, bank, k, metric), k)


def _search_parts(
    queries: Tensor, place: int, bank: Tensor, parts: Parts, k: int, metric: Metric, memo: dict[Any, Any]
) -> Found:
    """`_search` part by part; ``place`` numbers the block of queries."""
    found, start = [], 0
    for part, rows in zip(parts.keys, parts.rows, strict=True):
        key = ("nearest", part, metric, k, place)
        if key not in memo:
            memo[key] = _search(queries, bank[start : start + rows], k, metric)
        value, row = memo[key]
        found.append((value, row + start))
        start += rows
    return _merged(iter(found), k)


def _blocks(queries: Tensor, bank: Tensor, k: int, metric: Metric) -> Iterator[Found]:
    for start in range(0, len(bank), BANK_BLOCK):
        value, row = _block(queries, bank[start : start + BANK_BLOCK], k, metric)
        yield value, row + start


def _block(queries: Tensor, block: Tensor, k: int, metric: Metric) -> Found:
    """One product, which is gone when the next is made: it gets the same memory, still in the cache."""
    similarity = queries @ block.T
    if metric == "l2":
        similarity -= block.square().sum(1) / 2
    if k == 1:
        return _largest(similarity)
    value, row = similarity.topk(min(k, len(block)), dim=1)
    return value, row


def _largest(similarity: Tensor) -> Found:
    """``similarity.max(dim=1, keepdim=True)``, faster: torch vectorises a maximum, but not its place.

    So the best group of columns comes first, and its place is sought in that group alone.
    """
    columns = similarity.shape[1]
    whole = columns - columns % GROUP
    if whole < LONG:
        return similarity.max(dim=1, keepdim=True)
    groups = similarity[:, :whole].view(len(similarity), -1, GROUP)
    value, group = groups.amax(2).max(dim=1, keepdim=True)
    place = groups[torch.arange(len(group), device=group.device), group[:, 0]].max(dim=1, keepdim=True)[1]
    best = value, group * GROUP + place
    if whole == columns:
        return best
    rest, place = similarity[:, whole:].max(dim=1, keepdim=True)
    return _merged(iter([best, (rest, place + whole)]), 1)


def _merged(found: Iterator[Found], k: int) -> Found:
    """The k best of several results; of equal ones the first."""
    best, index = next(found)
    for value, row in found:
        if k == 1:
            index = torch.where(value > best, row, index)
            best = torch.maximum(best, value)
        else:
            best, order = torch.cat([best, value], dim=1).topk(min(k, best.shape[1] + value.shape[1]), dim=1)
            index = torch.cat([index, row], dim=1).gather(1, order)
    return best, index
