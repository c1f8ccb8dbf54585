"""Blemishes that can fall on any surface.

Each takes the image [H, W, 3] and a frame whose origin lies where the blemish belongs, and returns a new image. Colours
stay inside the range that the flawless material shows anyway, so that a blemish is a matter of form, not of the
histogram. ``strength`` in (0, 1] scales how far the blemish departs from the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmark.datasets.procedural.canvas import (
    Array,
    Colour,
    Frame,
    Stream,
    blob,
    clouds,
    cover,
    paint,
    polyline,
    shade,
)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a defective image, and the stream that decides where and how much."""

    kind: str
    stream: Stream


def walk(stream: Stream, length: float, bends: int, jitter: float) -> list[tuple[float, float]]:
    """A chain of points centred on the origin that runs ``length`` pixels in a random direction."""
    cos, sin = stream.direction()
    points = []
    for k in range(bends + 1):
        along = length * (k / bends - 0.5)
        aside = stream.uniform(-jitter, jitter)
        points.append((along * cos - aside * sin, along * sin + aside * cos))
    return points


def scratch(image: Array, stream: Stream, at: Frame, *, length: float, width: float, strength: float) -> Array:
    """A groove: a line with one lit and one shadowed flank."""
    path = walk(stream, length, 3, length / 14)
    lit = stream.sign()
    groove = cover(polyline(at, path) - width / 2)
    flank = cover(polyline(at.moved(0.7 * lit, 0.9 * lit), path) - width / 2)
    return shade(shade(image, 1 - 0.5 * strength * groove), 1 + 0.3 * strength * flank)


def crack(image: Array, stream: Stream, at: Frame, *, length: float, width: float, colour: Colour) -> Array:
    """A thin jagged line with one branch."""
    path = walk(stream, length, 7, length / 10)
    fork = stream.below(4) + 2
    end = (path[fork][0] + stream.uniform(-9, 9), path[fork][1] + stream.uniform(-9, 9))
    distance = np.minimum(polyline(at, path), polyline(at, [path[fork], end]))
    return paint(image, colour, cover(distance - width / 2))


def thread(image: Array, stream: Stream, at: Frame, *, length: float, width: float, colour: Colour) -> Array:
    """A loose fibre lying on the surface, with its shadow."""
    path = smooth(walk(stream, length, 4, length / 5))
    image = shade(image, 1 - 0.12 * cover(polyline(at.moved(1.2, 1.4), path) - width / 2 - 0.4))
    return paint(image, colour, cover(polyline(at, path) - width / 2))


def smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Cut every corner of a chain once (Chaikin's rule)."""
    cut = [points[0]]
    for (ax, ay), (bx, by) in pairwise(points):
        cut += [(0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by), (0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by)]
    return [*cut, points[-1]]


def hole(image: Array, stream: Stream, at: Frame, *, radius: float, colour: Colour, rim: float) -> Array:
    """A pit of the given colour with a lit lower edge; ``rim`` is how much brighter that edge is."""
    shape_seed = stream.field(3)
    distance = pit(shape_seed, at, radius)
    lip = pit(shape_seed, at.moved(0.8, 1.0), radius + 0.3)
    return paint(shade(image, 1 + rim * cover(lip)), colour, cover(distance))


def pit(seed: Array, at: Frame, radius: float) -> Array:
    """Signed distance to a slightly uneven ellipse."""
    stretch = 0.8 + 0.4 * float(seed[0])
    c = 1 - 2 * float(seed[1])
    turned = at.turned((c, float(np.sqrt(1 - c * c))))
    return Frame(turned.x * stretch, turned.y / stretch).radius - radius


def stain(image: Array, stream: Stream, at: Frame, *, radius: float, colour: Colour, strength: float) -> Array:
    """A dried liquid: a tint with an uneven body and a stronger margin."""
    distance = blob(stream, at, radius)
    body = cover(distance) * (0.65 + 0.35 * clouds(stream, at, radius))
    margin = cover(np.abs(distance + 1.0) - 0.8)
    return paint(image, colour, np.clip(strength * (body + 0.4 * margin), 0.0, 1.0))


def dent(image: Array, stream: Stream, at: Frame, *, radius: float, strength: float) -> Array:
    """A shallow bowl: shadow on one side, light on the other, nothing at its foot."""
    turned = at.turned(stream.direction(0.3))
    fall = np.clip(1 - turned.radius / radius, 0.0, 1.0)
    slope = 4 * fall * (1 - fall) * stream.sign() * turned.y / radius
    return shade(image, 1 + strength * slope)


def specks(image: Array, stream: Stream, at: Frame, *, radius: float, colour: Colour, strength: float) -> Array:
    """A patch of corrosion: many small grains of one colour, densest in the middle."""
    density = np.clip(1.2 - at.radius / radius, 0.0, 1.0)
    grains = np.clip(2.5 * (clouds(stream, at, 4.0) + density - 0.5), 0.0, 1.0)
    return paint(image, colour, strength * grains * cover(at.radius - 1.2 * radius))
