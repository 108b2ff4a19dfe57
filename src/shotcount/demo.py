"""Rendered photos of beach finds, to stand in for a collection that can't be shared.

A find is a unit sphere pushed into shape: waved, squared off, cut by planes, hollowed, bent. It
lies on sand under sun and sky, and a camera walks round it. Only shape and material depend on the
class; sand, pebbles, dirt, light and camera are drawn alike for both, so that none of them gives
the class away. The classes overlap on purpose: dull grey plastic, wet glossy stones.

In reading order: deformations, kinds of finds, the scene, the photo, the collection.
Lengths are in radii of the find, colours are linear RGB in 0..1.
"""

import colorsys
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from PIL import Image

from shotcount import files
from shotcount.errors import UserError
from shotcount.progress import watch
from shotcount.seeds import seed_for

RAYS_PER_PIXEL = 8  # the noise that is left looks like a sensor's
PATH_DEPTH = 4  # sun to sand to find to camera; deeper costs time and shows nothing
FIELD_OF_VIEW = 30.0  # degrees
JPEG_QUALITY = 92
DYES = (0.0, 0.03, 0.08, 0.14, 0.3, 0.38, 0.48, 0.55, 0.58, 0.62, 0.65, 0.9)  # hues of plastic

Array = np.ndarray[Any, np.dtype[Any]]
Rng = np.random.Generator


def _rng(*key: str | int) -> Rng:
    return np.random.default_rng(seed_for("demo", *key))


# ---- deformations: points (V, 3), to begin with on the unit sphere, -> points (V, 3) -------------


def _waves(rng: Rng, points: Array, frequency: float | list[float]) -> Array:
    """Smooth noise (V,), mostly in -1..1; `frequency` in radians a radius, alike or per axis."""
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
    """Press what sticks out beyond a plane, `depth` from the centre, flat against it."""
    normal = normal / np.linalg.norm(normal)
    return np.asarray(points - np.maximum(points @ normal - depth, 0)[:, None] * normal)


def _hollow(points: Array, wall: float) -> Array:
    """Fold the lower half up inside the upper one: a bowl upside down, `wall` thick."""
    return np.where(points[:, 2:] < 0, points * [1 - wall, 1 - wall, wall - 1], points)


def _bend(points: Array, along_x: float, along_y: float = 0.0) -> Array:
    return np.asarray(points + (points**2 @ [along_x, along_y, 0])[:, None] * [0, 0, 1])


# ---- kinds of finds ------------------------------------------------------------------------------


class Find(NamedTuple):
    points: Array  # (V, 3)
    colours: Array  # (V, 3)
    roughness: float  # 0.1 mirrors the sun, 0.6 hardly shines


def _hsv(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)) ** 2.2


def _blend(colour: Array, other: Array, share: Array) -> Array:
    """Mix colours (3,) or (V, 3); `share` (V,) is 0 where only the first shows, 1 for the other."""
    return np.asarray(colour + (other - colour) * np.clip(share, 0, 1)[:, None])


def _stone(rng: Rng, sphere: Array) -> Find:
    points = _swell(sphere, rng.uniform(0.03, 0.16) * _waves(rng, sphere, 1.3))
    for _ in range(rng.integers(0, 4)):
        points = _cut(points, rng.normal(size=3), rng.uniform(0.65, 0.9))
    points = _swell(points, rng.uniform(0.003, 0.02) * _waves(rng, sphere, 6))
    points = points * [1, rng.uniform(0.6, 1), rng.uniform(0.35, 0.8)]
    colourful, wet = rng.random() < 0.25, rng.random() < 0.35
    saturation = rng.uniform(0.35, 0.65) if colourful else rng.uniform(0.02, 0.25)
    colour = _hsv(rng.uniform(-0.03, 0.16), saturation, rng.uniform(0.3, 0.85))
    vein = _hsv(0.1, rng.uniform(0, 0.25), rng.uniform(0.2, 0.95))
    off_plane = np.abs(sphere @ rng.normal(size=3) + 0.3 * _waves(rng, sphere, 3))
    colours = _blend(colour, vein, rng.uniform(0, 0.8) * (off_plane < rng.uniform(0, 0.15)))
    colours = _swell(colours, rng.uniform(0.05, 0.3) * _waves(rng, sphere, 14))  # speckles
    return Find(points, colours * 0.6, 0.12) if wet else Find(points, colours, 0.45)


