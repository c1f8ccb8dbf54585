"""AnomalyDINO against a plain numpy / scikit-learn / faiss re-statement of the paper and its official code."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from _support import TensorSupport, images
from benchmark.errors import NotApplicableError, UsageError
from benchmark.types import CategoryInfo, Features, MaskedScorer
from detectors.anomalydino import ANGLES, AnomalyDINO, masks, rotates
from detectors.bank import FeatureCache
from detectors.foreground import foreground, margin, morph

TINY = "seeded:vit_tiny_patch16_224"
SMALL = "seeded:dinov2_vits14"
Array = NDArray[Any]


def tokens_of(detector: AnomalyDINO, image: torch.Tensor) -> Array:
    with torch.no_grad():
        tokens = detector.extractor(image[None].float() / 255).maps[-1][0]
    result: Array = tokens.numpy().astype(np.float32)
    return result


def dilate(mask: Array) -> Array:
    """Ones within one step along every axis, by shifting."""
    for axis in range(mask.ndim):
        moved = [np.zeros_like(mask), np.zeros_like(mask)]
        ahead = [slice(None)] * mask.ndim
        behind = [slice(None)] * mask.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        moved[0][tuple(ahead)] = mask[tuple(behind)]
        moved[1][tuple(behind)] = mask[tuple(ahead)]
        mask = mask | moved[0] | moved[1]
    return mask


def restated_mask(tokens: Array, form: str) -> Array:
    height, width, dim = tokens.shape
    score = PCA(n_components=1, svd_solver="full").fit_transform(tokens.reshape(-1, dim).astype(np.float64))[:, 0]
    mask = (score > 10).reshape(height, width)
    centre = mask[int(0.2 * height) : int(0.8 * height), int(0.2 * width) : int(0.8 * width)]
    if centre.mean() <= 0.35:
        mask = (-score > 10).reshape(height, width)
    work = mask.reshape(-1) if form == "raster" else mask
    closed = ~dilate(~dilate(dilate(work)))
    return closed.reshape(height, width)


def restated_score(test: Array, bank: Array, mask: Array | None, k: int, metric: str) -> tuple[float, Array]:
    flat, bank = test.reshape(-1, test.shape[-1]).copy(), bank.copy()
    if metric == "cosine":
        faiss.normalize_L2(flat)
        faiss.normalize_L2(bank)
    index = faiss.IndexFlatL2(flat.shape[1])
    index.add(bank)
    squared = np.maximum(index.search(flat, k)[0], 0)
    distance = (squared / 2 if metric == "cosine" else np.sqrt(squared)).mean(axis=1)
    if mask is not None:
        distance[~mask.reshape(-1)] = 0.0
    top = np.sort(distance)[::-1][: max(1, int(0.01 * len(distance)))]
    return float(top.mean()), distance.reshape(test.shape[:2])


@pytest.mark.parametrize("form", ["raster", "grid"])
def test_vits14_at_448_equals_the_restatement(form: Any) -> None:
    detector = AnomalyDINO(SMALL, preprocess="force_mask_no_rotation", mask_form=form)
    (reference,), (query,) = images(1, 448, 0), images(1, 448, 1)
    fitted = detector.fit(TensorSupport([reference]), seed=0)
    with torch.no_grad():
        prediction = fitted(query[None].float() / 255)
    test, bank = tokens_of(detector, query), tokens_of(detector, reference).reshape(-1, 384)
    mask = restated_mask(test, form)
    assert 0 < mask.sum() < mask.size, "the mask must matter for this test to say anything"
    score, distances = restated_score(test, bank, mask, 1, "cosine")
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[0].numpy(), distances, atol=1e-5)
    assert prediction.score.item() == pytest.approx(score, abs=1e-5)
    assert prediction.map_sigma == 4.0


@pytest.mark.parametrize(("k", "metric"), [(1, "cosine"), (3, "cosine"), (1, "l2"), (2, "l2")])
def test_rotated_bank_neighbours_and_metrics_equal_the_restatement(k: int, metric: Any) -> None:
    detector = AnomalyDINO(TINY, neighbours=k, metric=metric)
    support = TensorSupport(images(2, (112, 144)))
    fitted = detector.fit(support, seed=0)
    query = images(1, (112, 144), 1)[0]
    with torch.no_grad():
        prediction = fitted(query[None].float() / 255)
    views = [view for views in support.views(ANGLES) for view in views]
    bank = np.concatenate([tokens_of(detector, view).reshape(-1, 192) for view in views])
    assert fitted.bank.shape == (len(bank), 192)
    score, distances = restated_score(tokens_of(detector, query), bank, None, k, metric)
    assert prediction.score.item() == pytest.approx(score, rel=1e-5)
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[0].numpy(), distances, atol=1e-5)


def test_eight_angles_from_zero_to_315() -> None:
    assert ANGLES == (0, 45, 90, 135, 180, 225, 270, 315)


RULES = [
    ("agnostic", "mvtec_ad", "hazelnut", True, True),
    ("agnostic", "mvtec_ad", "bottle", True, False),
    ("agnostic", "visa", "candle", True, True),
    ("agnostic", "mpdd", "tubes", True, False),
    ("informed", "mvtec_ad", "screw", True, True),
    ("informed", "mvtec_ad", "capsule", False, True),
    ("informed", "visa", "pcb1", False, True),
    ("informed", "procedural", "any", True, False),
    ("masking_only", "mvtec_ad", "pill", False, True),
    ("masking_only", "mvtec_ad", "zipper", False, False),
    ("agnostic_no_mask", "visa", "candle", True, False),
    ("informed_no_mask", "mvtec_ad", "hazelnut", True, False),
    ("force_mask_rotation", "mpdd", "tubes", True, True),
    ("force_mask_no_rotation", "mpdd", "tubes", False, True),
    ("force_no_mask_rotation", "visa", "candle", True, False),
    ("force_no_mask_no_rotation", "visa", "candle", False, False),
]


@pytest.mark.parametrize(("mode", "dataset", "category", "rotated", "masked"), RULES)
def test_rules_of_the_preprocessing_modes(mode: str, dataset: str, category: str, rotated: bool, masked: bool) -> None:
    info = CategoryInfo(dataset, category, category)
    assert rotates(mode, info) is rotated
    assert masks(mode, info) is masked


def test_masking_list_of_mvtec_ad() -> None:
    listed = {"capsule", "hazelnut", "pill", "screw", "toothbrush"}
    others = {"bottle", "cable", "metal_nut", "transistor", "zipper", "carpet", "grid", "leather", "tile", "wood"}
    selected = {c for c in listed | others if masks("agnostic", CategoryInfo("mvtec_ad", c, c))}
    assert selected == listed


def blob_tokens(inside_centre: bool) -> torch.Tensor:
    """Tokens [1, 10, 10, 8] of two clusters 60 apart; the smaller cluster lies in the centre or in a corner."""
    tokens = 0.01 * torch.randn(1, 10, 10, 8, generator=torch.Generator().manual_seed(0))
    rows = slice(3, 7) if inside_centre else slice(0, 3)
    tokens[:, rows, rows, 0] += 60.0
    return tokens


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_centre_window_decides_the_side(sign: float) -> None:
    """16 of 36 centre cells are more than 35 %: the object is foreground whatever the sign of the component."""
    mask = margin(sign * blob_tokens(True)) > 0
    assert mask[0, 3:7, 3:7].all()
    assert mask.sum() == 16


def test_the_larger_side_is_never_over_the_threshold_without_contrast() -> None:
    flat = torch.randn(1, 10, 10, 8, generator=torch.Generator().manual_seed(1))
    assert not foreground(flat).any()


def test_raster_form_wraps_over_row_ends_and_grid_form_does_not() -> None:
    mask = torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[0, 1, 4] = True
    raster, grid = morph(mask, "raster"), morph(mask, "grid")
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[1, 3:] = expected[2, 0] = True
    assert torch.equal(raster[0], expected)
    assert grid[0, :, 3:].all()  # closing does not erode from the outside, as in OpenCV
    assert not grid[0, :, :3].any()


def test_margin_agrees_with_the_mask_and_has_the_gradient_of_a_fixed_direction() -> None:
    tokens = blob_tokens(True).requires_grad_()
    value = margin(tokens)
    (gradient,) = torch.autograd.grad(value[0, 5, 5], tokens)
    assert gradient[0, 5, 5].norm().item() == pytest.approx(1.0, abs=1e-4)
    assert gradient[0, 0, 0].norm().item() == 0.0


def test_masked_patches_score_zero_and_stay_in_the_grid() -> None:
    detector = AnomalyDINO(TINY, preprocess="force_mask_no_rotation", mask_form="grid")
    fitted = detector.fit(TensorSupport(images(1, 112)), seed=0)
    assert isinstance(fitted, MaskedScorer)
    tokens = torch.randn(1, 10, 10, 192, generator=torch.Generator().manual_seed(2))
    tokens[:, 3:7, 3:7, 0] += 100.0
    prediction = fitted.score(Features((tokens,), None, (0, 0, 160, 160)))
    assert prediction.anomaly_map is not None
    assert (prediction.anomaly_map[0, 2:8, 2:8] > 0).all()
    assert (prediction.anomaly_map > 0).sum() == 36
    assert (fitted.foreground_margin(Features((tokens,), None, (0, 0, 160, 160))) > 0).sum() == 16


def test_a_held_mask_decides_which_patches_get_a_gradient() -> None:
    detector = AnomalyDINO(TINY, preprocess="force_mask_no_rotation", mask_form="grid")
    fitted = detector.fit(TensorSupport(images(1, 112)), seed=0)
    clean, moved = (torch.randn(1, 10, 10, 192, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    clean[:, 3:7, 3:7, 0] += 100.0
    moved[:, 3:7, 4:8, 0] += 100.0

    def reached(head: MaskedScorer) -> torch.Tensor:
        tokens = moved.clone().requires_grad_()
        prediction = head.score(Features((tokens,), None, (0, 0, 160, 160)))
        assert prediction.anomaly_map is not None
        (gradient,) = torch.autograd.grad(prediction.anomaly_map.sum(), tokens)
        return (gradient[0] != 0).any(dim=-1)

    assert isinstance(fitted, MaskedScorer)
    held = fitted.with_foreground(Features((clean,), None, (0, 0, 160, 160)))
    assert torch.equal(reached(held), window(slice(2, 8)))
    assert torch.equal(reached(fitted), window(slice(3, 10)))  # closing does not erode from the outside


def window(columns: slice) -> torch.Tensor:
    """Rows 2 to 7 of some columns of a 10 x 10 grid."""
    found = torch.zeros(10, 10, dtype=torch.bool)
    found[2:8, columns] = True
    return found


def test_the_top_share_never_selects_nothing() -> None:
    """49 patches: int(0.01 * 49) = 0, so one patch counts."""
    detector = AnomalyDINO(TINY, preprocess="force_no_mask_no_rotation")
    prediction = detector.fit(TensorSupport(images(1, 112)), seed=0)(torch.stack(images(2, 112, 3)).float() / 255)
    assert prediction.anomaly_map is not None
    assert torch.equal(prediction.score, prediction.anomaly_map.flatten(1).amax(1))


def test_references_are_never_masked() -> None:
    support = TensorSupport(images(1, 112), "visa", "candle")
    masked = AnomalyDINO(TINY).fit(support, seed=0)
    plain = AnomalyDINO(TINY, preprocess="agnostic_no_mask").fit(support, seed=0)
    assert masked.masked
    assert not plain.masked
    assert torch.equal(masked.bank, plain.bank)


def test_no_reference_is_not_applicable_and_bad_options_are_named() -> None:
    with pytest.raises(NotApplicableError, match="at least one normal reference"):
        AnomalyDINO(TINY).fit(TensorSupport([]), seed=0)
    with pytest.raises(UsageError, match="preprocess = 'agnostik'; allowed are agnostic, informed"):
        AnomalyDINO(TINY, preprocess="agnostik")
    with pytest.raises(UsageError, match="neighbours = 0"):
        AnomalyDINO(TINY, neighbours=0)


def test_nested_supports_extract_each_view_once_and_a_poisoned_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache()
    monkeypatch.setattr("detectors.bank.CACHE", cache)
    pictures = images(3, 112, seed=77)
    detector = AnomalyDINO(TINY, preprocess="force_no_mask_no_rotation")
    detector.fit(TensorSupport(pictures[:1]), seed=0)
    detector.fit(TensorSupport(pictures), seed=0)
    assert len(cache) == 3
    poisoned = pictures[0].clone()
    poisoned[0, 0, 0] ^= 1
    detector.fit(TensorSupport([poisoned]), seed=0)
    assert len(cache) == 4


def test_the_cache_forgets_the_oldest_beyond_its_limit() -> None:
    extractor = AnomalyDINO(TINY).extractor
    one = 49 * 192 * 4 + 192 * 4
    cache = FeatureCache(limit=2 * one)
    for image in images(4, 112, seed=5):
        cache.features(extractor, image)
    assert len(cache) == 2
    assert cache.used == 2 * one
