"""Drawing primitives whose pixels are the same on every machine.

Only integers and float64 ``+ - * / sqrt`` (which IEEE 754 rounds correctly) reach a pixel: no ``exp``, ``pow`` or
``sin``, whose last bits differ between libraries, and no reductions, whose order differs between processors. Random
numbers are the raw 64-bit output of Philox, which numpy promises not to change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SIZE = 112
"""Edge in pixels: the canonical edge of the demo and embedded tracks, so that nothing is ever resampled."""

Array = NDArray[np.float64]
Colour = tuple[float, float, float]


class Stream:
    """Random numbers keyed by a path of names, e.g. ``Stream("wood", "test", "hole", "7")``."""

    def __init__(self, *path: str) -> None:
        key = hashlib.sha256("/".join(path).encode()).digest()[:16]
        self._bits = np.random.Philox(key=int.from_bytes(key, "little"))

    def field(self, *shape: int) -> Array:
        """Independent uniform values in [0, 1)."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        return (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64).reshape(shape) / 2.0**53

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.field(1)[0])

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self.field(1)[0] * n)

    def sign(self) -> float:
        return 1.0 if self.below(2) else -1.0

    def direction(self, spread: float = 1.0) -> tuple[float, float]:
        """(cos, sin) of a random angle; ``spread`` 1 covers the half circle, small values about spread * 90 degrees
        either side of zero. The rational form of the unit circle replaces sine and cosine."""
        t = self.uniform(-spread, spread)
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


@dataclass(frozen=True)
class Frame:
    """Coordinates [H, W] of every pixel centre, in pixels, in the frame of a part."""

    x: Array
    y: Array

    def moved(self, x: float, y: float) -> Frame:
        """The frame whose origin lies at (x, y) of this one."""
        return Frame(self.x - x, self.y - y)

    def turned(self, direction: tuple[float, float]) -> Frame:
        """The frame whose x axis points along ``direction`` = (cos, sin)."""
        c, s = direction
        return Frame(c * self.x + s * self.y, c * self.y - s * self.x)

    @property
    def radius(self) -> Array:
        return np.sqrt(self.x * self.x + self.y * self.y)


def page() -> Frame:
    """The image itself: origin in the middle, x right, y down."""
    axis = np.arange(SIZE, dtype=np.float64) - (SIZE - 1) / 2
    x, y = np.meshgrid(axis, axis)
    return Frame(x, y)


def cover(distance: Array) -> Array:
    """Antialiased coverage in [0, 1] of the region where a signed distance in pixels is negative."""
    return np.clip(0.5 - distance, 0.0, 1.0)


def paint(image: Array, colour: Colour | Array, alpha: Array) -> Array:
    """``colour`` over ``image`` [H, W, 3] where ``alpha`` [H, W] says so."""
    return image + (np.asarray(colour) - image) * alpha[..., None]


def shade(image: Array, gain: Array) -> Array:
    """Multiply ``image`` [H, W, 3] by ``gain`` [H, W]."""
    return image * gain[..., None]


def flat(colour: Colour) -> Array:
    return np.broadcast_to(np.asarray(colour), (SIZE, SIZE, 3)).copy()


def ramp(dark: Colour, light: Colour, level: Array) -> Array:
    """Colours [H, W, 3] from ``dark`` (level 0) to ``light`` (level 1)."""
    low, high = np.asarray(dark), np.asarray(light)
    mixed: Array = low + (high - low) * level[..., None]
    return mixed


def wave(phase: Array) -> Array:
    """A smooth wave of period 1 in [0, 1], made of two parabolas: 0 at whole phases, 1 at halves."""
    t = phase - np.floor(phase)
    near = np.minimum(t, 1 - t)
    return np.where(near < 0.25, 8 * near * near, 1 - 8 * (0.5 - near) * (0.5 - near))


def noise(stream: Stream, x: Array, y: Array) -> Array:
    """Value noise in [-1, 1]: random values on the integer lattice (period 64), smoothly interpolated."""
    lattice = 2 * stream.field(64, 64) - 1
    column, row = np.floor(x), np.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = column.astype(np.int64) % 64, row.astype(np.int64) % 64
    i1, j1 = (i + 1) % 64, (j + 1) % 64
    top = lattice[j, i] + (lattice[j, i1] - lattice[j, i]) * fx
    bottom = lattice[j1, i] + (lattice[j1, i1] - lattice[j1, i]) * fx
    return top + (bottom - top) * fy


def clouds(stream: Stream, frame: Frame, cell: float) -> Array:
    """Three octaves of value noise in about [-1, 1]; ``cell`` is the size of the largest features in pixels."""
    octaves = [
        noise(stream, frame.x * k / cell, frame.y * k / cell) * weight for k, weight in ((1, 0.6), (2, 0.3), (4, 0.15))
    ]
    return octaves[0] + octaves[1] + octaves[2]


def blob(stream: Stream, frame: Frame, radius: float, roughness: float = 0.35) -> Array:
    """Signed distance to an irregular round patch about the frame's origin."""
    wobble = noise(stream, frame.x / radius + 0.5, frame.y / radius + 0.5)
    return frame.radius - radius * (1 + roughness * wobble)


def segment(frame: Frame, start: tuple[float, float], end: tuple[float, float]) -> Array:
    """Distance in pixels to a straight segment."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    px, py = frame.x - start[0], frame.y - start[1]
    t = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-9), 0.0, 1.0)
    return Frame(px - t * dx, py - t * dy).radius


def polyline(frame: Frame, points: Sequence[tuple[float, float]]) -> Array:
    """Distance in pixels to a chain of segments."""
    distance = segment(frame, points[0], points[1])
    for start, end in pairwise(points[1:]):
        distance = np.minimum(distance, segment(frame, start, end))
    return distance


def box(frame: Frame, half_width: float, half_height: float, corner: float = 0.0) -> Array:
    """Signed distance to a rectangle with rounded corners about the origin."""
    qx = np.abs(frame.x) - half_width + corner
    qy = np.abs(frame.y) - half_height + corner
    outside = Frame(np.maximum(qx, 0.0), np.maximum(qy, 0.0)).radius
    return outside + np.minimum(np.maximum(qx, qy), 0.0) - corner
