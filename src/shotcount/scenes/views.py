"""What a camera sees of a beach: photos, and a box round what is visible of each find."""

from typing import Any, NamedTuple

import numpy as np

from shotcount.demo.camera import View, photograph, shapes_seen
from shotcount.demo.finds import Array, rng_for
from shotcount.scenes.beach import Beach, build_beach

FIELD_OF_VIEW = 35.0  # degrees
RAYS = 2  # per pixel and side, for a box
LEAST_PIXELS = 25  # a find of which less is visible has no box ...
LEAST_SHARE = 0.2  # ... nor if this is a smaller share of what would be visible of it alone


class Seen(NamedTuple):
    """A find in a photo. Left, top, right and bottom are in px from the upper left corner."""

    label: str
    left: int
    top: int
    right: int
    bottom: int
    area: float  # px that the find covers


def render_view(
    scene: int, angle: int, *, angles: int, size: int, seed: int
) -> tuple[Array, list[Seen]]:
    """Return a photo (size, size, 3) uint8 and the finds that are visible in it.

    Both depend on nothing but the arguments. The camera stands about `angle / angles` of the way
    round the scene, as if held by hand.
    """
    walk = rng_for("scenes", "walk", seed, scene)
    hand = rng_for("scenes", "hand", seed, scene, angle)
    azimuth = walk.uniform(0, 360) + 360 * angle / angles + hand.normal(0, 10)  # degrees
    elevation = np.clip(walk.uniform(25, 58) + hand.normal(0, 5), 27, 70)  # degrees
    half = hand.uniform(2.9, 3.6)  # of the frame's width, at the scene's middle
    distance = half / np.tan(np.radians(FIELD_OF_VIEW / 2))
    aim = np.array([0, 0, 0.2]) + hand.normal(0, [0.3, 0.3, 0.1])
    view = View(aim, azimuth, elevation, distance, FIELD_OF_VIEW)
    beach = build_beach(scene, seed)
    photo = photograph(beach.scene, view, size, int(hand.integers(2**31)))
    return photo, finds_seen(beach, view, size)


def finds_seen(beach: Beach, view: View, size: int) -> list[Seen]:
    """Return the finds of which enough is visible, in the order of the beach.

    What is visible is counted by rays that are cast to the scene, not by the photo's colours. A
    find is hidden by what lies before it, and by the frame's edge; the sand that it has sunk into
    doesn't count.
    """
    cast = shapes_seen(beach.scene, view, RAYS * size)
    # Twice as wide, with as many rays: a find that the frame cuts is whole in it.
    wide = np.degrees(2 * np.arctan(2 * np.tan(np.radians(view.field_of_view / 2))))
    seen = []
    for n, (label, alone) in enumerate(zip(beach.labels, beach.alone, strict=True)):
        hit = cast == _number(beach.scene, f"find{n}")
        area = hit.sum() / RAYS**2
        own = _number(alone, f"find{n}")
        whole = 4 * (shapes_seen(alone, view._replace(field_of_view=wide), size) == own).sum()
        if area >= max(LEAST_PIXELS, LEAST_SHARE * whole):
            pixels = hit.reshape(size, RAYS, size, RAYS).any((1, 3))
            rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
            left, right, top, bottom = *columns[[0, -1]], *rows[[0, -1]]
            sides = (int(left), int(top), int(right) + 1, int(bottom) + 1)
            seen.append(Seen(label, *sides, float(area)))
    return seen


def _number(scene: Any, name: str) -> int:
    """Return a shape's number in the scene's list."""
    return [shape.id() for shape in scene.shapes()].index(name)
