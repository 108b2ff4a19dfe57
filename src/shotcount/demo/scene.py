"""The scene around a find: sand, pebbles, sky and sun.

The scene is drawn in the same way for both classes, so that only the find shows the class.
Lengths are in radii of the find, colours are linear RGB in 0..1.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import trimesh

from shotcount.demo.finds import KINDS, Array, Rng, blend, hsv, rng_for, waves

PATH_DEPTH = 4  # sun to sand to find to camera; longer paths cost time and show nothing
EDGE = 30.0  # the ground ends so far from the middle


@lru_cache
def mitsuba() -> Any:
    """Import the renderer on first use; single-threaded, since samples are rendered in parallel."""
    import drjit
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    drjit.set_thread_count(1)
    return mitsuba


@lru_cache
def unit_sphere(subdivisions: int) -> tuple[Array, Array]:
    """Return vertices (V, 3) and faces (F, 3); 5 subdivisions give 10242 and 20480."""
    sphere = trimesh.creation.icosphere(subdivisions)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)


def make_mesh(points: Array, faces: Array, colours: Array, roughness: float) -> Any:
    """Return a mesh of points (V, 3), faces (F, 3) and the points' colours (V, 3)."""
    mi = mitsuba()
    paint = {"type": "mesh_attribute", "name": "vertex_color"}
    gloss = {"type": "principled", "base_color": paint, "roughness": roughness}
    properties = mi.Properties()
    # Two-sided, since a find that was mirrored to lie on its back is inside out.
    properties["bsdf"] = mi.load_dict({"type": "twosided", "bsdf": gloss})
    mesh = mi.Mesh("mesh", len(points), len(faces), properties, has_vertex_normals=True)
    mesh.add_attribute("vertex_color", 3, np.clip(colours, 0.01, 0.95).ravel().astype(np.float32))
    buffers = mi.traverse(mesh)
    buffers["faces"] = faces.ravel().astype(np.uint32)
    buffers["vertex_positions"] = points.ravel().astype(np.float32)
    buffers.update()  # computes the normals
    return mesh


def lay_down(rng: Rng, points: Array) -> Array:
    """Scale to radius 1, turn, tilt and sink a little into the sand, which is at z = 0."""
    upright = mitsuba().ScalarTransform4f().rotate([0, 0, 1], rng.uniform(0, 360))
    tilted = upright.rotate([1, 0, 0], rng.normal(0, 11)).rotate([0, 1, 0], rng.normal(0, 11))
    points = points - (points.max(0) + points.min(0)) / 2
    points = points / np.linalg.norm(points, axis=1).max() @ np.array(tilted.matrix)[:3, :3].T
    bottom, height = points[:, 2].min(), np.ptp(points[:, 2])
    return np.asarray(points - [0, 0, bottom + rng.uniform(0.02, 0.2) * height])


def draw_pebbles(rng: Rng, sand: Array, places: Array, radii: tuple[float, float]) -> Any:
    """Return pebbles in shades of the sand, half sunk at `places` (count, 2)."""
    ball, faces = unit_sphere(1)
    count = len(places)
    centres = np.pad(places, [(0, 0), (0, 1)])
    axes = rng.uniform(*radii, (count, 1)) * rng.uniform(0.5, 1, (count, 3))
    points = centres[:, None] + axes[:, None] * ball  # (count, V, 3)
    faces = faces + len(ball) * np.arange(count)[:, None, None]  # (count, F, 3)
    colours = (sand * rng.uniform(0.3, 1.5, (count, 1))).repeat(len(ball), 0)
    return make_mesh(points.reshape(-1, 3), faces.reshape(-1, 3), colours, rng.uniform(0.2, 0.6))


