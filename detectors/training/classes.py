"""Random classes of textures and objects to train on. They share no code, shape or colour with the judged categories.

A class is a recipe (layers, palette, outline) drawn once; its instances differ in position, rotation, warp and grain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 112
Array = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Layer:
    """One ingredient of a texture: a pattern at a scale (pixels), orientation (radians) and elongation."""

    pattern: str
    scale: float
    angle: float
    stretch: float
    weight: float


@dataclass(frozen=True)
class Recipe:
    """A class. ``palette`` [3, 3] is the colours at levels 0, 1/2 and 1; ``outline`` is None for a texture, else the
    radii of an object's outline at equal angles; ``ground`` is the layer outside it."""

    layers: tuple[Layer, ...]
    palette: Array
    outline: Array | None
    ground: Layer
    wander: float


def draw_layer(rng: Rng) -> Layer:
    pattern = str(rng.choice(["noise", "noise", "stripes", "rings", "dots", "cells", "checks"]))
    stretch = float(np.exp(rng.uniform(0, 1.8))) if rng.random() < 0.5 else 1.0
    return Layer(pattern, float(np.exp(rng.uniform(1.1, 3.2))), rng.uniform(0, np.pi), stretch, rng.uniform(0.3, 1.0))


def draw_recipe(rng: Rng) -> Recipe:
    """A random class."""
    layers = tuple(draw_layer(rng) for _ in range(rng.integers(1, 5)))
    base = rng.uniform(0.2, 0.8, (1, 3)) * np.ones((3, 1))
    palette = np.clip(base + rng.normal(0, 0.22, (3, 3)) + rng.normal(0, 0.2, (3, 1)), 0, 1).astype(np.float32)
    outline = None
    if rng.random() < 0.4:
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        bumps = sum(rng.normal(0, 0.3 / k) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in range(2, 7))
        outline = (rng.uniform(26, 40) * (1 + 0.5 * np.asarray(bumps))).astype(np.float32)
    return Recipe(layers, palette, outline, draw_layer(rng), rng.uniform(0, 0.25))


def value_noise(rng: Rng, x: Array, y: Array) -> Array:
    """Smoothly interpolated random values in [-1, 1] at lattice coordinates."""
    lattice = rng.uniform(-1, 1, (64, 64)).astype(np.float32)
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - i, y - j
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    corner = [lattice[(j + b) % 64, (i + a) % 64] for b in (0, 1) for a in (0, 1)]
    top, bottom = corner[0] + (corner[1] - corner[0]) * fx, corner[2] + (corner[3] - corner[2]) * fx
    return np.asarray(top + (bottom - top) * fy, dtype=np.float32)


def dots(x: Array, y: Array) -> Array:
    return np.clip(1.5 - 5 * np.hypot(x - np.round(x), y - np.round(y)), -1, 1).astype(np.float32)


PATTERNS: dict[str, Callable[[Array, Array], Array]] = {
    "stripes": lambda x, y: np.sin(2 * np.pi * x),
    "rings": lambda x, y: np.sin(2 * np.pi * np.hypot(x, y)),
    "dots": dots,
    "cells": lambda x, y: np.clip(8 * np.minimum(abs(x - np.round(x)), abs(y - np.round(y))) - 1, -1, 1),
    "checks": lambda x, y: np.sign(np.sin(np.pi * x) * np.sin(np.pi * y)).astype(np.float32),
}


def pattern(layer: Layer, rng: Rng, x: Array, y: Array) -> Array:
    """Level of one layer in about [-1, 1] at pixel coordinates."""
    cos, sin = np.cos(layer.angle), np.sin(layer.angle)
    u = (cos * x + sin * y) / layer.scale
    v = (cos * y - sin * x) / (layer.scale * layer.stretch)
    if layer.pattern == "noise":
        return value_noise(rng, u, v) + 0.5 * value_noise(rng, 2 * u, 2 * v)
    return PATTERNS[layer.pattern](u, v)


def colours(palette: Array, level: Array) -> Array:
    """Palette colours [H, W, 3] at levels [H, W], linear between the three entries."""
    position = np.clip(level, 0, 1) * 2
    low = np.minimum(position.astype(int), 1)
    mixed: Array = palette[low] + (palette[low + 1] - palette[low]) * (position - low)[..., None]
    return mixed


def render(recipe: Recipe, rng: Rng) -> Array:
    """One instance of a class: [112, 112, 3] in [0, 1]."""
    axis = np.arange(SIZE, dtype=np.float32) - SIZE / 2
    gx, gy = np.meshgrid(axis + rng.uniform(-5, 5), axis + rng.uniform(-5, 5))
    turn = rng.uniform(-np.pi, np.pi) if recipe.outline is not None else rng.normal(0, 0.06)
    x, y = np.cos(turn) * gx + np.sin(turn) * gy, np.cos(turn) * gy - np.sin(turn) * gx
    slide = (0.0, 0.0) if recipe.outline is not None else rng.uniform(-60, 60, 2)
    u, v = x + slide[0], y + slide[1]
    warp = 10 * recipe.wander * value_noise(rng, u / 20, v / 20)
    level = sum(layer.weight * pattern(layer, rng, u + warp, v + warp) for layer in recipe.layers)
    image = colours(recipe.palette, 0.5 + 0.5 * np.asarray(level) / len(recipe.layers) ** 0.5)
    if recipe.outline is not None:
        at = ((np.arctan2(y, x) / (2 * np.pi)) % 1 * 64).astype(int) % 64
        inside = np.clip(recipe.outline[at] - np.hypot(x, y) + 0.5, 0, 1)[..., None]
        ground = colours(recipe.palette[::-1] * 0.6, 0.5 + 0.2 * pattern(recipe.ground, rng, gx, gy))
        image = (ground + (image - ground) * inside).astype(np.float32)
    lit = image * (1 + rng.uniform(-0.15, 0.15)) + rng.normal(0, 0.012, image.shape)
    return np.clip(lit, 0, 1).astype(np.float32)


def collection(seed: int, classes: int, instances: int) -> NDArray[np.uint8]:
    """``instances`` images of each of ``classes`` random classes: uint8 [classes * instances, 112, 112, 3]."""
    rng = np.random.default_rng(seed)
    recipes: Sequence[Recipe] = [draw_recipe(rng) for _ in range(classes)]
    stack = [render(recipe, rng) for recipe in recipes for _ in range(instances)]
    return np.round(255 * np.stack(stack)).astype(np.uint8)
