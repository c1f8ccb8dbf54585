"""PaDiM, SPADE, SubspaceAD, batched AnomalyDINO and MuSc against plain numpy / scikit-learn / scipy re-statements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from _support import TensorSupport, images
from benchmark.errors import NotApplicableError
from benchmark.execution.target import BoundTarget
from benchmark.types import Features, MaskedScorer, TransductiveScorer
from detectors.anomalydino import ANGLES
from detectors.anomalydino_batched import BatchedAnomalyDINO, low_quantile_distance
from detectors.foreground import foreground
from detectors.musc import MuSc
from detectors.padim import PaDiM, position_features
from detectors.spade import SPADE
from detectors.subspacead import SubspaceAD

TINY = "seeded:vit_tiny_patch16_224"
CNN = "seeded:resnet18"
WIDE = "seeded:wide_resnet50_2"
Array = NDArray[Any]


def features_of(detector: Any, image: torch.Tensor) -> Features:
    with torch.no_grad():
        features: Features = detector.extractor(image[None].float() / 255)
    return features


def batch(pictures: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(pictures).float() / 255


@pytest.mark.parametrize("shots", [1, 2, 5])
def test_padim_equals_ledoit_wolf_and_scipy(shots: int) -> None:
    detector = PaDiM(CNN, layers=(2, 3), channels=40)
    support, query = images(shots, 64), images(1, 64, 1)[0]
    fitted = detector.fit(TensorSupport(support), seed=4)
    with torch.no_grad():
        prediction = fitted(batch([query]))
    channels = fitted.channels
    assert len(channels) == 40
    assert len(set(channels.tolist())) == 40
    samples = torch.cat([position_features(features_of(detector, i), channels) for i in support]).double().numpy()
    test = position_features(features_of(detector, query), channels)[0].double().numpy()
    expected = []
    for position in range(samples.shape[1]):
        values = samples[:, position]
        covariance = LedoitWolf().fit(values).covariance_ if shots > 1 else np.zeros((40, 40))
        inverse = np.linalg.inv(covariance + 0.01 * np.eye(40))
        expected.append(mahalanobis(test[position], values.mean(0), inverse))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[0].numpy().ravel(), expected, rtol=1e-5)
    assert prediction.score.item() == pytest.approx(max(expected), rel=1e-5)


def test_padim_joins_published_levels_and_refuses_other_sizes() -> None:
    detector = PaDiM(WIDE)
    features = features_of(detector, images(1, 256)[0])
    assert position_features(features).shape == (1, 56 * 56, 256 + 512 + 1024)
    small = PaDiM(CNN, layers=(2,))
    fitted = small.fit(TensorSupport(images(1, 64)), seed=0)
    with pytest.raises(NotApplicableError, match="grid 8x8, here 12x8"):
        fitted(torch.rand(1, 3, 96, 64))


def test_spade_equals_the_restatement() -> None:
    detector = SPADE(CNN, layers=(1, 2, 3), neighbours=2)
    support, query = images(3, 64), images(1, 64, 1)[0]
    fitted = detector.fit(TensorSupport(support), seed=0)
    with torch.no_grad():
        prediction = fitted(batch([query]))
    test, refs = features_of(detector, query), [features_of(detector, i) for i in support]
    vectors = [f.maps[-1].mean(dim=(1, 2)).numpy() for f in [test, *refs]]
    nearest = np.sort(cdist(vectors[0], np.concatenate(vectors[1:])))[:, :2]
    assert prediction.score.item() == pytest.approx(nearest.mean(), rel=1e-5)
    maps = []
    for level in (0, 1):
        patches = test.maps[level][0].flatten(0, 1).numpy()
        gallery = np.concatenate([r.maps[level][0].flatten(0, 1).numpy() for r in refs])
        grid = test.maps[level].shape[1:3]
        distance = torch.from_numpy(cdist(patches, gallery).min(1).reshape(grid))
        maps.append(
            torch.nn.functional.interpolate(distance[None, None], test.maps[0].shape[1:3], mode="bilinear")[0, 0]
        )
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[0].numpy(), np.mean(maps, axis=0), rtol=1e-5)


def test_spade_uses_level_four_of_the_wide_resnet_for_the_image() -> None:
    features = features_of(SPADE(WIDE), images(1, 256)[0])
    assert [level.shape[-1] for level in features.maps] == [256, 512, 1024, 2048]


@pytest.mark.parametrize("variance", [0.5, 0.99])
def test_subspacead_equals_scikit_learn(variance: float) -> None:
    detector = SubspaceAD(TINY, variance=variance, layers=(5, 8))
    support = TensorSupport(images(2, 112))
    query = images(1, 112, 1)[0]
    fitted = detector.fit(support, seed=0)
    with torch.no_grad():
        prediction = fitted(batch([query]))
    views = [view for views in support.views(ANGLES) for view in views]

    def tokens(image: torch.Tensor) -> Array:
        both = torch.stack(features_of(detector, image).maps).mean(0)
        result: Array = both.flatten(0, 2).double().numpy()
        return result

    pca = PCA(n_components=variance, svd_solver="full").fit(np.concatenate([tokens(v) for v in views]))
    test = tokens(query)
    residual = test - pca.inverse_transform(pca.transform(test))
    expected = (residual**2).sum(1)
    assert fitted.basis.shape[0] == pca.n_components_
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[0].numpy().ravel(), expected, rtol=1e-3)
    assert prediction.score.item() == pytest.approx(expected.max(), rel=1e-3)


def test_quantile_distance_equals_the_official_rule() -> None:
    """5,000 rows: the 5th smallest is the limit and the 4 strictly below it are averaged."""
    generator = torch.Generator().manual_seed(0)
    queries, bank = (torch.nn.functional.normalize(torch.randn(n, 16, generator=generator), dim=1) for n in (7, 5000))
    distance = np.sort(1 - queries.double().numpy() @ bank.double().numpy().T, axis=1)
    np.testing.assert_allclose(low_quantile_distance(queries, bank).numpy(), distance[:, :4].mean(1), atol=1e-5)


def test_quantile_distance_without_anything_below_the_limit_is_the_nearest() -> None:
    queries = torch.eye(4)[:2]
    assert torch.equal(low_quantile_distance(queries, torch.eye(4)), torch.zeros(2))
    tied = torch.eye(4)[2:3].repeat(5000, 1)
    assert torch.equal(low_quantile_distance(queries, tied), torch.ones(2))


def test_batched_anomalydino_leaves_the_scored_image_out() -> None:
    detector = BatchedAnomalyDINO(TINY)
    pictures = images(4, 112)
    query = [(f"q{i}", picture) for i, picture in enumerate(pictures)]
    fitted = detector.fit_transductive(TensorSupport([]), query, seed=0)
    assert isinstance(fitted, TransductiveScorer)
    with torch.no_grad():
        prediction = fitted.excluding(["q2", "q0"])(batch([pictures[2], pictures[0]]))
        inside = fitted(batch([pictures[2]]))
    unit = [
        torch.nn.functional.normalize(features_of(detector, p).maps[-1].flatten(0, 2), dim=1).numpy() for p in pictures
    ]
    for row, index in enumerate((2, 0)):
        bank = np.concatenate([u for i, u in enumerate(unit) if i != index])
        expected = (1 - unit[index] @ bank.T).min(1)
        assert prediction.anomaly_map is not None
        np.testing.assert_allclose(prediction.anomaly_map[row].numpy().ravel(), expected, atol=1e-5)
        assert prediction.score[row].item() == pytest.approx(expected.max(), abs=1e-5)
    assert inside.score.item() == pytest.approx(0.0, abs=1e-5)


def restated_musc(
    features: list[Features], shares: float = 0.3, ks: tuple[int, ...] = (1, 2, 3)
) -> tuple[Array, Array]:
    """Image scores and maps of a whole query set, with loops."""
    count = len(features)
    maps = np.zeros((count, features[0].maps[0].shape[1] * features[0].maps[0].shape[2]))
    settings = [(level, r) for r in (1, 3, 5) for level in range(len(features[0].maps))]
    for level, r in settings:
        patches = []
        for f in features:
            x = f.maps[level][0].double().numpy()
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
            height, width, dim = x.shape
            pad = r // 2
            padded = np.zeros((height + 2 * pad, width + 2 * pad, dim))
            padded[pad : pad + height, pad : pad + width] = x
            mean = sum(padded[a : a + height, b : b + width] for a in range(r) for b in range(r)) / r**2
            flat = mean.reshape(-1, dim)
            patches.append(flat / np.linalg.norm(flat, axis=1, keepdims=True))
        for i in range(count):
            near = np.stack([cdist(patches[i], patches[j]).min(1) for j in range(count) if j != i], axis=1)
            keep = max(1, int(shares * (count - 1)))
            maps[i] += np.sort(near, axis=1)[:, :keep].mean(1) / len(settings)
    raw = maps.max(1)
    vectors = np.concatenate([f.cls.double().numpy() for f in features if f.cls is not None])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    smoothed = np.zeros((len(ks), count))
    for row, k in enumerate(ks):
        for i in range(count):
            top = np.argsort(-similarity[i])[:k]
            smoothed[row, i] = (similarity[i, top] * raw[top]).sum() / similarity[i, top].sum()
    return smoothed.mean(0), maps


def test_attacks_reach_the_masks_of_the_batch() -> None:
    """What an attack knows of the inside is the detector that scores the batch, each image left out of its own bank."""
    pictures = images(4, 112)
    ids = tuple(f"q{i}" for i in range(4))
    detector = BatchedAnomalyDINO(TINY, preprocess="force_mask_no_rotation")
    fitted = detector.fit_transductive(TensorSupport([]), list(zip(ids, pictures, strict=True)), seed=0)
    with torch.no_grad():
        target = BoundTarget(fitted, ids)
        inside = target.fitted
        assert isinstance(inside, MaskedScorer)
        features, turned = (target.features(batch(p)) for p in (pictures, pictures[::-1]))
        own, held = inside.score(features), inside.with_foreground(turned).score(features)
        assert own.anomaly_map is not None
        assert held.anomaly_map is not None
        assert torch.equal(own.score, target.predict(batch(pictures)).score)
        assert torch.equal(inside.with_foreground(features).score(features).score, own.score)
        assert torch.equal(held.anomaly_map > 0, foreground(turned.maps[-1]))
        assert ((held.anomaly_map > 0) != (own.anomaly_map > 0)).any()


def test_musc_equals_the_restatement() -> None:
    detector = MuSc(TINY)
    assert detector.extractor.network.layers == (2, 5, 8, 11)  # type: ignore[attr-defined]
    pictures = images(8, 80)
    query = [(f"q{i}", picture) for i, picture in enumerate(pictures)]
    fitted = detector.fit_transductive(TensorSupport([]), query, seed=0)
    scores, maps = restated_musc([features_of(detector, p) for p in pictures])
    with torch.no_grad():
        prediction = fitted.excluding([name for name, _ in query])(batch(pictures))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map.flatten(1).numpy(), maps, atol=1e-5)
    np.testing.assert_allclose(prediction.score.numpy(), scores, atol=1e-5)


@pytest.mark.parametrize("factory", [BatchedAnomalyDINO, MuSc])
def test_transductive_detectors_refuse_what_they_cannot_do(factory: Any) -> None:
    detector = factory(TINY)
    with pytest.raises(NotApplicableError, match="unlabelled query set"):
        detector.fit(TensorSupport(images(1, 112)), seed=0)
    with pytest.raises(NotApplicableError, match="at least 2 query images, got 1"):
        detector.fit_transductive(TensorSupport([]), [("a", images(1, 112)[0])], seed=0)