def _driftwood(rng: Rng, sphere: Array) -> Find:
    grain = _waves(rng, sphere, [1, 14, 14])
    points = _swell(sphere, rng.uniform(0.03, 0.1) * grain + 0.12 * _waves(rng, sphere, 1.5))
    for end in (-1, 1):
        points = _cut(points, rng.normal([3 * end, 0, 0], 1), rng.uniform(0.5, 0.85))
    width, taper = rng.uniform(0.16, 0.4), 1 + rng.uniform(-0.4, 0.4) * points[:, :1] * [0, 1, 1]
    points = points * taper * [1, width, width * rng.uniform(0.5, 1)]
    colour = _hsv(rng.uniform(0.05, 0.11), rng.uniform(0.1, 0.5), rng.uniform(0.35, 0.8))
    colours = _blend(colour, colour * 0.35, 0.4 + rng.uniform(0.2, 0.5) * grain)
    return Find(_bend(points, rng.uniform(-0.3, 0.3)), colours, rng.uniform(0.3, 0.6))


def _shell(rng: Rng, sphere: Array) -> Find:
    x, y = sphere[:, 0] + 1.05, sphere[:, 1]  # seen from the hinge, which the ribs fan out from
    ribs = np.cos(np.arctan2(y, x) * rng.integers(16, 36))
    rings = np.sin(np.hypot(x, y) * rng.uniform(8, 20))
    points = _hollow(_swell(sphere, rng.uniform(0, 0.035) * ribs + 0.015 * rings), 0.08)
    points = points * (1 + rng.uniform(0, 0.3) * points[:, :1] * [0, 1, 0])
    points = points * [1, rng.uniform(0.65, 1.05), rng.uniform(0.3, 0.6) * rng.choice([-1, 1])]
    if rng.random() < 0.5:
        points = _cut(points, rng.normal(size=3) * [1, 1, 0.1], rng.uniform(0.2, 0.7))
    colour = _hsv(rng.uniform(-0.04, 0.12), rng.uniform(0.02, 0.35), rng.uniform(0.6, 0.97))
    stripes = rng.uniform(0, 0.6) * (rings if rng.random() < 0.6 else ribs)
    colours = _blend(colour, colour**2, stripes)
    return Find(points, colours, rng.uniform(0.12, 0.5))


def _in_plastic(rng: Rng, sphere: Array, points: Array) -> Find:
    """Dye a shape: bright, or white to black, or yellowed with age; some bleached by the sun."""
    dyes = [
        _hsv(rng.choice(DYES) + rng.normal(0, 0.02), rng.uniform(0.4, 0.95), rng.uniform(0.35, 1)),
        _hsv(rng.random(), rng.uniform(0, 0.1), rng.uniform(0.15, 0.95)),
        _hsv(rng.uniform(0.06, 0.14), rng.uniform(0.1, 0.5), rng.uniform(0.35, 0.85)),
    ]
    dye = dyes[rng.choice(3, p=[0.6, 0.25, 0.15])]
    bleached = rng.uniform(0, 0.3) * (0.5 + _waves(rng, sphere, 2))
    colours = _blend(dye, _hsv(0.12, 0.05, 0.85), bleached)
    colours = _swell(colours, rng.uniform(0, 0.12) * _waves(rng, sphere, 12))
    points = _swell(points, rng.uniform(0, 0.01) * _waves(rng, sphere, 8))
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
    "natural": (_stone, _stone, _driftwood, _shell),  # every other natural find is a stone
    "plastic": (_sheet, _chunk, _cap, _rod),
}


# ---- the scene: find, pebbles, sand and sky ------------------------------------------------------


@lru_cache
def _mitsuba() -> Any:
    """Import the renderer on first use; single-threaded, since samples are rendered in parallel."""
    import drjit
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    drjit.set_thread_count(1)
    return mitsuba


@lru_cache
def _sphere(subdivisions: int) -> tuple[Array, Array]:
    """Return vertices (V, 3) and faces (F, 3); of 5 subdivisions, 10242 and 20480."""
    sphere = trimesh.creation.icosphere(subdivisions)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)


def _mesh(points: Array, faces: Array, colours: Array, roughness: float) -> Any:
    mi = _mitsuba()
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


