"""Four objects on a conveyor, painted like the textures (see there), each under its own pose."""

from __future__ import annotations

import numpy as np

from benchmark.datasets.procedural import defects
from benchmark.datasets.procedural.canvas import (
    Array,
    Frame,
    Stream,
    box,
    clouds,
    cover,
    flat,
    noise,
    page,
    paint,
    polyline,
    ramp,
    shade,
    wave,
)
from benchmark.datasets.procedural.defects import Fault

HALF_ROOT_3 = float(np.sqrt(3.0)) / 2


def conveyor(scene: Stream) -> Array:
    """The ground that the objects lie on: dull rubber with a faint mottle."""
    return shade(flat((0.33, 0.34, 0.36)), 1 + 0.12 * clouds(scene, page(), 18))


def posed(scene: Stream, spread: float, shift: float = 4.0) -> Frame:
    """The frame of an object near the middle of the page, turned at random."""
    moved = page().moved(scene.uniform(-shift, shift), scene.uniform(-shift, shift))
    return moved.turned(scene.direction(spread))


def around(stream: Stream, at: Frame, radius: float) -> Frame:
    """A random place on a circle about an object's origin."""
    cos, sin = stream.direction()
    side = stream.sign()
    return at.moved(side * radius * cos, side * radius * sin)


def shadow(image: Array, distance: Array) -> Array:
    """The soft shadow at the foot of an object whose signed distance is given."""
    return shade(image, 1 - 0.35 * np.clip(1 - distance / 5, 0.0, 1.0))


def nut(scene: Stream, fault: Fault | None) -> Array:
    """A hexagonal nut: flat steel, chamfered rim, threaded bore."""
    ground = conveyor(scene)
    at = posed(scene, 1.0)
    a, b, c = at.x, at.x / 2 + HALF_ROOT_3 * at.y, at.x / 2 - HALF_ROOT_3 * at.y
    hexagon = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.abs(c)) - 38.0
    steel = ramp((0.42, 0.43, 0.45), (0.86, 0.86, 0.84), 0.55 + 0.22 * clouds(scene, page(), 9))
    lit = at.turned(scene.direction(1.0))
    steel = shade(steel, 1 + 0.10 * lit.x / 38 + 0.05 * wave(at.radius / 2.2))
    image = paint(shadow(ground, hexagon), steel, cover(hexagon))
    image = shade(image, 1 - 0.18 * cover(-hexagon - 2.5) * cover(hexagon))
    if fault is not None and fault.kind == "scratch":
        place = around(fault.stream, at, 28.0)
        length = fault.stream.uniform(12, 20)
        image = defects.scratch(image, fault.stream, place, length=length, width=1.7, strength=0.5)
    elif fault is not None and fault.kind == "rust":
        place, radius = around(fault.stream, at, 28.0), fault.stream.uniform(6, 9)
        image = defects.specks(image, fault.stream, place, radius=radius, colour=(0.50, 0.36, 0.27), strength=0.6)
    turns = wave(at.radius / 3.0 + 0.15 * noise(scene, at.x / 8, at.y / 8))
    if fault is not None and fault.kind == "stripped_thread":
        worn = cover(around(fault.stream, at, 17.0).radius - fault.stream.uniform(9, 12))
        turns = turns + (0.45 - turns) * worn
    image = paint(image, ramp((0.20, 0.20, 0.21), (0.70, 0.70, 0.70), turns), cover(at.radius - 20.0))
    return paint(image, ground, cover(at.radius - 14.0))


def capsule(scene: Stream, fault: Fault | None) -> Array:
    """A two-coloured gelatine capsule with a printed code."""
    at = posed(scene, 0.06, 3.0)
    shell = box(at, 44.0, 17.0, 17.0)
    bend = at.y / 17
    gloss = 1 - 0.45 * bend * bend + 0.35 * cover(np.abs(at.y + 7.0) - 1.8) * cover(np.abs(at.x) - 34.0)
    seam = scene.uniform(-3, 3)
    tint = np.where((at.x < seam)[..., None], np.asarray((0.72, 0.42, 0.20)), np.asarray((0.76, 0.72, 0.62)))
    body = shade(tint, gloss * (1 + 0.06 * clouds(scene, at, 12)))
    body = shade(body, 1 - 0.25 * cover(np.abs(at.x - seam) - 0.7))
    image = paint(shadow(conveyor(scene), shell), body, cover(shell))
    image = imprint(image, at.moved(seam + 20.0, 1.0), fault)
    if fault is None or fault.kind == "misprint":
        return image
    stream = fault.stream
    place = at.moved(stream.uniform(-32, 32), stream.uniform(-8, 8))
    if fault.kind == "crack":
        length = stream.uniform(14, 22)
        return defects.crack(image, stream, place, length=length, width=1.2, colour=(0.40, 0.30, 0.22))
    return defects.dent(image, stream, place, radius=stream.uniform(6, 9), strength=0.7)


