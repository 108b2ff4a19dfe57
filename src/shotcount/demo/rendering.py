"""Render the demo collection, which stands in for one that can't be shared."""

import io
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from shotcount.core import files
from shotcount.core.errors import UserError
from shotcount.core.progress import watch
from shotcount.demo.finds import KINDS, Array, rng_for
from shotcount.demo.scene import build_scene, mitsuba

RAYS_PER_PIXEL = 8  # the remaining noise looks like a camera's
FIELD_OF_VIEW = 30.0  # degrees
JPEG_QUALITY = 92


def render_photo(
    label: str, sample: int, angle: int, *, angles: int, size: int, seed: int
) -> Array:
    """Return one photo (size, size, 3) uint8, which depends on nothing but the arguments.

    The camera stands about `angle / angles` of the way round the find, as if held by hand.
    """
    mi = mitsuba()
    walk, hand = rng_for("walk", seed, label, sample), rng_for("hand", seed, label, sample, angle)
    azimuth = walk.uniform(0, 360) + 360 * angle / angles + hand.normal(0, 5)  # degrees
    elevation = np.clip(walk.uniform(28, 55) + hand.normal(0, 5), 22, 65)  # degrees
    filled = hand.uniform(0.62, 0.82)  # share of the frame, by the sphere round the find
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
    scene = build_scene(label, sample, seed)
    light = np.array(mi.render(scene, sensor=mi.load_dict(camera), seed=noise_seed))
    return np.asarray((255 * np.clip(light[..., :3], 0, 1) ** (1 / 2.2)).round().astype(np.uint8))


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
    # Spawned, since the renderer's threads don't survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or _cores(), spawn, initializer=_start_worker) as pool:
        # Workers start with Ctrl-C blocked: the parent decides when to stop.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        finished = pool.map(render, labels, numbers)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            for _ in watch(finished, "demo", samples, "sample"):
                pass
        except BrokenProcessPool:
            raise UserError(
                "a rendering process was killed, perhaps for lack of memory: run again to resume"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)  # don't finish the queue when interrupted


def _start_worker() -> None:
    """Let this worker end with its parent, however the parent ends."""
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
    """Count the cores that this process may use: perhaps fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
