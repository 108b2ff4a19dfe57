"""Render the demo collection, which stands in for one that can't be shared."""

from functools import partial
from pathlib import Path

import numpy as np

from shotcount.demo.camera import View, photograph, write_photo
from shotcount.demo.finds import KINDS, Array, rng_for
from shotcount.demo.scene import build_scene
from shotcount.demo.workers import render_each

FIELD_OF_VIEW = 30.0  # degrees


def render_photo(
    label: str, sample: int, angle: int, *, angles: int, size: int, seed: int
) -> Array:
    """Return one photo (size, size, 3) uint8, which depends on nothing but the arguments.

    The camera stands about `angle / angles` of the way round the find, as if held by hand.
    """
    walk, hand = rng_for("walk", seed, label, sample), rng_for("hand", seed, label, sample, angle)
    azimuth = walk.uniform(0, 360) + 360 * angle / angles + hand.normal(0, 5)  # degrees
    elevation = np.clip(walk.uniform(28, 55) + hand.normal(0, 5), 22, 65)  # degrees
    filled = hand.uniform(0.62, 0.82)  # share of the frame, by the sphere round the find
    distance = 1 / (filled * np.tan(np.radians(FIELD_OF_VIEW / 2)))
    aim = np.array([0, 0, 0.25]) + hand.normal(0, 0.1, 3)
    view = View(aim, azimuth, elevation, distance, FIELD_OF_VIEW)
    return photograph(build_scene(label, sample, seed), view, size, int(hand.integers(2**31)))


def render_collection(
    folder: Path,
    *,
    samples: int,
    angles: int,
    size: int,
    seed: int,
    workers: int | None = None,
) -> None:
    """Render `samples` finds, half of each class, to `<folder>/<class>/<sample>/<angle>.jpg`.

    Existing photos are kept, so that the next call resumes an interrupted one. The bytes don't
    depend on the number of `workers` (None: one per core).

    Raises
    ------
    UserError
        If a worker is killed.
    """
    classes = list(KINDS)
    labels = [classes[n % len(classes)] for n in range(samples)]
    numbers = [n // len(classes) for n in range(samples)]
    render = partial(_render_sample, folder, angles=angles, size=size, seed=seed)
    render_each(render, labels, numbers, stage="demo", noun="sample", workers=workers)


def _render_sample(
    folder: Path, label: str, sample: int, *, angles: int, size: int, seed: int
) -> None:
    place = folder / label / f"{sample:03d}"
    place.mkdir(parents=True, exist_ok=True)
    for angle in range(angles):
        path = place / f"{angle:02d}.jpg"
        if not path.exists():
            photo = render_photo(label, sample, angle, angles=angles, size=size, seed=seed)
            write_photo(path, photo)
