"""The networks behind the extractors: timm vision transformers and CNNs, `torchvision/NAME` stacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import timm
import torch
from timm.models import Eva, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmark.errors import UnknownNameError, UsageError
from benchmark.registry import BACKBONES
from detectors.backbones import Layers
from detectors.backbones.checkpoints import digest_state, from_dinov2_release, load_into, read_state
from detectors.backbones.extractor import Network
from detectors.backbones.layers import resolve_layers
from detectors.backbones.weights import WEIGHTS, Weights, check_digest, locate

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINOV2_OFFSET = 0.1
"""facebookresearch/dinov2 scales its position grid by (n + 0.1) / 37 instead of n / 37."""


class ViTNetwork(nn.Module):
    """Patch tokens of chosen blocks of a timm vision transformer, each normalised; registers are dropped."""

    weights: Mapping[str, str] = {}
    random_weights = False
    interpolation = "bilinear"
    largest_edge: int | None = None

    def __init__(self, model: Any, layers: Layers, *, release_positions: bool = False) -> None:
        """Wrap a model.

        Args:
            model: `VisionTransformer` or `Eva` of timm.
            layers: 0-based blocks; None = the last.
            release_positions: Resample positions as the DINOv2 release does (bicubic without antialias,
                offset 0.1; timm
                antialiases), which the published AnomalyDINO figures rest on.
        """
        super().__init__()
        self.model = model
        self.layers = resolve_layers(layers, len(model.blocks))
        self.multiple = int(model.patch_embed.feat_ratio())
        self.mean, self.std = normalisation(model)
        self._release = _PositionGrid(model) if release_positions else None

    def forward(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Normalised images -> (tokens [B, h, w, D] per layer, CLS token [B, D] of the deepest or None)."""
        maps, cls = self.levels(images)
        return maps, cls[-1] if cls else None

    def levels(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Normalised images -> (tokens [B, h, w, D], CLS token [B, D]) per layer; no CLS where the model has none."""
        rows, columns = (edge // self.multiple for edge in images.shape[-2:])
        if self._release is not None:
            self._release.set(rows, columns)
        outputs: Any = cast(Any, self.model).forward_intermediates(
            images,
            indices=list(self.layers),
            return_prefix_tokens=True,
            norm=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        pairs = [output if isinstance(output, tuple) else (output, None) for output in outputs]
        maps = tuple(tokens.reshape(len(images), rows, columns, -1) for tokens, _ in pairs)
        has_cls = getattr(self.model, "cls_token", None) is not None
        return maps, tuple(prefix[:, 0] for _, prefix in pairs if has_cls and prefix is not None)


class _PositionGrid:
    """Sets a DINOv2 model's position embedding for a patch grid, resampled as the release does."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.trained: Tensor = model.pos_embed.detach()
        self.side = int(model.patch_embed.grid_size[0])
        self.prefix = 0 if model.no_embed_class else model.num_prefix_tokens
        self.antialias = bool(model.no_embed_class)  # the register models were released with antialias and no offset

    def set(self, rows: int, columns: int) -> None:
        if self.model.patch_embed.grid_size == (rows, columns):
            return
        device = self.model.pos_embed.device
        resampled = self.resample(rows, columns).to(device)
        self.model.pos_embed = nn.Parameter(resampled, requires_grad=False)
        self.model.patch_embed.grid_size = (rows, columns)

    def resample(self, rows: int, columns: int) -> Tensor:
        """Positions [1, prefix + rows * columns, D]."""
        if (rows, columns) == (self.side, self.side):
            return self.trained
        prefix, grid = self.trained[:, : self.prefix], self.trained[:, self.prefix :]
        grid = grid.reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        if self.antialias:
            grid = interpolate(grid, (rows, columns), mode="bicubic", antialias=True)
        else:
            factors = [(edge + DINOV2_OFFSET) / self.side for edge in (rows, columns)]
            grid = interpolate(grid, scale_factor=factors, mode="bicubic")
        return torch.cat([prefix, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


class CNNNetwork(nn.Module):
    """Feature levels of a timm CNN (`features_only`); the global feature is the mean of the deepest level."""

    weights: Mapping[str, str] = {}
    random_weights = False
    interpolation = "bilinear"
    largest_edge: int | None = None
    multiple = 1

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.mean, self.std = normalisation(model)

    def forward(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Normalised images -> (levels [B, h, w, D], mean of the deepest level [B, D])."""
        levels = self.model(images)
        return tuple(level.permute(0, 2, 3, 1) for level in levels), levels[-1].mean(dim=(2, 3))


class StackNetwork(nn.Module):
    """Outputs of chosen children of the ``features`` stack of a torchvision model (SqueezeNet, VGG ...)."""

    weights: Mapping[str, str] = {}
    random_weights = False
    interpolation = "bilinear"
    largest_edge: int | None = None
    multiple = 1
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, model: nn.Module, layers: Layers) -> None:
        super().__init__()
        stack = list(cast(nn.Sequential, model.get_submodule("features")))
        self.layers = resolve_layers(layers, len(stack))
        self.stack = nn.ModuleList(stack[: self.layers[-1] + 1])

    def forward(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Normalised images -> (outputs [B, h, w, D], mean of the deepest one [B, D])."""
        levels = []
        for index, layer in enumerate(self.stack):
            images = layer(images)
            if index in self.layers:
                levels.append(images.permute(0, 2, 3, 1))
        return tuple(levels), levels[-1].mean(dim=(1, 2))


def make(name: str, layers: Layers, folder: str) -> Network:
    """The network of a backbone name, with its weights; see `detectors.backbones`."""
    if name in BACKBONES:
        factory: Callable[[Layers], Network] = BACKBONES.get(name)
        return factory(layers)
    if name.startswith("seeded:"):
        _, base, *rest = name.split(":")
        return _seeded(base, layers, _seed(name, rest))
    if name.startswith("clip-"):
        from detectors.clip.networks import make_clip

        return make_clip(name, layers)
    if name.startswith("torchvision/"):
        return _torchvision(name.removeprefix("torchvision/"), layers, folder)
    return _pretrained(weights_of(name), layers, folder)


def weights_of(name: str) -> Weights:
    """The weights of a short name or of any timm name.

    Raises:
        UnknownNameError: If neither the table nor timm knows the name.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownNameError("backbone", name, [*WEIGHTS, *BACKBONES.names()], "Any timm model name works too.")
    for entry in WEIGHTS.values():
        if name in (entry.architecture, entry.architecture.partition(".")[0]):
            return entry
    config = timm.get_pretrained_cfg(name if tag else architecture, allow_unregistered=False)
    full = name if tag or not config.tag else f"{architecture}.{config.tag}"
    return Weights(name, full, config.license or "see its page", None, config.hf_hub_id or "")


def normalisation(model: nn.Module) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(mean, std) of a timm model's weights."""
    config = getattr(model, "pretrained_cfg", None) or {}
    return tuple(config.get("mean", IMAGENET_MEAN)), tuple(config.get("std", IMAGENET_STD))


def _create(architecture: str, layers: Layers) -> tuple[nn.Module, bool]:
    """An unloaded timm model, and whether it is a vision transformer."""
    family = timm.models.model_entrypoint(architecture.partition(".")[0]).__module__
    if family.rpartition(".")[2] in {"eva", "vision_transformer", "vision_transformer_hybrid", "deit"}:
        model = timm.create_model(architecture, num_classes=0, dynamic_img_size=True)
        if isinstance(model, (VisionTransformer, Eva)):
            return model, True
    indices = {"out_indices": layers} if isinstance(layers, tuple) else {}
    return timm.create_model(architecture, features_only=True, **indices), False


def _wrap(model: nn.Module, is_vit: bool, layers: Layers, architecture: str) -> ViTNetwork | CNNNetwork:
    release = "_dinov2" in architecture
    return ViTNetwork(model, layers, release_positions=release) if is_vit else CNNNetwork(model)


def _default_levels(architecture: str, layers: Layers) -> Layers:
    """PatchCore's levels (strides 8 and 16) where a Wide ResNet is asked for without any."""
    return (2, 3) if layers is None and architecture.startswith("wide_resnet") else layers


def _pretrained(weights: Weights, layers: Layers, folder: str) -> Network:
    path = locate(weights, folder)
    digest = check_digest(weights, path)
    layers = _default_levels(weights.architecture, layers)
    model, is_vit = _create(weights.architecture, layers)
    load_into(model, from_dinov2_release(read_state(path)), path, trunk_only=not is_vit)
    network = _wrap(model, is_vit, layers, weights.architecture)
    network.weights = {weights.architecture: digest}
    return network


def _seeded(name: str, layers: Layers, seed: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "embedded":
            from detectors.backbones.embedded import seeded_vit

            network: Any = ViTNetwork(seeded_vit(seed), layers)
        elif name in BACKBONES:
            raise UsageError(f"seeded:{name} has no random twin; use a timm name or torchvision/NAME after `seeded:`")
        elif name.startswith("torchvision/"):
            network = StackNetwork(_torchvision_model(name.removeprefix("torchvision/")), layers)
        else:
            architecture = weights_of(name).architecture
            layers = _default_levels(architecture, layers)
            model, is_vit = _create(architecture, layers)
            _open_residual_branches(model)
            network = _wrap(model, is_vit, layers, architecture)
    network.random_weights = True
    network.weights = {f"seeded:{name}:{seed}": digest_state(network)}
    return cast(Network, network)


def _open_residual_branches(model: nn.Module) -> None:
    """Set gains that start training near zero (LayerScale, last batch norms) to 1, so that blocks count."""
    with torch.no_grad():
        for name, gain in model.named_parameters():
            if gain.ndim == 1 and not name.endswith("bias") and gain.abs().max() < 1e-3:
                gain.fill_(1.0)


def _seed(name: str, rest: list[str]) -> int:
    if len(rest) > 1 or (rest and not rest[0].isdecimal()):
        raise UsageError(f"{name!r} is not of the form seeded:NAME[:SEED] with a whole number as seed")
    return int(rest[0]) if rest else 0


def _torchvision_model(name: str) -> nn.Module:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownNameError("torchvision model", name, known)
    model = cast(nn.Module, torchvision.models.get_model(name, weights=None))
    if not isinstance(getattr(model, "features", None), nn.Sequential):
        raise UsageError(f"torchvision/{name} has no `features` stack; use its timm name instead")
    return model


def _torchvision(name: str, layers: Layers, folder: str) -> Network:
    weights = Weights(name, f"torchvision {name}", "BSD-3-Clause", None, "")
    path = locate(weights, folder)
    digest = check_digest(weights, path)
    model = _torchvision_model(name)
    load_into(model, read_state(path), path, trunk_only=False)
    network = StackNetwork(model, layers)
    network.weights = {name: digest}
    return network
