"""Backbones against plain re-statements; weights against damaged, missing and foreign files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.errors import NotApplicableError, UnknownNameError, UsageError, WeightsError
from detectors.backbones import WEIGHTS_DIR, build
from detectors.backbones.checkpoints import from_dinov2_release
from detectors.backbones.extractor import cached
from detectors.backbones.weights import WEIGHTS, Weights, check_digest, locate

SHARED = Path(__file__).parents[1].parent / "shared"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder, an empty hub cache and no network."""
    monkeypatch.setenv(WEIGHTS_DIR, str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def normalised(images: Tensor) -> Tensor:
    return (images - MEAN[:, None, None]) / STD[:, None, None]


def seeded_model(name: str) -> nn.Module:
    """The module inside a seeded extractor, not shared with other tests."""
    cached.cache_clear()
    model = build(f"seeded:{name}").network.model
    cached.cache_clear()
    assert isinstance(model, nn.Module)
    return model


def release_layout(state: dict[str, Tensor], registers: bool) -> dict[str, Tensor]:
    """timm's DINOv2 parameters under the names of the facebookresearch/dinov2 checkpoints."""
    release = dict(state) | {"mask_token": torch.zeros(1, state["cls_token"].shape[-1])}
    if registers:
        release["register_tokens"] = release.pop("reg_token")
        cls_position = torch.full_like(release["cls_token"], 0.25)
        release["cls_token"] = release["cls_token"] - cls_position
        release["pos_embed"] = torch.cat([cls_position, release["pos_embed"]], dim=1)
    return {name.replace("mlp.fc1.", "mlp.w12.") if "giant" in name else name: v for name, v in release.items()}


def test_tokens_are_the_last_block_after_the_final_norm_without_prefix_tokens() -> None:
    extractor = build("seeded:vit_tiny_patch16_224")
    images = torch.rand(2, 3, 224, 224)
    expected = extractor.network.model.forward_features(  # type: ignore[attr-defined]
        (images - 0.5) / 0.5  # this model's own constants, not ImageNet's
    )
    features = extractor(images)
    assert torch.allclose(features.maps[0].flatten(1, 2), expected[:, 1:], atol=1e-5)
    assert features.cls is not None
    assert torch.allclose(features.cls, expected[:, 0], atol=1e-5)
    assert features.region == (0, 0, 224, 224)


@pytest.mark.parametrize("name", ["dinov2_vits14_reg", "dinov3_vits16"])
def test_registers_are_skipped(name: str) -> None:
    extractor = build(f"seeded:{name}")
    size = 14 * 37 if "dinov2" in name else 64
    images = torch.rand(1, 3, size, size)
    expected = extractor.network.model.forward_features(normalised(images))  # type: ignore[attr-defined]
    features = extractor(images)
    assert torch.allclose(features.maps[0].flatten(1, 2), expected[:, 5:], rtol=1e-5, atol=1e-5)
    assert features.cls is not None
    assert torch.allclose(features.cls, expected[:, 0], rtol=1e-5, atol=1e-5)


def test_chosen_blocks_pass_the_final_norm() -> None:
    extractor = build("seeded:vit_tiny_patch16_224", layers=(-1, 2))
    model = seeded_model("vit_tiny_patch16_224")
    images = torch.rand(1, 3, 112, 112)
    expected = model.get_intermediate_layers((images - 0.5) / 0.5, n=[2, 11], norm=True)  # type: ignore[operator]
    features = extractor(images)
    assert len(features.maps) == 2
    for level, tokens in zip(features.maps, expected, strict=True):
        assert torch.allclose(level.flatten(1, 2), tokens, atol=1e-5)


def test_dinov2_positions_are_resampled_as_the_release_does() -> None:
    """Bicubic without antialias at a scale factor of (n + 0.1) / 37: an independent forward pass."""
    rows, columns = 8, 10
    model = seeded_model("dinov2_vits14")
    images = torch.rand(1, 3, rows * 14, columns * 14)
    position = model.pos_embed.detach()  # type: ignore[union-attr]
    grid = position[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    factor = ((rows + 0.1) / 37, (columns + 0.1) / 37)
    grid = nn.functional.interpolate(grid, scale_factor=factor, mode="bicubic")
    assert grid.shape[-2:] == (rows, columns)
    position = torch.cat([position[:, :1], grid.permute(0, 2, 3, 1).reshape(1, rows * columns, 384)], dim=1)
    weight, bias = model.patch_embed.proj.weight, model.patch_embed.proj.bias  # type: ignore[union-attr]
    patches = nn.functional.conv2d(normalised(images), weight, bias, stride=14).flatten(2).mT
    tokens = torch.cat([model.cls_token, patches], dim=1) + position  # type: ignore[list-item]
    for block in model.blocks:  # type: ignore[union-attr]
        tokens = block(tokens)
    tokens = model.norm(tokens)  # type: ignore[operator]
    features = build("seeded:dinov2_vits14")(images)
    assert torch.allclose(features.maps[0].flatten(1, 2), tokens[:, 1:], rtol=1e-5, atol=1e-5)
    plain = timm.layers.resample_abs_pos_embed(model.pos_embed, (rows, columns), (37, 37))
    assert not torch.allclose(plain, position, atol=1e-3), "timm's own resampling differs, so this test can fail"


def test_grids_may_alternate_and_come_back() -> None:
    extractor = build("seeded:dinov2_vits14")
    wide, full = torch.rand(1, 3, 70, 98), torch.rand(1, 3, 518, 518)
    first = extractor(wide).maps[0].clone()
    extractor(full)
    assert torch.equal(extractor(wide).maps[0], first)


def test_crop_is_at_the_bottom_and_right_and_is_declared() -> None:
    extractor = build("seeded:vit_tiny_patch16_224")
    images = torch.rand(1, 3, 70, 90)
    features = extractor(images)
    assert features.region == (0, 0, 64, 80)
    assert features.maps[0].shape == (1, 4, 5, 192)
    assert torch.equal(features.maps[0], extractor(images[..., :64, :80]).maps[0])
    with pytest.raises(NotApplicableError, match="at least 16x16 pixels, got 40x15"):
        extractor(torch.rand(1, 3, 15, 40))


def test_centre_crop_after_resize_covers_the_declared_region() -> None:
    extractor = build("seeded:resnet18", layers=(2,), resize=64, crop=56)
    features = extractor(torch.rand(1, 3, 128, 160))
    assert features.region == (8, 24, 120, 136)
    assert features.maps[0].shape[1:3] == (7, 7)


def test_gradient_reaches_the_pixels_and_never_the_weights() -> None:
    extractor = build("seeded:vit_tiny_patch16_224")
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    extractor(images).maps[0].square().sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).float().mean() > 0.99
    assert not any(p.requires_grad for p in extractor.network.model.parameters())  # type: ignore[attr-defined]
    assert not extractor.network.model.training  # type: ignore[attr-defined]


def test_extractors_are_shared_and_ids_tell_them_apart() -> None:
    one = build("seeded:vit_tiny_patch16_224:3")
    assert build("seeded:vit_tiny_patch16_224:3") is one
    assert one.to("cpu") is one
    assert one.random_weights
    others = [
        build("seeded:vit_tiny_patch16_224:4"),
        build("seeded:vit_tiny_patch16_224:3", layers=(2,)),
        build("seeded:vit_tiny_patch16_224:3", resize=64),
    ]
    assert len({extractor.id for extractor in [one, *others]}) == 4


def test_seeds_leave_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    cached.cache_clear()
    build("seeded:vit_tiny_patch16_224:9")
    assert torch.equal(torch.rand(3), expected)


def test_unknown_names_and_layers() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean dinov2_vits14"):
        build("dinov2_vits15")
    with pytest.raises(UsageError, match=r"layers \[12\] do not exist; allowed are 0 to 11"):
        build("seeded:vit_tiny_patch16_224", layers=(12,))
    with pytest.raises(UsageError, match=r"seeded:NAME\[:SEED\]"):
        build("seeded:vit_tiny_patch16_224:x")


def test_missing_weights_are_told_in_one_line(folder: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        build("dinov2_vits14")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "vit_small_patch14_dinov2.lvd142m",
        "Apache-2.0",
        "88 MB",
        "huggingface.co/timm/",
        "fetch",
        str(folder),
    ):
        assert part in message


@pytest.mark.parametrize("registers", [False, True])
def test_release_checkpoint_of_dinov2_is_accepted(folder: Path, registers: bool) -> None:
    name = "dinov2_vits14_reg" if registers else "dinov2_vits14"
    model = seeded_model(name)
    images = torch.rand(1, 3, 42, 56)
    expected = build(f"seeded:{name}")(images).maps[0]
    torch.save(release_layout(model.state_dict(), registers), folder / str(WEIGHTS[name].original))
    extractor = build(name)
    assert torch.allclose(extractor(images).maps[0], expected, atol=1e-5)
    assert not extractor.random_weights
    assert all(len(digest) == 64 for digest in extractor.weights.values())


def test_swiglu_names_of_the_giant_release_are_mapped() -> None:
    state = {
        "mask_token": torch.zeros(1),
        "blocks.0.mlp.w12.weight": torch.ones(1),
        "blocks.0.mlp.w3.bias": torch.ones(2),
    }
    assert set(from_dinov2_release(state)) == {"blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.bias"}


def test_safetensors_win_and_a_foreign_layout_is_named(folder: Path) -> None:
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    state = {k: v.clone() for k, v in seeded_model("vit_tiny_patch16_224").state_dict().items()}
    (folder / f"{name}.pth").write_bytes(b"never read")
    save_file(state | {"head.weight": torch.zeros(3, 192), "head.bias": torch.zeros(3)}, folder / f"{name}.safetensors")
    build(name)
    del state["norm.weight"]
    save_file(state | {"extra": torch.zeros(1)}, folder / f"{name}.safetensors")
    cached.cache_clear()
    with pytest.raises(WeightsError, match=r"1 names missing \['norm.weight'\], 1 unknown \['extra'\]"):
        build(name)


def test_truncated_files_are_named_with_their_digest(folder: Path) -> None:
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    state = seeded_model("vit_tiny_patch16_224").state_dict()
    for suffix in (".safetensors", ".pth"):
        path = folder / f"{name}{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)({k: v.clone() for k, v in state.items()}, path)
        path.write_bytes(path.read_bytes()[:100_000])
        with pytest.raises(WeightsError, match=r"truncated or not a checkpoint .* found SHA-256 [0-9a-f]{64}"):
            build(name)
        path.unlink()


def test_pickles_that_run_code_are_refused(folder: Path) -> None:
    path = folder / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.pth"
    torch.save({"model": math.sqrt}, path)
    with pytest.raises(WeightsError, match="not a checkpoint of tensors"):
        build("vit_tiny_patch16_224.augreg_in21k_ft_in1k")


def test_another_file_than_the_recorded_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.pth"
    path.write_bytes(b"something else")
    weights = Weights("toy", "toy", "MIT", 1, "org/toy", sha256="00" * 32)
    assert locate(weights, str(tmp_path)) == path
    with pytest.raises(WeightsError, match=r"expected SHA-256 0000.*, found f41f"):
        check_digest(weights, path)
    named = tmp_path / "toy-0123abcd.pth"
    named.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="expected SHA-256 0123abcd, found f41f"):
        check_digest(replace(weights, sha256=None), named)


