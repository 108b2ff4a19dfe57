"""A stretch of beach: finds that lie in each other's way, pebbles, weed.

Everything around the finds is drawn without regard to their classes. Lengths are in a find's
usual radius, colours are linear RGB in 0..1.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from shotcount.demo.finds import KINDS, Array, Rng, blend, hsv, rng_for, waves
from shotcount.demo.scene import (
    EDGE,
    PATH_DEPTH,
    draw_ground,
    draw_pebbles,
    draw_sand,
    draw_sky,
    lay_down,
    make_mesh,
    mitsuba,
    soil,
    unit_sphere,
)

MOST_FINDS = 8  # from none on
RADII = (0.5, 1.3)
CELL, CELLS = 0.08, 176  # the relief: squares of a grid, its middle is the scene's
WEEDS = (  # hue, saturation and value, each from and to
    ((0.06, 0.12), (0.4, 0.8), (0.15, 0.5)),  # kelp
    ((0.17, 0.33), (0.3, 0.8), (0.2, 0.6)),  # eelgrass, sea lettuce
    ((-0.04, 0.04), (0.3, 0.7), (0.15, 0.4)),  # dulse
    ((0.09, 0.13), (0.1, 0.4), (0.4, 0.8)),  # dry
)


class Beach(NamedTuple):
    scene: Any  # its shape "find<n>" is the n-th find
    labels: tuple[str, ...]  # of the finds
    alone: tuple[Any, ...]  # for each find: a scene in which it alone lies on the ground


@lru_cache(maxsize=1)  # the photos of a scene are rendered one after the other
def build_beach(scene: int, seed: int) -> Beach:
    """Return a beach, which depends on nothing but the arguments."""
    rng = rng_for("scenes", "beach", seed, scene)
    sand, relief = draw_sand(rng), np.zeros((CELLS, CELLS))
    labels, finds = [], []
    heaped = rng.uniform(0.7, 2)  # from a heap to scattered finds
    for n in range(rng.integers(MOST_FINDS + 1)):
        find_rng = rng_for("scenes", "find", seed, scene, n)
        labels.append(str(find_rng.choice(list(KINDS))))
        finds.append(_find(find_rng, rng, labels[-1], sand, relief, heaped))
    places = rng.uniform(-6, 6, (rng.integers(5, 250), 2))
    free = relief[_cells(places)] == 0
    around = {
        "pebbles": draw_pebbles(rng, sand, places[free], (0.04, 0.25)),
        **{f"weed{n}": _weed(rng, relief) for n in range(rng.integers(0, 5))},
        "ground": draw_ground(rng, sand, 12),
        "sky": draw_sky(rng),
    }
    load = mitsuba().load_dict
    ground = {"type": "rectangle", "to_world": mitsuba().ScalarTransform4f().scale(EDGE)}
    path = {"type": "path", "max_depth": PATH_DEPTH}
    named = {f"find{n}": find for n, find in enumerate(finds)}
    return Beach(
        load({"type": "scene", "integrator": path, **named, **around}),
        tuple(labels),
        tuple(load({"type": "scene", name: named[name], "ground": ground}) for name in named),
    )


def _find(find_rng: Rng, rng: Rng, label: str, sand: Array, relief: Array, heaped: float) -> Any:
    """Lay a find down where none lies yet, and raise the relief by it."""
    sphere, faces = unit_sphere(5)
    kind = KINDS[label][find_rng.integers(len(KINDS[label]))]
    find = kind(find_rng, sphere)
    points = lay_down(rng, find.points)
    colours = soil(rng, points, find.colours, sand)
    deeper = max(rng.uniform(-0.6, 0.4), 0) * points[:, 2].max()
    points = (points - [0, 0, deeper]) * np.exp(rng.uniform(*np.log(RADII)))
    above = points[points[:, 2] > 0]
    place = _free_place(rng, above, relief, heaped)
    cells = _cells(above[:, :2] + place)
    np.maximum.at(relief, cells, above[:, 2])
    moved = points + np.append(place, 0)
    return make_mesh(moved, faces, colours, find.roughness)


def _free_place(rng: Rng, points: Array, relief: Array, heaped: float) -> Array:
    """Return where (2,) a find comes to lie: pushed along until it lies on no other.

    Of some directions, the one that leaves it nearest to the middle.
    """
    start, free = rng.normal(0, heaped, 2), []
    for bearing in rng.uniform(0, 2 * np.pi, 4):
        ahead = np.array([np.cos(bearing), np.sin(bearing)])
        pushed = (start + distance * ahead for distance in np.arange(0, CELLS * CELL, CELL))
        free.append(next(p for p in pushed if not relief[_cells(points[:, :2] + p)].any()))
    return np.asarray(min(free, key=np.linalg.norm))


def _cells(places: Array) -> tuple[Array, Array]:
    """Return the relief's cells (V,) and (V,) of places (V, 2)."""
    cells = np.clip((places / CELL + CELLS / 2).astype(np.int64), 0, CELLS - 1)
    return cells[:, 0], cells[:, 1]