def imprint(image: Array, at: Frame, fault: Fault | None) -> Array:
    """The code "7F4" in strokes; a misprint smears one character or prints it upside down."""
    strokes = {
        -8.0: [(-2.0, -4.0), (2.5, -4.0), (-0.5, 4.0)],
        0.0: [(2.5, -4.0), (-2.0, -4.0), (-2.0, 4.0)],
        8.0: [(-1.0, -4.0), (-2.5, 1.0), (2.5, 1.0), (1.5, -2.0), (1.5, 4.0)],
    }
    wrong = -8.0 + 8.0 * fault.stream.below(3) if fault is not None and fault.kind == "misprint" else None
    for offset, points in strokes.items():
        glyph, weight = at.moved(offset, 0.0), 0.8
        if fault is not None and offset == wrong:
            glyph = glyph.moved(fault.stream.uniform(-3, 3), fault.stream.uniform(-4, 4)).turned((-1.0, 0.0))
            weight = fault.stream.uniform(3.0, 4.2)
        image = paint(image, (0.26, 0.24, 0.26), 0.85 * cover(polyline(glyph, points) - weight))
    return image


def connector(scene: Stream, fault: Fault | None) -> Array:
    """A circuit board with a black connector and two rows of soldered pins."""
    at = posed(scene, 0.03, 3.0)
    trace = cover(np.abs(wave(at.x / 20) - 0.5) * 10 - 1.2) * cover(26.0 - np.abs(at.y))
    board = ramp((0.10, 0.34, 0.22), (0.20, 0.52, 0.34), 0.4 + 0.25 * clouds(scene, at, 10) + 0.4 * trace)
    housing = box(at, 46.0, 17.0, 3.0)
    plastic = shade(flat((0.24, 0.24, 0.26)), 1 + 0.15 * clouds(scene, at, 7) + 0.2 * cover(np.abs(housing + 2) - 0.6))
    image = paint(shadow(board, housing), plastic, cover(housing))
    wrong = fault.stream.below(16) if fault is not None else -1
    for number in range(16):
        x, y = -35.0 + 10.0 * (number % 8), -9.0 if number < 8 else 9.0
        image = pin(image, scene, at.moved(x, y), fault if number == wrong else None)
    if fault is not None and fault.kind == "bridge":
        x, y = -35.0 + 10.0 * (wrong % 7), -9.0 if wrong < 8 else 9.0
        blobs = [(x, y), (x + 5.0, y + fault.stream.uniform(-1.5, 1.5)), (x + 10.0, y)]
        image = paint(image, (0.66, 0.66, 0.64), cover(polyline(at, blobs) - 2.3))
    return image


def pin(image: Array, scene: Stream, at: Frame, fault: Fault | None) -> Array:
    """One pin: a dark socket with a bright square post, each a little askew."""
    at = at.moved(scene.uniform(-0.4, 0.4), scene.uniform(-0.4, 0.4))
    bright = scene.uniform(0.66, 0.80)
    image = paint(image, (0.15, 0.15, 0.17), cover(box(at, 3.6, 4.6, 0.8)))
    if fault is not None and fault.kind == "missing_pin":
        return image
    if fault is not None and fault.kind == "bent_pin":
        at = at.moved(4.0 * fault.stream.sign(), fault.stream.uniform(-3, 3)).turned(fault.stream.direction(0.6))
    image = paint(image, (bright, bright, bright * 0.92), cover(box(at, 1.8, 2.8, 0.4)))
    return shade(image, 1 - 0.25 * cover(box(at.moved(0.6, 0.8), 1.0, 1.8)))


def ring(scene: Stream, fault: Fault | None) -> Array:
    """A moulded rubber ring with a highlight and a parting line."""
    at = posed(scene, 1.0)
    inner, outer = 23.0, 37.0
    middle, half = (inner + outer) / 2, (outer - inner) / 2
    stretched = Frame(at.x * scene.uniform(0.97, 1.03), at.y)
    profile = (stretched.radius - middle) / half
    gap = np.abs(profile) * half - half
    profile = np.clip(profile, -0.8, 0.8)
    ground = conveyor(scene)
    if fault is not None and fault.kind == "flash":
        place = around(fault.stream, at, outer if fault.stream.below(2) else inner)
        gap = np.minimum(gap, place.radius - fault.stream.uniform(2.0, 3.4))
    lit = page().turned(scene.direction(0.3))
    shine = 1 - 0.5 * profile * profile + 0.3 * wave(profile * 0.5 + 0.65) * (1 - lit.y / 60)
    rubber = shade(flat((0.46, 0.25, 0.20)), shine * (1 + 0.07 * clouds(scene, at, 6)))
    rubber = shade(rubber, 1 - 0.15 * cover(np.abs(stretched.radius - middle) - 0.5))
    image = paint(shadow(ground, gap), rubber, cover(gap))
    if fault is None or fault.kind == "flash":
        return image
    stream, place = fault.stream, around(fault.stream, at, middle)
    if fault.kind == "cut":
        slit = box(place.turned(stream.direction()), stream.uniform(4, 7), stream.uniform(0.6, 1.1))
        return paint(image, ground, cover(slit))
    tone = (0.62, 0.58, 0.52) if stream.below(2) else (0.33, 0.31, 0.30)
    return defects.thread(image, stream, place, length=stream.uniform(14, 22), width=1.2, colour=tone)
