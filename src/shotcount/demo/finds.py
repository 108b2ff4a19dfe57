"""Shapes and colours of beach finds, natural or plastic.

A find is a deformed unit sphere: waved, squared off, cut by planes, hollowed, bent. The classes
overlap on purpose: dull grey plastic, wet glossy stones.

Lengths are in radii of the find, colours are linear RGB in 0..1.
"""

import colorsys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from shotcount.core.seeds import seed_for

DYES = (0.0, 0.03, 0.08, 0.14, 0.3, 0.38, 0.48, 0.55, 0.58, 0.62, 0.65, 0.9)  # hues of plastic

Array = np.ndarray[Any, np.dtype[Any]]
Rng = np.random.Generator


def rng_for(*key: str | int) -> Rng:
    return np.random.default_rng(seed_for("demo", *key))


# ---------------------------------------------------------------------------- deformations


def waves(rng: Rng, points: Array, frequency: float | list[float]) -> Array:
    """Return smooth noise (V,), mostly in -1..1; `frequency` (for each axis): radians a radius."""
    directions = rng.normal(size=(12, 3)) * frequency
    phases = rng.uniform(0, 2 * np.pi, 12)
    return np.asarray(np.sin(points @ directions.T + phases).sum(1) / np.sqrt(12))


def _swell(points: Array, amount: Array) -> Array:
    return np.asarray(points * (1 + amount[:, None]))


def _drum(points: Array, power: float) -> Array:
    """Square the sphere off along z: power 2 leaves it round, 12 is nearly a cylinder."""
    radius, height = np.hypot(points[:, 0], points[:, 1]), np.abs(points[:, 2])
    return np.asarray(points / (radius**power + height**power)[:, None] ** (1 / power))


def _cut(points: Array, normal: Array, depth: float) -> Array:
    """Flatten what lies beyond a plane, `depth` from the centre, onto that plane."""
    normal = normal / np.linalg.norm(normal)
    return np.asarray(points - np.maximum(points @ normal - depth, 0)[:, None] * normal)


def _hollow(points: Array, wall: float) -> Array:
    """Fold the lower half up into the upper half: an upturned bowl, `wall` thick."""
    return np.where(points[:, 2:] < 0, points * [1 - wall, 1 - wall, wall - 1], points)


def _bend(points: Array, along_x: float, along_y: float = 0.0) -> Array:
    return np.asarray(points + (points**2 @ [along_x, along_y, 0])[:, None] * [0, 0, 1])


# ---------------------------------------------------------------------------- kinds of finds


class Find(NamedTuple):
    points: Array  # (V, 3)
    colours: Array  # (V, 3)
    roughness: float  # 0.1 mirrors the sun, 0.6 hardly shines


def hsv(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)) ** 2.2


def blend(colour: Array, other: Array, share: Array) -> Array:
    """Mix colours (3,) or (V, 3); `share` (V,) of the second: 0 is the first, 1 the second."""
    return np.asarray(colour + (other - colour) * np.clip(share, 0, 1)[:, None])


def _stone(rng: Rng, sphere: Array) -> Find:
    points = _swell(sphere, rng.uniform(0.03, 0.16) * waves(rng, sphere, 1.3))
    for _ in range(rng.integers(0, 4)):
        points = _cut(points, rng.normal(size=3), rng.uniform(0.65, 0.9))
    points = _swell(points, rng.uniform(0.003, 0.02) * waves(rng, sphere, 6))
    points = points * [1, rng.uniform(0.6, 1), rng.uniform(0.35, 0.8)]
    colourful, wet = rng.random() < 0.25, rng.random() < 0.35
    saturation = rng.uniform(0.35, 0.65) if colourful else rng.uniform(0.02, 0.25)
    colour = hsv(rng.uniform(-0.03, 0.16), saturation, rng.uniform(0.3, 0.85))
    vein = hsv(0.1, rng.uniform(0, 0.25), rng.uniform(0.2, 0.95))
    off_plane = np.abs(sphere @ rng.normal(size=3) + 0.3 * waves(rng, sphere, 3))
    colours = blend(colour, vein, rng.uniform(0, 0.8) * (off_plane < rng.uniform(0, 0.15)))
    colours = _swell(colours, rng.uniform(0.05, 0.3) * waves(rng, sphere, 14))  # speckles
    return Find(points, colours * 0.6, 0.12) if wet else Find(points, colours, 0.45)


def _driftwood(rng: Rng, sphere: Array) -> Find:
    grain = waves(rng, sphere, [1, 14, 14])
    points = _swell(sphere, rng.uniform(0.03, 0.1) * grain + 0.12 * waves(rng, sphere, 1.5))
    for end in (-1, 1):
        points = _cut(points, rng.normal([3 * end, 0, 0], 1), rng.uniform(0.5, 0.85))
    width, taper = rng.uniform(0.16, 0.4), 1 + rng.uniform(-0.4, 0.4) * points[:, :1] * [0, 1, 1]
    points = points * taper * [1, width, width * rng.uniform(0.5, 1)]
    colour = hsv(rng.uniform(0.05, 0.11), rng.uniform(0.1, 0.5), rng.uniform(0.35, 0.8))
    colours = blend(colour, colour * 0.35, 0.4 + rng.uniform(0.2, 0.5) * grain)
    return Find(_bend(points, rng.uniform(-0.3, 0.3)), colours, rng.uniform(0.3, 0.6))


