"""Neighbour search against faiss and against autograd through the full distance matrix."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from detectors import neighbours
from detectors.neighbours import nearest


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "QUERY_BLOCK", 7)
    monkeypatch.setattr(neighbours, "BANK_BLOCK", 12)
    monkeypatch.setattr(neighbours, "GROUP", 4)
    monkeypatch.setattr(neighbours, "LONG", 8)


def points(seed: int, count: int, unit: bool) -> torch.Tensor:
    values = torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))
    return normalize(values, dim=1) if unit else values


@pytest.mark.parametrize("k", [1, 3, 40])
def test_cosine_equals_half_the_squared_distance_of_faiss(k: int) -> None:
    queries, bank = points(0, 30, True), points(1, 40, True)
    index = faiss.IndexFlatL2(24)
    index.add(bank.numpy())
    squared, rows = index.search(queries.numpy(), k)
    found = nearest(queries, bank, k=k)
    np.testing.assert_allclose(found.distance.numpy(), squared / 2, atol=1e-5)
    assert (found.index.numpy() == rows).mean() > 0.99


@pytest.mark.parametrize("k", [1, 5])
def test_l2_equals_faiss(k: int) -> None:
    queries, bank = points(2, 30, False), points(3, 40, False)
    index = faiss.IndexFlatL2(24)
    index.add(bank.numpy())
    squared, rows = index.search(queries.numpy(), k)
    found = nearest(queries, bank, k=k, metric="l2")
    np.testing.assert_allclose(found.distance.numpy(), np.sqrt(squared), atol=1e-5)
    assert (found.index.numpy() == rows).all()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_gradient_is_that_of_the_full_distance_matrix(metric: neighbours.Metric) -> None:
    queries, bank = points(4, 20, metric == "cosine").requires_grad_(), points(5, 33, metric == "cosine")
    (ours,) = torch.autograd.grad(nearest(queries, bank, k=2, metric=metric).distance.sum(), queries)
    matrix = 1 - queries @ bank.T if metric == "cosine" else torch.cdist(queries, bank)
    (full,) = torch.autograd.grad(matrix.topk(2, largest=False).values.sum(), queries)
    assert torch.allclose(ours, full, atol=1e-5)


def test_a_query_that_lies_in_the_bank_has_a_finite_gradient() -> None:
    bank = points(6, 12, False)
    queries = bank[:2].clone().requires_grad_()
    distance = nearest(queries, bank, metric="l2").distance
    assert torch.equal(distance, torch.zeros(2, 1))
    (gradient,) = torch.autograd.grad(distance.sum(), queries)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("columns", [40, 38, 12, 3])
def test_the_first_of_equal_maxima_is_named(columns: int) -> None:
    similarity = torch.randint(0, 5, (30, columns), generator=torch.Generator().manual_seed(5)).float()
    value, row = neighbours._largest(similarity)
    assert value.tolist() == [[max(line)] for line in similarity.tolist()]
    assert row.tolist() == [[line.index(max(line))] for line in similarity.tolist()]


@pytest.mark.parametrize("k", [0, 13])
def test_impossible_k(k: int) -> None:
    with pytest.raises(ValueError, match=f"k = {k} neighbours of a bank of 12 rows"):
        nearest(points(0, 2, True), points(1, 12, True), k=k)


@pytest.mark.parametrize(("k", "metric"), [(1, "cosine"), (3, "cosine"), (2, "l2")])
def test_banks_of_shared_parts_search_every_part_once(
    k: int, metric: neighbours.Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, rows = points(0, 23, unit=True), points(1, 31, unit=True)
    cuts, keys = (0, 4, 15, 16, 31), ("a", "b", "c", "d")
    searched: list[int] = []
    search = neighbours._search
    monkeypatch.setattr(
        neighbours, "_search", lambda q, bank, *rest: searched.append(len(bank)) or search(q, bank, *rest)
    )
    memo: dict[object, object] = {}
    for first, last in ((0, 2), (0, 4), (2, 4), (1, 3)):
        bank = rows[cuts[first] : cuts[last]]
        lengths = tuple(b - a for a, b in zip(cuts[first:last], cuts[first + 1 : last + 1], strict=True))
        parts = neighbours.Parts(keys[first:last], lengths)
        found = neighbours.nearest(queries, bank, k=k, metric=metric, parts=parts, memo=memo)
        whole = torch.cdist(queries, bank)
        expected = whole.topk(k, largest=False)
        assert torch.equal(found.index, expected.indices)
        distance = expected.values if metric == "l2" else expected.values.square() / 2
        torch.testing.assert_close(found.distance, distance, rtol=1e-4, atol=1e-6)
    blocks = -(-len(queries) // neighbours.QUERY_BLOCK)
    assert sorted(searched) == sorted([4, 11, 1, 15] * blocks)
