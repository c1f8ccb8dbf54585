"""Four textures. A painter takes the stream of the scene and, for a defective image, the fault; it returns [H, W, 3] in
about [0, 1]. The scene's draws do not depend on the fault, so the same scene can be painted with and without it."""

from __future__ import annotations

import numpy as np

from benchmark.datasets.procedural import defects
from benchmark.datasets.procedural.canvas import (
    Array,
    Frame,
    Stream,
    blob,
    clouds,
    cover,
    noise,
    page,
    paint,
    ramp,
    shade,
    wave,
)
from benchmark.datasets.procedural.defects import Fault


def surface(scene: Stream, spread: float) -> Frame:
    """The whole page, slightly turned and shifted at random."""
    return page().turned(scene.direction(spread)).moved(scene.uniform(-40, 40), scene.uniform(-40, 40))


def spot(stream: Stream, margin: float = 20.0) -> Frame:
    """A random place on the page, ``margin`` pixels from its edge."""
    reach = 56.0 - margin
    return page().moved(stream.uniform(-reach, reach), stream.uniform(-reach, reach))


def weave(scene: Stream, fault: Fault | None) -> Array:
    """Plain weave of two yarns over a dark ground."""
    at = surface(scene, 0.04)
    u, v = at.x / 8 + 0.05 * clouds(scene, at, 30), at.y / 8 + 0.05 * clouds(scene, at, 30)
    warp = (np.floor(u) + np.floor(v)) % 2 == 0
    across, along = np.where(warp, u, v), np.where(warp, v, u)
    row = noise(scene, np.where(warp, np.floor(u), 0.0), np.where(warp, 31.0, np.floor(v)))
    crown = wave(across) * (0.55 + 0.45 * wave(along))
    twist = wave(2.0 * across + 2.5 * along)
    level = crown * (0.85 + 0.15 * twist) * (1 + 0.14 * row) * (1 + 0.1 * clouds(scene, at, 5))
    image = np.where(
        warp[..., None],
        ramp((0.16, 0.15, 0.14), (0.74, 0.68, 0.56), level),
        ramp((0.16, 0.15, 0.14), (0.60, 0.58, 0.54), level),
    )
    if fault is None:
        return image
    stream, place = fault.stream, spot(fault.stream)
    if fault.kind == "hole":
        torn = cover(blob(stream, place, stream.uniform(4.0, 6.5), 0.5))
        return paint(image, ramp((0.16, 0.15, 0.14), (0.5, 0.47, 0.4), 0.4 * wave(u * 3 + v)), torn)
    if fault.kind == "thread":
        tone = (0.72, 0.68, 0.6) if stream.below(2) else (0.36, 0.34, 0.32)
        return defects.thread(image, stream, place, length=stream.uniform(20, 34), width=1.5, colour=tone)
    return defects.stain(image, stream, place, radius=stream.uniform(6, 10), colour=(0.34, 0.27, 0.18), strength=0.7)


def wood(scene: Stream, fault: Fault | None) -> Array:
    """Planed softwood: wavy growth rings, fine fibres and pores."""
    at = surface(scene, 0.05)
    bend = clouds(scene, Frame(at.x, at.y / 4), 34)
    ring = at.x / 13 + 0.9 * bend
    late = wave(ring) * wave(ring)
    fibre = noise(scene, at.x / 1.6, at.y / 22)
    pores = np.clip(noise(scene, at.x / 1.4, at.y / 9) * 2.2 - 1.1, 0.0, 1.0)
    level = np.clip(0.85 - 0.5 * late + 0.12 * fibre - 0.4 * pores, 0.0, 1.0)
    image = ramp((0.36, 0.22, 0.11), (0.80, 0.60, 0.38), level)
    if fault is None:
        return image
    stream, place = fault.stream, spot(fault.stream)
    if fault.kind == "scratch":
        return defects.scratch(image, stream, place, length=stream.uniform(20, 36), width=2.2, strength=0.5)
    if fault.kind == "hole":
        radius = stream.uniform(2.6, 4.2)
        return defects.hole(image, stream, place, radius=radius, colour=(0.36, 0.24, 0.14), rim=0.15)
    return defects.stain(image, stream, place, radius=stream.uniform(7, 11), colour=(0.45, 0.33, 0.27), strength=0.6)


def metal(scene: Stream, fault: Fault | None) -> Array:
    """Brushed steel: fine parallel lines under a broad highlight."""
    at = surface(scene, 0.03)
    fine, coarse = noise(scene, at.x / 40, at.y / 1.1), noise(scene, at.x / 90, at.y / 3.5)
    sheen = wave(at.y / 150 + scene.uniform(0, 1))
    image = ramp((0.30, 0.31, 0.33), (0.82, 0.83, 0.84), 0.30 + 0.3 * sheen + 0.16 * fine + 0.10 * coarse)
    if fault is None:
        return image
    stream, place = fault.stream, spot(fault.stream)
    if fault.kind == "scratch":
        return defects.scratch(image, stream, place, length=stream.uniform(20, 40), width=1.2, strength=0.24)
    if fault.kind == "dent":
        return defects.dent(image, stream, place, radius=stream.uniform(7, 11), strength=0.15)
    return defects.specks(image, stream, place, radius=stream.uniform(6, 10), colour=(0.47, 0.38, 0.32), strength=0.6)


def tile(scene: Stream, fault: Fault | None) -> Array:
    """Speckled ceramic tiles with recessed grout."""
    at = surface(scene, 0.025)
    pitch = 28.0
    u, v = at.x / pitch, at.y / pitch
    edge = (0.5 - np.maximum(np.abs(u - np.floor(u) - 0.5), np.abs(v - np.floor(v) - 0.5))) * pitch
    each = noise(scene, np.floor(u) + 40, np.floor(v) + 40)
    speckle = np.clip(3 * noise(scene, at.x / 1.7, at.y / 1.7) - 1.5, 0.0, 1.0)
    level = 0.68 + 0.10 * each + 0.10 * clouds(scene, at, 20) - 0.28 * speckle
    glaze = ramp((0.24, 0.30, 0.34), (0.78, 0.80, 0.78), level)
    image = shade(glaze, 1 + 0.12 * cover(np.abs(edge - 2.2) - 0.6))
    grout = ramp((0.30, 0.29, 0.27), (0.48, 0.46, 0.43), 0.5 + 0.4 * clouds(scene, at, 4))
    image = paint(image, grout, cover(edge - 1.5))
    if fault is None:
        return image
    stream, place = fault.stream, spot(fault.stream)
    if fault.kind == "crack":
        return defects.crack(image, stream, place, length=stream.uniform(18, 32), width=2.2, colour=(0.32, 0.32, 0.32))
    if fault.kind == "chip":
        chipped = cover(blob(stream, place, stream.uniform(5.5, 7.5), 0.7))
        rough = ramp((0.40, 0.38, 0.36), (0.72, 0.70, 0.66), 0.5 + 0.5 * clouds(stream, place, 5))
        return paint(image, rough, chipped)
    return defects.stain(image, stream, place, radius=stream.uniform(6, 10), colour=(0.52, 0.46, 0.34), strength=0.6)