def draw_ground(rng: Rng, sand: Array, tile: float) -> dict[str, Any]:
    """Return a plane of sand; its bumps and shades are cloudy noise (256, 256, 1), tiled."""
    mi = mitsuba()
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256))
    falloff = (frequency + 1 / 256) ** rng.uniform(0.2, 1.0)  # from grains to ripples
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(256, 256))) / falloff)[..., None]
    noise = (noise - noise.mean()) / noise.std()

    def texture(image: Array) -> dict[str, Any]:
        tiled = mi.ScalarTransform4f().scale([2 * EDGE / tile, 2 * EDGE / tile, 1])
        bitmap = mi.Bitmap(image.astype(np.float32))
        return {"type": "bitmap", "bitmap": bitmap, "raw": True, "to_uv": tiled}

    shades = np.clip(sand * (1 + rng.uniform(0.05, 0.25) * noise), 0.01, 0.95)
    matt = {"type": "diffuse", "reflectance": texture(shades)}
    rough = {"type": "bumpmap", "texture": texture(noise), "scale": rng.uniform(0.003, 0.02)}
    wide = mi.ScalarTransform4f().scale(EDGE)
    return {"type": "rectangle", "to_world": wide, "bsdf": rough | {"bsdf": matt}}


def draw_sky(rng: Rng) -> dict[str, Any]:
    """Return light from all round (64, 128, 3), zenith to nadir: blue to pale sky, a hazy sun."""
    mi = mitsuba()
    polar = (np.arange(64)[:, None] + 0.5) * np.pi / 64
    azimuth = np.arange(128) * 2 * np.pi / 128 - np.pi
    sun_polar = rng.uniform(0.3, 1.1)
    to_sun = np.cos(polar) * np.cos(sun_polar) + np.sin(polar) * np.sin(sun_polar) * np.cos(azimuth)
    sun = np.exp((to_sun - 1) / rng.uniform(0.04, 0.2) ** 2)[..., None] * [1, 0.93, 0.82]
    haze = np.sin(polar + 0 * azimuth)[..., None] ** 4
    sky = hsv(0.58, rng.uniform(0, 0.4), 1) * (1 - haze / 2) + haze
    # Sun and sky are scaled by their light on level ground: the exposure is drawn below.
    on_ground = np.maximum(np.cos(polar), 0) * np.sin(polar) * np.pi / 64**2
    sun_share = rng.uniform(0.1, 0.8)
    light = sum(
        share * part / (part.mean(-1) * on_ground).sum()
        for share, part in ((sun_share, sun), (1 - sun_share, sky))
    )
    bitmap = mi.Bitmap((rng.uniform(0.7, 1.4) * np.asarray(light)).astype(np.float32))
    place = mi.ScalarTransform4f().rotate([0, 0, 1], rng.uniform(0, 360)).rotate([1, 0, 0], 90)
    return {"type": "envmap", "bitmap": bitmap, "to_world": place}


def draw_sand(rng: Rng) -> Array:
    """Return the colour (3,) of a beach's sand."""
    return hsv(rng.normal(0.09, 0.012), rng.uniform(0.1, 0.45), rng.uniform(0.5, 0.85))


def soil(rng: Rng, points: Array, colours: Array, sand: Array) -> Array:
    """Return colours (V, 3) with sand on them, most of it near the ground."""
    dirt = rng.uniform(0, 0.5) * (0.7 - 1.5 * points[:, 2] + waves(rng, points, 3))
    return blend(colours, sand, dirt)


@lru_cache(maxsize=1)  # the photos of a sample are rendered one after the other
def build_scene(label: str, sample: int, seed: int) -> Any:
    sphere, faces = unit_sphere(5)  # in a photo of 96 px, a triangle covers about a pixel
    # Two generators, so that the scene's draws don't depend on the class.
    rng, find_rng = (rng_for(part, seed, label, sample) for part in ("scene", "find"))
    kind = KINDS[label][find_rng.integers(len(KINDS[label]))]
    find = kind(find_rng, sphere)
    points = lay_down(rng, find.points)
    sand = draw_sand(rng)
    colours = soil(rng, points, find.colours, sand)
    count = rng.integers(1, 31)
    bearing, distance = rng.uniform(0, 2 * np.pi, count), rng.uniform(1.1, 4, count)
    places = np.stack([distance * np.cos(bearing), distance * np.sin(bearing)], 1)
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": PATH_DEPTH},
        "find": make_mesh(points, faces, colours, find.roughness),
        "pebbles": draw_pebbles(rng, sand, places, (0.03, 0.13)),
        "ground": draw_ground(rng, sand, 5),
        "sky": draw_sky(rng),
    }
    return mitsuba().load_dict(scene)