def _laid_down(rng: Rng, points: Array) -> Array:
    """Scale to radius 1, turn, tilt and sink a little into the sand, which is at z = 0."""
    upright = _mitsuba().ScalarTransform4f().rotate([0, 0, 1], rng.uniform(0, 360))
    tilted = upright.rotate([1, 0, 0], rng.normal(0, 11)).rotate([0, 1, 0], rng.normal(0, 11))
    points = points - (points.max(0) + points.min(0)) / 2
    points = points / np.linalg.norm(points, axis=1).max() @ np.array(tilted.matrix)[:3, :3].T
    bottom, height = points[:, 2].min(), np.ptp(points[:, 2])
    return np.asarray(points - [0, 0, bottom + rng.uniform(0.02, 0.2) * height])


def _pebbles(rng: Rng, sand: Array) -> Any:
    ball, faces = _sphere(1)
    count = rng.integers(1, 31)
    bearing, distance = rng.uniform(0, 2 * np.pi, count), rng.uniform(1.1, 4, count)
    centres = np.stack([distance * np.cos(bearing), distance * np.sin(bearing), 0 * bearing], 1)
    radii = rng.uniform(0.03, 0.13, (count, 1)) * rng.uniform(0.5, 1, (count, 3))
    points = centres[:, None] + radii[:, None] * ball  # (count, V, 3)
    faces = faces + len(ball) * np.arange(count)[:, None, None]  # (count, F, 3)
    colours = (sand * rng.uniform(0.3, 1.5, (count, 1))).repeat(len(ball), 0)
    return _mesh(points.reshape(-1, 3), faces.reshape(-1, 3), colours, rng.uniform(0.2, 0.6))


def _ground(rng: Rng, sand: Array) -> dict[str, Any]:
    """A plane of sand, its bumps and shades from cloudy noise that tiles (256, 256, 1)."""
    mi = _mitsuba()
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256))
    falloff = (frequency + 1 / 256) ** rng.uniform(0.2, 1.0)  # from grains to ripples
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(256, 256))) / falloff)[..., None]
    noise = (noise - noise.mean()) / noise.std()

    def texture(image: Array) -> dict[str, Any]:
        tiled = mi.ScalarTransform4f().scale([12, 12, 1])  # a tile is 5 radii wide
        bitmap = mi.Bitmap(image.astype(np.float32))
        return {"type": "bitmap", "bitmap": bitmap, "raw": True, "to_uv": tiled}

    shades = np.clip(sand * (1 + rng.uniform(0.05, 0.25) * noise), 0.01, 0.95)
    matt = {"type": "diffuse", "reflectance": texture(shades)}
    rough = {"type": "bumpmap", "texture": texture(noise), "scale": rng.uniform(0.003, 0.02)}
    wide = mi.ScalarTransform4f().scale(30)
    return {"type": "rectangle", "to_world": wide, "bsdf": rough | {"bsdf": matt}}


def _sky(rng: Rng) -> dict[str, Any]:
    """Light from all round, zenith to nadir (64, 128, 3): blue to pale sky and a hazy sun."""
    mi = _mitsuba()
    polar = (np.arange(64)[:, None] + 0.5) * np.pi / 64
    azimuth = np.arange(128) * 2 * np.pi / 128 - np.pi
    high = rng.uniform(0.3, 1.1)  # radians from the zenith to the sun
    to_sun = np.cos(polar) * np.cos(high) + np.sin(polar) * np.sin(high) * np.cos(azimuth)
    sun = np.exp((to_sun - 1) / rng.uniform(0.04, 0.2) ** 2)[..., None] * [1, 0.93, 0.82]
    haze = np.sin(polar + 0 * azimuth)[..., None] ** 4
    sky = _hsv(0.58, rng.uniform(0, 0.4), 1) * (1 - haze / 2) + haze
    # Each is scaled by what it sheds on level ground, so that the exposure is drawn, not implied.
    on_ground = np.maximum(np.cos(polar), 0) * np.sin(polar) * np.pi / 64**2
    sunny = rng.uniform(0.1, 0.8)
    light = sum(
        share * part / (part.mean(-1) * on_ground).sum()
        for share, part in ((sunny, sun), (1 - sunny, sky))
    )
    bitmap = mi.Bitmap((rng.uniform(0.7, 1.4) * np.asarray(light)).astype(np.float32))
    place = mi.ScalarTransform4f().rotate([0, 0, 1], rng.uniform(0, 360)).rotate([1, 0, 0], 90)
    return {"type": "envmap", "bitmap": bitmap, "to_world": place}


