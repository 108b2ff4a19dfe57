"""Photos of a scene, and which shape each of their pixels shows."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from shotcount.core import files
from shotcount.demo.finds import Array
from shotcount.demo.scene import mitsuba

RAYS_PER_PIXEL = 8  # the remaining noise looks like a camera's
JPEG_QUALITY = 92


class View(NamedTuple):
    """Where the camera stands: `distance` away from what it aims at."""

    aim: Array  # (3,)
    azimuth: float  # degrees, round the vertical
    elevation: float  # degrees above the ground
    distance: float
    field_of_view: float  # degrees


def photograph(scene: Any, view: View, size: int, seed: int) -> Array:
    """Return a photo (size, size, 3) uint8; `seed` is that of its noise."""
    film = {"type": "hdrfilm", "width": size, "height": size}
    light = np.array(mitsuba().render(scene, sensor=_camera(view, film, RAYS_PER_PIXEL), seed=seed))
    return np.asarray((255 * np.clip(light[..., :3], 0, 1) ** (1 / 2.2)).round().astype(np.uint8))


def shapes_seen(scene: Any, view: View, size: int) -> Array:
    """Return which shape (size, size) int64 each pixel of a photo shows, by a single ray.

    The number is that of the shape in the scene's list, or -1: the sky.
    """
    mi = mitsuba()
    film = {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}}
    integrator = mi.load_dict({"type": "aov", "aovs": "shape:shape_index"})  # 0 is the sky
    camera = _camera(view, film | {"pixel_format": "luminance"}, 1)
    seen = np.array(mi.render(scene, sensor=camera, integrator=integrator, seed=0))
    return np.asarray(seen[..., -1].astype(np.int64) - 1)


def write_photo(path: Path, photo: Array) -> None:
    """Write a JPEG."""
    jpeg = io.BytesIO()
    Image.fromarray(photo).save(jpeg, format="JPEG", quality=JPEG_QUALITY)
    files.write_bytes(path, jpeg.getvalue())


def _camera(view: View, film: dict[str, Any], rays: int) -> Any:
    mi = mitsuba()
    place = mi.ScalarTransform4f().translate(view.aim).rotate([0, 0, 1], view.azimuth)
    origin = place.rotate([0, 1, 0], -view.elevation) @ mi.ScalarPoint3f(view.distance, 0, 0)
    camera = {
        "type": "perspective",
        "fov": view.field_of_view,
        "to_world": mi.ScalarTransform4f().look_at(origin, view.aim, [0, 0, 1]),
        "film": film,
        "sampler": {"type": "independent", "sample_count": rays},
    }
    return mi.load_dict(camera)