def test_hub_cache_is_searched_and_its_blob_name_is_the_expected_digest(folder: Path) -> None:
    weights = WEIGHTS["dinov2_vits14"]
    root = folder / "hub" / "models--timm--vit_small_patch14_dinov2.lvd142m"
    blob, snapshot = root / "blobs" / ("0" * 64), root / "snapshots" / "abc" / "model.safetensors"
    for path in (blob, snapshot, root / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text("abc")
    blob.write_bytes(b"damaged")
    snapshot.symlink_to(blob)
    assert locate(weights, str(folder)) == snapshot
    with pytest.raises(WeightsError, match="expected SHA-256 0000"):
        build("dinov2_vits14")


@pytest.mark.shared
def test_a_local_torchvision_checkpoint_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    path = SHARED / "weights" / "squeezenet1_1.pth"
    if not path.is_file():
        pytest.skip("the shared weights are not beside this checkout")
    monkeypatch.setenv(WEIGHTS_DIR, str(path.parent))
    extractor = build("torchvision/squeezenet1_1", layers=(7, -1))
    model = torchvision.models.squeezenet1_1()
    model.load_state_dict(torch.load(path, weights_only=True))
    images = torch.rand(1, 3, 112, 112)
    features = extractor(images)
    expected = model.eval().features(normalised(images))
    assert torch.allclose(features.maps[1].permute(0, 3, 1, 2), expected, atol=1e-5)
    assert features.maps[0].shape == (1, 13, 13, 256)
    assert not extractor.random_weights
