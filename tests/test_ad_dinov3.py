"""AD-DINOv3's maps against a numpy re-statement of the published two-channel form, and the detector's rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from _support import TensorSupport, images
from benchmark.errors import NotApplicableError, UsageError, WeightsError
from benchmark.types import Features
from detectors.ad_dinov3.checkpoint import Facts, pack, read
from detectors.ad_dinov3.detector import IMAGE_SCORES, UNTRAINED, ADDINOv3, untrained
from detectors.ad_dinov3.model import (
    Adapters,
    LayerExtractor,
    adapt_text,
    chosen_layers,
    compute_maps,
    unsaturated_sigmoid,
)
from detectors.ad_dinov3.text import class_text, prompt_name
from detectors.backbones import QUARTERS, WEIGHTS_DIR, build
from detectors.clip.model import SEEDED_TINY
from detectors.clip.text import ABNORMAL_STATES, NORMAL_STATES, PHOTO_TEMPLATES

Array = NDArray[np.float64]
TINY = "seeded:embedded"
DINOV3 = "seeded:vit_small_patch16_dinov3"


def restated(level: Tensor, cls: Tensor, patch: Array, glob: Array, texts: Array, size: int) -> tuple[Array, ...]:
    """One layer of one image, step by step as published: two channels, each resized, then softmax or sigmoid.

    Args:
        level: [h, w, D]. cls: [D]. patch, glob: [E, D]. texts: columns normal, abnormal [E, 2].
    """
    height, width = level.shape[:2]
    tokens = level.double().numpy().reshape(height * width, -1)
    tokens = (tokens - tokens.mean(0)) / (tokens.std(0, ddof=1) + 1e-6)
    adapted, own = leaky(tokens @ patch.T), leaky(glob @ cls.double().numpy())
    adapted /= np.linalg.norm(adapted, axis=1, keepdims=True)
    own /= np.linalg.norm(own)
    logits = 100 * adapted @ texts  # [N, 2]
    wide = np.stack([aligned(logits[:, k].reshape(height, width), size) for k in (0, 1)])
    wide = np.exp(wide - wide.max(0))
    seen = aligned((10 * adapted @ own).reshape(height, width), size)
    return (wide / wide.sum(0))[1], 1 / (1 + np.exp(-seen)), 100 * own @ texts


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.01 * x)


def aligned(grid: Array, size: int) -> Array:
    """Bilinear with aligned corners, one output pixel at a time."""
    out = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            y, x = i * (grid.shape[0] - 1) / (size - 1), j * (grid.shape[1] - 1) / (size - 1)
            y0, x0 = min(int(y), grid.shape[0] - 2), min(int(x), grid.shape[1] - 2)
            fy, fx = y - y0, x - x0
            top = (1 - fx) * grid[y0, x0] + fx * grid[y0, x0 + 1]
            bottom = (1 - fx) * grid[y0 + 1, x0] + fx * grid[y0 + 1, x0 + 1]
            out[i, j] = (1 - fy) * top + fy * bottom
    return out


@pytest.mark.parametrize("interleaved", [False, True])
def test_maps_equal_the_published_two_channel_form(interleaved: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    layers, width, embed, size = 4, 24, 10, 20
    levels = tuple(torch.randn(2, 5, 4, width, generator=generator) * (1 + i) for i in range(layers))
    cls = torch.randn(2, layers * width, generator=generator)
    adapters = Adapters(layers, width, embed, seed=5)
    text = torch.nn.functional.normalize(torch.randn(2, embed, generator=generator), dim=1)
    with torch.no_grad():
        adapted = adapt_text(adapters.text, text, interleaved=interleaved)
        maps = compute_maps(Features(levels, cls, (0, 0, 1, 1)), adapters.patch, adapters.cls, adapted, size)

    patch, glob, weight = (p.detach().double().numpy() for p in (adapters.patch, adapters.cls, adapters.text))
    vectors = [leaky(weight[k] @ text[k].double().numpy()) for k in (0, 1)]
    columns = np.stack(vectors, axis=1)
    if interleaved:
        columns = np.concatenate(vectors).reshape(embed, 2)
        assert columns[1, 0] == vectors[0][2]
    for b in range(2):
        parts = [
            restated(levels[i][b], cls[b, i * width : (i + 1) * width], patch[i], glob[i], columns, size)
            for i in range(layers)
        ]
        cross, seen, image = (np.mean([part[k] for part in parts], axis=0) for k in range(3))
        np.testing.assert_allclose(maps.cross_modal[b].numpy(), cross, atol=1e-5)
        np.testing.assert_allclose(maps.calibration[b].numpy(), seen, atol=1e-5)
        np.testing.assert_allclose(float(maps.image_logit[b]), image[1] - image[0], rtol=1e-5)


def test_different_texts_per_image_equal_one_at_a_time() -> None:
    generator = torch.Generator().manual_seed(0)
    features = Features((torch.randn(2, 3, 3, 8, generator=generator),), torch.randn(2, 8, generator=generator), None)  # type: ignore[arg-type]
    adapters, texts = Adapters(1, 8, 6), torch.randn(2, 2, 6, generator=generator)
    adapted = adapt_text(adapters.text, texts)
    both = compute_maps(features, adapters.patch, adapters.cls, adapted, 9)
    for b in range(2):
        one = Features((features.maps[0][b : b + 1],), features.cls[b : b + 1], None)  # type: ignore[index, arg-type]
        alone = compute_maps(one, adapters.patch, adapters.cls, adapt_text(adapters.text, texts[b]), 9)
        torch.testing.assert_close(both.cross_modal[b : b + 1], alone.cross_modal)
        torch.testing.assert_close(both.image_logit[b : b + 1], alone.image_logit)


def test_extractor_gives_patches_and_cls_of_every_layer_without_registers() -> None:
    extractor = LayerExtractor(build(DINOV3, layers=QUARTERS))
    model: Any = extractor.base.network.model  # type: ignore[attr-defined]
    outputs: list[Tensor] = []
    handles = [model.blocks[i].register_forward_hook(lambda _m, _i, out: outputs.append(out)) for i in (2, 5, 8, 11)]
    with torch.no_grad():
        features = extractor(images(1, 64)[0][None].float() / 255)
    for handle in handles:
        handle.remove()
    assert extractor.depth == len(features.maps) == 4
    assert features.cls is not None
    for level, raw in enumerate(outputs):
        normed = model.norm(raw)  # [1, 1 CLS + 4 registers + 16, D]
        assert normed.shape[1] == 21
        torch.testing.assert_close(features.maps[level].flatten(1, 2), normed[:, 5:])
        torch.testing.assert_close(features.cls.chunk(4, 1)[level], normed[:, 0])


def test_oblong_images_are_squared_and_the_maps_cover_them() -> None:
    detector = ADDINOv3(TINY, adapters=UNTRAINED)
    picture = images(1, (70, 101))[0][None].float() / 255
    features = detector.extractor(picture)
    assert features.maps[0].shape[1:3] == (8, 8)
    assert features.region == (0, 0, 70, 101)
    fitted = detector.fit(TensorSupport([]), seed=0)
    prediction = fitted(picture)
    assert prediction.anomaly_map is not None
    assert prediction.anomaly_map.shape == (1, 70, 70)
    with pytest.raises(NotApplicableError, match="at least 8 pixels"):
        detector.extractor(picture[..., :7, :])


def test_sigmoid_keeps_a_gradient_where_the_usual_one_rounds_to_zero() -> None:
    logits = torch.tensor([-60.0, -3.0, 0.0, 3.0, 20.0, 60.0], requires_grad=True)
    values = unsaturated_sigmoid(logits)
    values.sum().backward()  # type: ignore[no-untyped-call]
    exact = logits.detach().double()
    torch.testing.assert_close(values.detach().double(), torch.sigmoid(exact), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        logits.grad.double(),  # type: ignore[union-attr]
        torch.exp(-exact.abs()) / (1 + torch.exp(-exact.abs())) ** 2,
        rtol=1e-5,
        atol=0,
    )


def test_text_is_the_mean_of_seven_and_five_states_in_thirty_five_templates() -> None:
    assert (len(NORMAL_STATES), len(ABNORMAL_STATES), len(PHOTO_TEMPLATES)) == (7, 5, 35)
    text = class_text(SEEDED_TINY, ("nut", "wood"))
    assert text.shape[:2] == (2, 2)
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(2, 2))
    assert not torch.allclose(text[0], text[1])


def test_prompt_names() -> None:
    assert prompt_name("visa", "pcb1", "printed circuit board", reference_quirks=False) == "printed circuit board"
    assert prompt_name("visa", "pcb1", "printed circuit board", reference_quirks=True) == "Data"
    assert prompt_name("mvtec_ad", "metal_nut", "metal nut", reference_quirks=True) == "metal_nut"
    assert prompt_name("mvtec_ad", "metal_nut", "metal_nut", reference_quirks=False) == "metal nut"


FACTS = Facts(
    extractor="",
    clip=SEEDED_TINY,
    ablation="none",
    reference_quirks=False,
    dataset="visa",
    categories=("candle",),
    held_out=("pcb1",),
    manifest="0" * 64,
    epoch=3,
    auroc=0.9,
)


def write(path: Path, seed: int = 7, **facts: Any) -> Path:
    extractor = LayerExtractor(build(TINY, layers=chosen_layers(facts.get("ablation", "none"))))
    adapters = untrained(extractor, class_text(SEEDED_TINY, ("x",)).shape[-1], seed=seed)
    path.write_bytes(pack(replace(FACTS, extractor=extractor.id, **facts), adapters.state_dict()))
    return path


@pytest.mark.parametrize("category", ["candle", "pcb1"])
def test_adapters_refuse_a_category_they_saw_and_name_it(tmp_path: Path, category: str) -> None:
    detector = ADDINOv3(TINY, adapters=str(write(tmp_path / "a.safetensors")))
    with pytest.raises(NotApplicableError, match=rf"a\.safetensors were trained on visa/{category}"):
        detector.fit(TensorSupport([], "visa", category), seed=0)
    for unseen in (("visa", "cashew"), ("mvtec_ad", "candle")):
        assert detector.fit(TensorSupport([], *unseen), seed=0)


def test_weights_folder_gives_the_first_adapters_that_never_saw_the_category(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEIGHTS_DIR, str(tmp_path))
    write(tmp_path / "ad_dinov3_a.safetensors", seed=1, dataset="mvtec_ad", categories=("nut",))
    write(tmp_path / "ad_dinov3_b.safetensors", seed=2)
    write(tmp_path / "ad_dinov3_c.safetensors", seed=3, reference_quirks=True)
    detector = ADDINOv3(TINY)
    names = ["ad_dinov3_b.safetensors", "ad_dinov3_a.safetensors"]
    assert detector.config["adapters"] == [detector.extractor.weights[name] for name in names]
    patches = {
        category: detector.fit(TensorSupport([], "visa", category), seed=0).patch for category in ("candle", "cashew")
    }
    torch.testing.assert_close(patches["candle"], read(tmp_path / "ad_dinov3_a.safetensors").tensors["patch"])
    torch.testing.assert_close(patches["cashew"], read(tmp_path / "ad_dinov3_b.safetensors").tensors["patch"])


@pytest.mark.parametrize(
    ("options", "misfit"),
    [
        ({"reference_quirks": True}, "reference_quirks"),
        ({"ablation": "no_aacm"}, "ablation"),
        ({"ablation": "one_layer"}, "backbone"),
        ({"clip": "seeded:clip_tiny:1"}, "clip"),
    ],
)
def test_adapters_made_for_other_options_are_refused(tmp_path: Path, options: dict[str, Any], misfit: str) -> None:
    path = write(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=f"another {misfit}"):
        ADDINOv3(TINY, adapters=str(path), **options)


def test_missing_and_damaged_adapters_say_how_to_make_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEIGHTS_DIR, raising=False)
    with pytest.raises(WeightsError, match="trustad train ad_dinov3 --aux visa"):
        ADDINOv3(TINY, clip="clip_vitl14_336")
    with pytest.raises(WeightsError, match="no such file"):
        ADDINOv3(TINY, adapters=str(tmp_path / "none.safetensors"))
    path = write(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        ADDINOv3(TINY, adapters=str(path))


def test_seeded_parts_are_labelled(tmp_path: Path) -> None:
    assert ADDINOv3(TINY, adapters=UNTRAINED).extractor.random_weights
    assert ADDINOv3(TINY, adapters=str(write(tmp_path / "a.safetensors"))).extractor.random_weights
    base = build(TINY, layers=QUARTERS)
    assert LayerExtractor(replace(base, network=_trained(base.network))).random_weights is False


def _trained(network: Any) -> Any:
    import copy

    network = copy.copy(network)
    network.random_weights = False
    return network


@pytest.mark.parametrize("ablation", ["none", "no_aacm", "no_cmcl", "one_layer"])
def test_every_ablation_runs_and_has_a_gradient(ablation: Any) -> None:
    detector = ADDINOv3(TINY, adapters=UNTRAINED, ablation=ablation)
    fitted = detector.fit(TensorSupport([]), seed=0)
    pixels = torch.stack(images(2, 48)).float().div(255).requires_grad_(True)
    prediction = fitted(pixels)
    assert prediction.anomaly_map is not None
    assert len(fitted.patch) == (1 if ablation == "one_layer" else 4)
    (gradient,) = torch.autograd.grad(prediction.score.sum(), pixels)
    assert (gradient.flatten(1) != 0).any(1).all()


def test_no_cmcl_scores_the_calibration_map() -> None:
    pixels = torch.stack(images(1, 48)).float() / 255
    fitted = {
        ablation: ADDINOv3(TINY, adapters=UNTRAINED, ablation=ablation).fit(TensorSupport([]), seed=0)  # type: ignore[arg-type]
        for ablation in ("none", "no_cmcl")
    }
    features = fitted["none"].extractor(pixels)
    maps = compute_maps(features, fitted["none"].patch, fitted["none"].cls, fitted["none"].text, 48)
    for ablation, expected in (("none", maps.cross_modal), ("no_cmcl", maps.calibration)):
        found = fitted[ablation](pixels).anomaly_map
        assert found is not None
        torch.testing.assert_close(found.sigmoid(), expected, rtol=1e-5, atol=1e-6)


def test_image_scores_by_name() -> None:
    pixels = torch.stack(images(3, 48)).float() / 255
    predictions = {
        name: ADDINOv3(TINY, adapters=UNTRAINED, image_score=name).fit(TensorSupport([]), seed=0)(pixels)
        for name in IMAGE_SCORES
    }
    anomaly_map = predictions["map_max"].anomaly_map
    assert anomaly_map is not None
    ordered = np.sort(anomaly_map.numpy().reshape(3, -1), axis=1)
    np.testing.assert_array_equal(predictions["map_max"].score.numpy(), ordered[:, -1])
    np.testing.assert_allclose(predictions["map_top"].score.numpy(), ordered[:, -23:].mean(1), rtol=1e-5)  # 2304 pixels
    image = predictions["global"].score.numpy()
    np.testing.assert_allclose(
        predictions["global_map"].score.numpy(), (image + ordered[:, -23:].mean(1)) / 2, rtol=1e-5
    )
    with pytest.raises(UsageError, match="image_score"):
        ADDINOv3(TINY, adapters=UNTRAINED, image_score="best")


def test_rows_are_scored_alone_and_the_state_makes_a_twin() -> None:
    detector = ADDINOv3(TINY, adapters=UNTRAINED)
    fitted = detector.fit(TensorSupport([], category="nut"), seed=0)
    pixels = torch.stack(images(3, 48)).float() / 255
    together = fitted(pixels).score
    alone = torch.cat([fitted(row[None]).score for row in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    other = detector.fit(TensorSupport([], category="wood"), seed=0)
    assert not torch.equal(other(pixels).score, together)
    torch.testing.assert_close(other.with_state(fitted.state())(pixels).score, together, rtol=0, atol=0)


def test_convolutional_backbones_are_refused() -> None:
    with pytest.raises(UsageError, match="vision transformer"):
        ADDINOv3("seeded:resnet18", adapters=UNTRAINED)
