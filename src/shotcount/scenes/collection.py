"""Render scenes, and list their boxes as COCO does."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from shotcount.core import files
from shotcount.demo.camera import write_photo
from shotcount.demo.finds import KINDS
from shotcount.demo.workers import render_each
from shotcount.scenes.views import Seen, render_view


def render_scenes(
    work: Path,
    *,
    samples: int,
    angles: int,
    size: int,
    seed: int,
    workers: int | None = None,
) -> None:
    """Render photos of `samples` scenes, and their boxes, into the folder `<work>/demo`.

    The photos are `images/scene<scene>_<angle>.jpg`, the boxes are in `annotations.json`.

    Existing photos are kept, so that the next call resumes an interrupted one; their boxes lie
    in `<work>/boxes` until all are there. The bytes don't depend on the number of `workers` (None:
    one per core).

    Raises
    ------
    UserError
        If a worker is killed.
    """
    render = partial(_render_scene, work, angles=angles, size=size, seed=seed)
    render_each(render, range(samples), stage="demo", noun="scene", workers=workers)
    names = [_name(scene, angle) for scene in range(samples) for angle in range(angles)]
    seen = {
        name: [Seen(*row) for row in json.loads(_boxes(work, name).read_text())] for name in names
    }
    files.write_json(work / "demo/annotations.json", as_coco(seen, size))


def as_coco(seen: dict[str, list[Seen]], size: int) -> dict[str, list[dict[str, Any]]]:
    """Return the content of COCO's file of annotations (boxes.coco reads it).

    Parameters
    ----------
    seen : dict
        For each photo, by its name: the finds in it; none, and it is background.
    size : int
        Width and height of the photos in px.
    """
    numbers = {label: number for number, label in enumerate(KINDS, 1)}
    images, annotations = [], []
    for image, (name, finds) in enumerate(seen.items(), 1):
        file = f"images/{name}.jpg"
        images.append({"id": image, "file_name": file, "width": size, "height": size})
        annotations += [
            {
                "image_id": image,
                "category_id": numbers[find.label],
                "bbox": [find.left, find.top, find.right - find.left, find.bottom - find.top],
                "area": find.area,
                "iscrowd": 0,
            }
            for find in finds
        ]
    return {
        "images": images,
        "annotations": [{"id": n} | entry for n, entry in enumerate(annotations, 1)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
    }


def _render_scene(work: Path, scene: int, *, angles: int, size: int, seed: int) -> None:
    for angle in range(angles):
        name = _name(scene, angle)
        path = work / f"demo/images/{name}.jpg"
        if not path.exists():
            photo, seen = render_view(scene, angle, angles=angles, size=size, seed=seed)
            files.write_text(_boxes(work, name), json.dumps(seen))
            write_photo(path, photo)  # last: what has a photo has its boxes


def _name(scene: int, angle: int) -> str:
    return f"scene{scene:03d}_{angle}"


def _boxes(work: Path, name: str) -> Path:
    return work / f"boxes/{name}.json"
