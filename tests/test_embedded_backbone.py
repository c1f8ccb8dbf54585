"""The shipped backbone, the filter bank, and the training that made or would make the former."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch.nn.functional import interpolate

from benchmark.errors import UsageError, WeightsError
from detectors.backbones import build
from detectors.backbones.embedded import MODEL, WEIGHTS, embedded_vit, seeded_vit
from detectors.backbones.gabor import GaborBank
from detectors.training.embedded_backbone import Recipe, Trainer, draw_batch, train
from detectors.training.judge import JudgingSet, judge, rotations, score

WEIGHTS_SHA256 = "4fa90ae209ec43aa0b082ab113b6e6fd77e6b428446279037b5089b7ef7f3a6e"
SMALL = Recipe(steps=4, classes=6, instances=1, pairs=2, crop=4, max_shift=1, warm_up=1)


def test_shipped_weights_are_the_recorded_ones_and_small() -> None:
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == WEIGHTS_SHA256
    assert WEIGHTS.stat().st_size <= 8e6


def test_shipped_weights_are_the_initialisation_of_seed_0() -> None:
    """To one step of half precision in a few places: processors differ in the last bit of the normal distribution."""
    stored = load_file(WEIGHTS)
    differing = total = 0
    for name, weight in seeded_vit(0).state_dict().items():
        torch.testing.assert_close(stored[name].float(), weight.half().float(), rtol=2.0**-10, atol=2.0**-24)
        differing += int((stored[name] != weight.half()).sum())
        total += weight.numel()
    assert differing <= 1e-5 * total


def test_embedded_tokens() -> None:
    vit = embedded_vit()
    assert not vit.training
    assert not any(weight.requires_grad for weight in vit.parameters())
    assert 2.6e6 < sum(weight.numel() for weight in vit.parameters()) < 2.9e6
    images = torch.rand(2, 3, 112, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    tokens = vit.forward_features(images)  # type: ignore[operator]
    assert tokens.shape == (2, 1 + 14 * 16, 192)
    (gradient,) = torch.autograd.grad(tokens[:, 1:].square().sum(dim=2)[0, 5], images)
    assert gradient[0].abs().max() > 0
    assert gradient[1].abs().max() == 0


def test_timm_builds_the_architecture_by_name() -> None:
    assert isinstance(timm.create_model(MODEL), timm.models.VisionTransformer)


def test_seeds_differ_and_leave_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = seeded_vit(1).state_dict(), seeded_vit(2).state_dict()
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], second["blocks.0.attn.qkv.weight"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_gabor_features() -> None:
    bank = GaborBank()
    images = torch.rand(2, 3, 112, 120, generator=torch.Generator().manual_seed(0)).requires_grad_()
    features = bank(images)
    assert features.shape == (2, 14, 15, 54)
    assert torch.autograd.grad(features.square().sum(), images)[0].abs().min() > 0


def test_gabor_answers_to_wavelength_and_orientation() -> None:
    x = torch.arange(112) * (2 * torch.pi / 6)
    stripes = (0.5 + 0.3 * torch.cos(x)).expand(1, 3, 112, 112)  # wavelength 6 along x: group 1, orientation 0
    energy = GaborBank()(stripes)[0, 7, 7, :24].reshape(3, 8)
    assert energy.argmax().item() == 8
    turned = GaborBank()(stripes.transpose(2, 3))[0, 7, 7, :24]
    assert turned.argmax().item() == 8 + 4


def test_gabor_ignores_brightness_of_a_flat_image_except_in_grey() -> None:
    dark, light = GaborBank()(torch.stack([torch.full((3, 112, 112), v) for v in (0.3, 0.6)]))
    changed = (dark - light).abs().amax(dim=(0, 1)) > 1e-2
    assert changed.nonzero().flatten().tolist() == [48]


@pytest.mark.parametrize("name", ["embedded", "gabor"])
def test_larger_images_are_seen_at_the_edge_the_network_was_made_for(name: str) -> None:
    extractor = build(name)
    images = torch.rand(1, 3, 224, 448, generator=torch.Generator().manual_seed(1)).requires_grad_()
    features = extractor(images)
    small = interpolate(images, (112, 224), mode="bilinear", antialias=True).clamp(0, 1)
    assert torch.equal(features.maps[0], extractor(small).maps[0])
    assert features.region == (0, 0, 224, 448)
    assert torch.autograd.grad(features.maps[0].square().sum(), images)[0].abs().amax(dim=1).min() > 0
    assert extractor(images[..., :112, :168]).maps[0].shape[1:3] == (14, 21)


def test_resumed_training_gives_the_same_bits(tmp_path: Path) -> None:
    whole = Trainer(SMALL)
    losses = [whole.advance() for _ in range(4)]
    half = Trainer(SMALL)
    for _ in range(2):
        half.advance()
    (tmp_path / "half").write_bytes(half.checkpoint())
    resumed = Trainer(SMALL)
    resumed.restore(tmp_path / "half")
    assert [resumed.advance() for _ in range(2)] == losses[2:]
    assert resumed.checkpoint() == whole.checkpoint()


def test_train_writes_weights_that_the_network_loads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    out = train(tmp_path / "w.safetensors", recipe=SMALL)
    vit = seeded_vit(0)
    vit.load_state_dict({name: weight.float() for name, weight in load_file(out).items()})
    again = train(tmp_path / "again.safetensors", recipe=SMALL, resume_from=tmp_path / "w.safetensors.checkpoint")
    assert again.read_bytes() == out.read_bytes()


def test_training_refuses_other_recipes_and_formats(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(Trainer(SMALL).checkpoint())
    with pytest.raises(WeightsError, match="recipe"):
        Trainer(replace(SMALL, seed=1)).restore(tmp_path / "checkpoint")
    with pytest.raises(UsageError, match="safetensors"):
        train(tmp_path / "w.pt", recipe=SMALL)


def test_corresponding_patches_show_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.training.embedded_backbone.recolour", lambda images, rng: images)
    images = torch.arange(6 * 112 * 112 * 3).reshape(6, 112, 112, 3)
    first, second, left, right = draw_batch(SMALL, images, torch.Generator().manual_seed(3))

    def patches(crops: torch.Tensor) -> torch.Tensor:
        return crops.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)

    rows = torch.arange(2)[:, None]
    assert torch.equal(patches(first)[rows, left], patches(second)[rows, right])


def test_score_is_the_largest_cosine_distance_below_two_hundred_patches() -> None:
    bank = torch.eye(3)
    tokens = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    assert score(tokens, bank) == pytest.approx(0.2)


def test_rotations_by_quarter_turns_are_exact() -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    turned = rotations(image)
    assert torch.allclose(turned[0], image, atol=1e-5)
    quarter = [torch.rot90(image, k, (1, 2)) for k in (1, 3)]
    assert any(torch.allclose(turned[2], expected, atol=1e-4) for expected in quarter)
    assert torch.allclose(turned[4], image.flip(1, 2), atol=1e-4)


def test_judge_separates_what_is_separable(tmp_path: Path) -> None:
    from benchmark.datasets.procedural.png import write_png

    generator = torch.Generator().manual_seed(0)
    paths = []
    for index in range(10):
        pixels = torch.randint(100, 120, (112, 112, 3), generator=generator, dtype=torch.uint8)
        if index >= 7:
            pixels[40:60, 40:60, 0] = 250
        paths.append(tmp_path / f"{index}.png")
        write_png(paths[-1], pixels.numpy())
    judged = JudgingSet("toy", paths[:4], paths[4:7], paths[7:])
    means = lambda images: torch.nn.functional.avg_pool2d(images, 8).flatten(2).transpose(1, 2) - 0.4  # noqa: E731
    assert judge(means, judged, shots=2, draws=2) == roc_auc_score([0, 1], [0, 1]) == 1.0
