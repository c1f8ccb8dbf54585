"""PatchCore and global kNN against plain numpy / scipy re-statements in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax

from _support import TensorSupport, images
from detectors.knn import GlobalKNN
from detectors.patchcore import PatchCore, coreset, patch_features

TINY = "seeded:vit_tiny_patch16_224"
WIDE = "seeded:wide_resnet50_2"


def restated_patches(levels: list[np.ndarray], dimension: int) -> np.ndarray:  # type: ignore[type-arg]
    """3x3 means with the zero padding counted, levels on the first grid (bilinear), joined, averaged to a length."""
    pooled = []
    for level in levels:
        height, width, dim = level.shape
        padded = np.zeros((height + 2, width + 2, dim), np.float64)
        padded[1:-1, 1:-1] = level
        pooled.append(sum(padded[r : r + height, c : c + width] for r in range(3) for c in range(3)) / 9)
    grid = pooled[0].shape[:2]
    resized = [
        torch.nn.functional.interpolate(torch.from_numpy(p).permute(2, 0, 1)[None], grid, mode="bilinear")[0]
        .permute(1, 2, 0)
        .numpy()
        for p in pooled
    ]
    joined = np.concatenate(resized, axis=-1).reshape(grid[0] * grid[1], -1)
    size = joined.shape[1]
    if size <= dimension:
        return joined
    bounds = [(i * size // dimension, -(-(i + 1) * size // dimension)) for i in range(dimension)]
    return np.stack([joined[:, a:b].mean(1) for a, b in bounds], axis=1)


@pytest.mark.parametrize(("backbone", "edge", "reweight"), [(WIDE, 256, 9), (WIDE, 256, 0), (TINY, 112, 9)])
def test_patchcore_equals_the_restatement(backbone: str, edge: int, reweight: int) -> None:
    detector = PatchCore(backbone, reweight_neighbours=reweight, dimension=100)
    fitted = detector.fit(TensorSupport(images(1, edge)), seed=3)
    query = images(1, edge, 1)[0][None].float() / 255
    with torch.no_grad():
        prediction, features = fitted(query), detector.extractor(query)
    patches = restated_patches([level[0].double().numpy() for level in features.maps], 100)
    bank = fitted.bank.double().numpy()
    every = cdist(patches, bank)
    distance, rows = every.min(1), every.argmin(1)
    worst = int(distance.argmax())
    expected = distance[worst]
    if reweight:
        around = np.argsort(cdist(bank[rows[worst]][None], bank)[0])[:reweight]
        to_others = np.linalg.norm(patches[worst] - bank[around], axis=1)
        assert around[0] == rows[worst]
        expected = expected * (1 - softmax(to_others)[0])
    assert prediction.score.item() == pytest.approx(expected, rel=1e-5)
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[0].numpy().ravel(), distance, rtol=1e-5, atol=1e-5)


def test_published_preprocessing_of_the_wide_resnet() -> None:
    """Resize 256, centre crop 224: a 448 canonical image is seen from 28 to 420, on a 28 x 28 grid."""
    detector = PatchCore(WIDE)
    features = detector.extractor(images(1, 448)[0][None].float() / 255)
    assert features.region == (28, 28, 420, 420)
    assert [tuple(level.shape) for level in features.maps] == [(1, 28, 28, 512), (1, 14, 14, 1024)]
    assert patch_features(features, 1024).shape == (1, 28, 28, 1024)


def test_coreset_is_greedy_k_centre() -> None:
    """Against a loop over all pairs; low dimension, so nothing is projected."""
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = coreset(points, 0.2, seed=1).tolist()
    assert len(chosen) == 12
    for step in range(1, 12):
        to_chosen = torch.cdist(points, points[chosen[:step]]).amin(1)
        assert to_chosen[chosen[step]] == to_chosen.max()
    assert coreset(points, 0.2, seed=1).tolist() == chosen
    assert len(coreset(points, 0.001, seed=1)) == 1


def test_a_bank_of_one_row_keeps_a_positive_score() -> None:
    fitted = PatchCore(TINY, coreset_ratio=0.001).fit(TensorSupport(images(1, 112)), seed=0)
    assert fitted.bank.shape[0] == 1
    assert (fitted(torch.stack(images(2, 112, 1)).float() / 255).score > 0).all()


@pytest.mark.parametrize("backbone", [TINY, "seeded:resnet18"])
def test_knn_equals_the_restatement(backbone: str) -> None:
    detector = GlobalKNN(backbone, neighbours=2)
    support = images(3, 112)
    fitted = detector.fit(TensorSupport(support), seed=0)
    query = images(2, 112, 1)
    with torch.no_grad():
        prediction = fitted(torch.stack(query).float() / 255)
        vectors = [detector.extractor(i[None].float() / 255).cls for i in [*query, *support]]
    stacked = np.concatenate([v.numpy().astype(np.float64) for v in vectors if v is not None])
    unit = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
    expected = np.sort(1 - unit[:2] @ unit[2:].T, axis=1)[:, :2].mean(1)
    np.testing.assert_allclose(prediction.score.numpy(), expected, atol=1e-5)
    assert prediction.anomaly_map is None


def test_knn_with_fewer_references_than_neighbours_uses_all() -> None:
    fitted = GlobalKNN(TINY, neighbours=5).fit(TensorSupport(images(1, 112)), seed=0)
    assert fitted(images(1, 112)[0][None].float() / 255).score.item() == pytest.approx(0.0, abs=1e-5)