def _weed(rng: Rng, relief: Array) -> Any:
    """Return strips of one kind of weed, washed up the same way; they hang over what lies there."""
    hue, saturation, value = (rng.uniform(*span) for span in WEEDS[rng.integers(len(WEEDS))])
    count, width = rng.integers(1, 9), rng.uniform(0.05, 0.2)
    middle, heading = rng.normal(0, 1.8, 2), rng.uniform(0, 2 * np.pi)
    draped = ndimage.gaussian_filter(ndimage.maximum_filter(relief, 5), 1.5)
    strips = [
        _strip(rng, draped, middle + rng.normal(0, 0.5, 2), heading + rng.normal(0, 0.4), width)
        for _ in range(count)
    ]
    points = np.concatenate(strips)
    rows, columns = np.arange(len(strips[0]) // ACROSS - 1), np.arange(ACROSS - 1)
    corner = (rows[:, None] * ACROSS + columns).ravel()
    first = np.stack([corner, corner + 1, corner + ACROSS], 1)
    second = np.stack([corner + 1, corner + ACROSS + 1, corner + ACROSS], 1)
    faces = np.concatenate([first, second]) + len(strips[0]) * np.arange(count)[:, None, None]
    shade = 0.5 + 0.5 * waves(rng, points, 3)
    colours = blend(hsv(hue, saturation, value), hsv(hue, saturation, value * 0.6), shade)
    return make_mesh(points, faces.reshape(-1, 3), colours, rng.uniform(0.2, 0.6))


ALONG, ACROSS = 60, 5  # points of a strip


def _strip(rng: Rng, draped: Array, place: Array, heading: float, width: float) -> Array:
    """Return a strip's points (ALONG x ACROSS, 3), row by row from its one end to the other."""
    along, across = np.linspace(0, 1, ALONG), np.linspace(-1, 1, ACROSS)
    turns = heading + np.cumsum(rng.normal(0, 0.12, ALONG)) + rng.normal(0, 1.5) * along
    ahead = np.stack([np.cos(turns), np.sin(turns)], 1)
    line = place + rng.uniform(1.5, 5) * (np.cumsum(ahead, 0) / ALONG - ahead.mean(0) / 2)
    half = width * rng.uniform(0.6, 1.2) * np.sin(np.pi * (0.02 + 0.96 * along)) ** 0.4
    aside = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    flat = (line[:, None] + (half[:, None] * across)[..., None] * aside[:, None]).reshape(-1, 2)
    lift = 0.03 + 0.05 * np.abs(waves(rng, flat @ np.eye(2, 3), 2.5))
    ruffle = 0.3 * width * waves(rng, flat @ np.eye(2, 3), 8) * np.tile(across**2, ALONG)
    lies = ndimage.map_coordinates(draped, flat.T / CELL + CELLS / 2 - 0.5, order=1, mode="nearest")
    return np.column_stack([flat, lies + lift + ruffle])
