"""Visual towers of CLIP as extractor networks: windows (WinCLIP), raw blocks (APRIL-GAN), value attention
(AnomalyCLIP)."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, scaled_dot_product_attention

from benchmark.errors import UnknownNameError
from detectors.backbones import QUARTERS, Layers
from detectors.backbones.extractor import Network
from detectors.backbones.layers import resolve_layers
from detectors.clip.model import ClipModel, load_clip

Outputs = tuple[tuple[Tensor, ...], Tensor | None]
WINDOWS = (2, 3)
"""Edges in patches of WinCLIP's windows; the full image is the third scale."""
VALUE_SHARE = (19, 24)
"""AnomalyCLIP replaces the attention of the last 19 of 24 blocks."""


class Tower(nn.Module):
    """Token embedding, blocks and projection of a CLIP vision transformer, at any grid."""

    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    interpolation = "bicubic"
    largest_edge: int | None = None
    antialiased_positions = True

    def __init__(self, clip: ClipModel, layers: Layers) -> None:
        super().__init__()
        self.visual: Any = copy.deepcopy(clip.module.visual)
        self.weights, self.random_weights = clip.weights, clip.random_weights
        self.multiple = int(self.visual.patch_size[0])
        self.blocks: Any = self.visual.transformer.resblocks
        self.layers = resolve_layers(layers or QUARTERS, len(self.blocks))

    def tokens(self, images: Tensor) -> tuple[Tensor, int, int]:
        """CLS and patch tokens [B, 1 + h w, D] with positions, before the first norm; and h, w."""
        patches = self.visual.conv1(images)
        rows, columns = patches.shape[-2:]
        cls = self.visual.class_embedding.expand(len(images), 1, -1)
        return torch.cat([cls, patches.flatten(2).mT], dim=1) + self.positions(rows, columns), rows, columns

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding [1 + rows * columns, D], resampled where the grid differs from the trained one."""
        trained = self.visual.positional_embedding
        height, width = self.visual.grid_size
        if (rows, columns) == (height, width):
            return cast(Tensor, trained)
        grid = trained[1:].reshape(1, height, width, -1).permute(0, 3, 1, 2)
        if self.antialiased_positions:
            grid = interpolate(grid, (rows, columns), mode="bicubic", antialias=True, align_corners=False)
        else:
            grid = interpolate(grid, (rows, columns), mode="bilinear", align_corners=False)
        return torch.cat([trained[:1], grid.permute(0, 2, 3, 1).flatten(1, 2)[0]])

    def pooled(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Image feature [B, E] and normalised patch tokens [B, N, D] of last-block tokens."""
        normed = self.visual.ln_post(tokens)
        return normed[:, 0] @ self.visual.proj, normed[:, 1:]


class WindowNetwork(Tower):
    """WinCLIP: patch tokens, and image features of every window of 2 x 2 and 3 x 3 patches on its own."""

    def forward(self, images: Tensor) -> Outputs:
        """Images -> (patch tokens [B, h, w, D], windows [B, h-1, w-1, E], [B, h-2, w-2, E]), image feature [B, E]."""
        tokens, rows, columns = self.tokens(images)
        tokens = self.visual.ln_pre(tokens)
        image, patches = self.pooled(self.visual.transformer(tokens))
        grid = tokens[:, 1:].reshape(len(images), rows, columns, -1)
        windows = [self._windows(tokens[:, 0], grid, edge) for edge in WINDOWS]
        return (patches.reshape(len(images), rows, columns, -1), *windows), image

    def _windows(self, cls: Tensor, grid: Tensor, edge: int) -> Tensor:
        """Image features [B, h - edge + 1, w - edge + 1, E] of CLS and the patches of each window alone."""
        cut = grid.unfold(1, edge, 1).unfold(2, edge, 1)  # [B, h', w', D, edge, edge]
        batch, rows, columns, dim = cut.shape[:4]
        patches = cut.flatten(4).mT.reshape(batch * rows * columns, edge * edge, dim)
        first = cls.repeat_interleave(rows * columns, dim=0)[:, None]
        image, _ = self.pooled(self.visual.transformer(torch.cat([first, patches], dim=1)))
        return image.reshape(batch, rows, columns, -1)


class BlockNetwork(Tower):
    """APRIL-GAN: raw tokens of chosen blocks, and the image feature."""

    def forward(self, images: Tensor) -> Outputs:
        """Images -> (tokens [B, h, w, D] per block, image feature [B, E])."""
        tokens, rows, columns = self.tokens(images)
        tokens = self.visual.ln_pre(tokens)
        levels = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in self.layers:
                levels.append(tokens[:, 1:].reshape(len(images), rows, columns, -1))
        return tuple(levels), self.pooled(tokens)[0]


class ValueNetwork(Tower):
    """AnomalyCLIP: a second path whose attention compares values with values and skips the feed-forward parts.

    Patch features are those of the second path, normalised and projected; the image feature is the first path's CLS
    token, projected without the final norm, as the official code has it.
    """

    antialiased_positions = False

    def forward(self, images: Tensor) -> Outputs:
        """Images -> (projected tokens [B, h, w, E] per block, image feature [B, E])."""
        tokens, rows, columns = self.tokens(images)
        plain = self.visual.ln_pre(tokens)
        depth = len(self.blocks)
        first = depth - depth * VALUE_SHARE[0] // VALUE_SHARE[1]
        path, levels = plain, []
        for index, block in enumerate(self.blocks):
            path = path + self._value_attention(block, plain) if index >= first else path
            plain = block(plain)
            path = path if index >= first else plain
            if index in self.layers:
                projected = self.visual.ln_post(path) @ self.visual.proj
                levels.append(projected[:, 1:].reshape(len(images), rows, columns, -1))
        return tuple(levels), plain[:, 0] @ self.visual.proj

    def _value_attention(self, block: Any, tokens: Tensor) -> Tensor:
        attention = block.attn
        dim = tokens.shape[-1]
        value = linear(block.ln_1(tokens), attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :])
        heads = value.reshape(*value.shape[:2], attention.num_heads, -1).transpose(1, 2)
        mixed = scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)
        return cast(Tensor, attention.out_proj(mixed))


KINDS: dict[str, type[Tower]] = {
    "clip-blocks": BlockNetwork,
    "clip-values": ValueNetwork,
    "clip-windows": WindowNetwork,
}


def make_clip(name: str, layers: Layers) -> Network:
    """The network of an extractor name ``clip-KIND/MODEL``."""
    kind, _, model = name.partition("/")
    if kind not in KINDS:
        raise UnknownNameError("CLIP network", kind, KINDS)
    return cast(Network, KINDS[kind](load_clip(model), layers))