def _shell(rng: Rng, sphere: Array) -> Find:
    x, y = sphere[:, 0] + 1.05, sphere[:, 1]  # from the hinge, where the ribs begin
    ribs = np.cos(np.arctan2(y, x) * rng.integers(16, 36))
    rings = np.sin(np.hypot(x, y) * rng.uniform(8, 20))
    points = _hollow(_swell(sphere, rng.uniform(0, 0.035) * ribs + 0.015 * rings), 0.08)
    points = points * (1 + rng.uniform(0, 0.3) * points[:, :1] * [0, 1, 0])
    points = points * [1, rng.uniform(0.65, 1.05), rng.uniform(0.3, 0.6) * rng.choice([-1, 1])]
    if rng.random() < 0.5:
        points = _cut(points, rng.normal(size=3) * [1, 1, 0.1], rng.uniform(0.2, 0.7))
    colour = hsv(rng.uniform(-0.04, 0.12), rng.uniform(0.02, 0.35), rng.uniform(0.6, 0.97))
    stripes = rng.uniform(0, 0.6) * (rings if rng.random() < 0.6 else ribs)
    colours = blend(colour, colour**2, stripes)
    return Find(points, colours, rng.uniform(0.12, 0.5))


def _in_plastic(rng: Rng, sphere: Array, points: Array) -> Find:
    """Dye a shape: bright, white to black, or yellowed with age; some are bleached by the sun."""
    dyes = [
        hsv(rng.choice(DYES) + rng.normal(0, 0.02), rng.uniform(0.4, 0.95), rng.uniform(0.35, 1)),
        hsv(rng.random(), rng.uniform(0, 0.1), rng.uniform(0.15, 0.95)),
        hsv(rng.uniform(0.06, 0.14), rng.uniform(0.1, 0.5), rng.uniform(0.35, 0.85)),
    ]
    dye = dyes[rng.choice(3, p=[0.6, 0.25, 0.15])]
    bleached = rng.uniform(0, 0.3) * (0.5 + waves(rng, sphere, 2))
    colours = blend(dye, hsv(0.12, 0.05, 0.85), bleached)
    colours = _swell(colours, rng.uniform(0, 0.12) * waves(rng, sphere, 12))
    points = _swell(points, rng.uniform(0, 0.01) * waves(rng, sphere, 8))
    return Find(points, colours, rng.uniform(0.1, 0.5))


def _sheet(rng: Rng, sphere: Array) -> Find:
    points = _drum(sphere, 14)
    for _ in range(rng.integers(4, 8)):
        points = _cut(points, rng.normal(size=3) * [1, 1, 0.05], rng.uniform(0.35, 0.8))
    points = points * [1, rng.uniform(0.7, 1), rng.uniform(0.03, 0.08)]
    points = _bend(points, rng.uniform(-0.5, 0.5), rng.uniform(-0.2, 0.2))
    return _in_plastic(rng, sphere, points)


def _chunk(rng: Rng, sphere: Array) -> Find:
    points = _drum(sphere, rng.uniform(2, 8))
    for _ in range(rng.integers(3, 8)):
        points = _cut(points, rng.normal(size=3), rng.uniform(0.45, 0.8))
    return _in_plastic(rng, sphere, points * [1, rng.uniform(0.5, 1), rng.uniform(0.3, 0.8)])


def _cap(rng: Rng, sphere: Array) -> Find:
    grips = np.cos(np.arctan2(sphere[:, 1], sphere[:, 0]) * rng.integers(20, 40))
    points = _hollow(_drum(sphere, rng.uniform(5, 12)), rng.uniform(0.08, 0.16))
    points = points * (1 + rng.uniform(0, 0.03) * grips[:, None] * [1, 1, 0])
    points = points * [1, 1, rng.uniform(0.3, 0.9) * rng.choice([-1, 1])]
    if rng.random() < 0.4:
        points = _cut(points, rng.normal(size=3) * [1, 1, 0.2], rng.uniform(0.1, 0.7))
    return _in_plastic(rng, sphere, points)


def _rod(rng: Rng, sphere: Array) -> Find:
    width = rng.uniform(0.1, 0.6)  # from a stick to a pellet
    points = _drum(sphere, rng.uniform(3, 12))[:, [2, 0, 1]] * [1, width, width]
    if rng.random() < 0.5:
        points = _cut(points, rng.normal([1, 0, 0], 0.3), rng.uniform(0.4, 0.8))
    return _in_plastic(rng, sphere, _bend(points, rng.uniform(-0.25, 0.25)))


KINDS: dict[str, tuple[Callable[[Rng, Array], Find], ...]] = {
    "natural": (_stone, _stone, _driftwood, _shell),  # half of the natural finds are stones
    "plastic": (_sheet, _chunk, _cap, _rod),
}