@lru_cache(maxsize=1)  # the photos of a sample are asked for one after the other
def _scene(label: str, sample: int, seed: int) -> Any:
    sphere, faces = _sphere(5)  # a triangle is about a pixel at 96 px
    # Two generators, lest the class show in the draws of the scene.
    rng, find_rng = (_rng(part, seed, label, sample) for part in ("scene", "find"))
    kind = KINDS[label][find_rng.integers(len(KINDS[label]))]
    find = kind(find_rng, sphere)
    points = _laid_down(rng, find.points)
    sand = _hsv(rng.normal(0.09, 0.012), rng.uniform(0.1, 0.45), rng.uniform(0.5, 0.85))
    dirt = rng.uniform(0, 0.5) * (0.7 - 1.5 * points[:, 2] + _waves(rng, points, 3))
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": PATH_DEPTH},
        "find": _mesh(points, faces, _blend(find.colours, sand, dirt), find.roughness),
        "pebbles": _pebbles(rng, sand),
        "ground": _ground(rng, sand),
        "sky": _sky(rng),
    }
    return _mitsuba().load_dict(scene)


# ---- the photo -----------------------------------------------------------------------------------


def render_photo(
    label: str, sample: int, angle: int, *, angles: int, size: int, seed: int
) -> Array:
    """Return one photo (size, size, 3) uint8, which depends on the arguments and nothing else.

    The camera stands `angle / angles` of the way round the find, as nearly as a hand holds it.
    """
    mi = _mitsuba()
    walk, hand = _rng("walk", seed, label, sample), _rng("hand", seed, label, sample, angle)
    azimuth = walk.uniform(0, 360) + 360 * angle / angles + hand.normal(0, 5)  # degrees
    elevation = np.clip(walk.uniform(28, 55) + hand.normal(0, 5), 22, 65)  # degrees
    filled = hand.uniform(0.62, 0.82)  # of the frame, by the sphere round the find
    distance = 1 / (filled * np.tan(np.radians(FIELD_OF_VIEW / 2)))
    aim = np.array([0, 0, 0.25]) + hand.normal(0, 0.1, 3)
    place = mi.ScalarTransform4f().translate(aim).rotate([0, 0, 1], azimuth)
    origin = place.rotate([0, 1, 0], -elevation) @ mi.ScalarPoint3f(distance, 0, 0)
    camera = {
        "type": "perspective",
        "fov": FIELD_OF_VIEW,
        "to_world": mi.ScalarTransform4f().look_at(origin, aim, [0, 0, 1]),
        "film": {"type": "hdrfilm", "width": size, "height": size},
        "sampler": {"type": "independent", "sample_count": RAYS_PER_PIXEL},
    }
    noise_seed = int(hand.integers(2**31))
    scene = _scene(label, sample, seed)
    light = np.array(mi.render(scene, sensor=mi.load_dict(camera), seed=noise_seed))
    return np.asarray((255 * np.clip(light[..., :3], 0, 1) ** (1 / 2.2)).round().astype(np.uint8))


# ---- the collection ------------------------------------------------------------------------------


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

    Photos already there are kept, so an interrupted call goes on where it stopped. The files hold
    the same bytes whatever the number of `workers` (None: one a core).

    Raises
    ------
    UserError
        If a worker is killed.
    """
    classes = list(KINDS)
    labels = [classes[n % len(classes)] for n in range(samples)]
    numbers = [n // len(classes) for n in range(samples)]
    render = partial(_render_sample, folder, angles=angles, size=size, seed=seed)
    # Spawned, since the renderer's threads don't survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or _cores(), spawn, initializer=_start_worker) as pool:
        # Workers are born with Ctrl-C blocked: the parent decides when to stop.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        finished = pool.map(render, labels, numbers)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            for _ in watch(finished, "demo", samples, "sample"):
                pass
        except BrokenProcessPool:
            raise UserError(
                "a rendering process was killed, perhaps for lack of memory: run again, and it "
                "goes on where it stopped"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)  # don't finish the queue when interrupted


def _start_worker() -> None:
    """End with the parent, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _render_sample(
    folder: Path, label: str, sample: int, *, angles: int, size: int, seed: int
) -> None:
    place = folder / label / f"{sample:03d}"
    place.mkdir(parents=True, exist_ok=True)
    for angle in range(angles):
        path = place / f"{angle:02d}.jpg"
        if not path.exists():
            photo = render_photo(label, sample, angle, angles=angles, size=size, seed=seed)
            jpeg = io.BytesIO()
            Image.fromarray(photo).save(jpeg, format="JPEG", quality=JPEG_QUALITY)
            files.write_bytes(path, jpeg.getvalue())


def _cores() -> int:
    """Count the cores open to this process, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
