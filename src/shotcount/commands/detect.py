"""shotcount predict, with a detector: find the objects in photos."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from shotcount.boxes.drawing import Mark, draw_marks
from shotcount.boxes.pixels import from_square
from shotcount.commands import grouping
from shotcount.commands.given import PhotoFile, Row, as_csv, decode, find_files, refuse, write_row
from shotcount.commands.listing import many
from shotcount.core import files
from shotcount.core.errors import UserError
from shotcount.core.tables import CORNERS
from shotcount.photos.reading import Photo
from shotcount.tasks.boxes import detect
from shotcount.tasks.detector import Detector
from shotcount.tasks.strategies import load_pixels

COLUMNS = ["photo", "label", "score", *CORNERS]
KNOWN = (
    "have names of scenes that the detector was trained on: what it finds in these says nothing "
    "about other scenes; its README.md tells how often it is right on those"
)


class Seen(NamedTuple):
    """What is found in a photo, the surest first."""

    width: int  # px, of the upright photo
    height: int
    labels: list[str]
    scores: np.ndarray  # (objects,) float64
    corners: np.ndarray  # (objects, 4) float64: left, top, right, bottom in px

    def rows(self, path: str) -> list[Row]:
        """Return the columns `COLUMNS` of each object."""
        rows: list[Row] = []
        for label, score, own in zip(self.labels, self.scores, self.corners, strict=True):
            corners = dict(zip(CORNERS, own.round(2).tolist(), strict=True))
            rows.append({"photo": path, "label": label, "score": float(f"{score:.6g}"), **corners})
        return rows


def run(given: argparse.Namespace, detector: Detector, model: Mapping[str, Any]) -> int:
    """Print the objects in every photo, and draw them."""
    if given.by_sample:
        raise UserError(
            "--by-sample: a detector finds objects in each photo by itself: leave it out"
        )
    photos = find_files(given.photos)
    if given.draw is not None:
        _check_apart(given.draw, given.photos, photos)
    places, seen = [(p.path, p.inside) for p in photos], model.get("samples_seen", [])
    if known := grouping.count_known_scenes(places, model.get("layout"), seen):
        print(f"note: {known} of {len(photos)} photos {KNOWN}", file=sys.stderr)
    least = model["confidence"] if given.confidence is None else given.confidence
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    if given.format == "csv":
        sys.stdout.write(as_csv(COLUMNS))
    hidden = True if sys.stdout.isatty() else None  # no progress bar between rows in a terminal
    found, bad, usable = detect_files(detector, photos, model, least, given.batch_size), [], []
    watched = tqdm(found, "predict", len(photos), unit="photo", disable=hidden)
    for number, (photo, made) in enumerate(watched, 1):
        if isinstance(made, str):
            bad.append((photo, made))
            continue
        if given.format == "coco":
            usable.append((str(photo.path), made))
        else:
            for row in made.rows(str(photo.path)):
                write_row(row, given.format)
        if given.draw is not None:
            place = str(number).zfill(len(str(len(photos))))
            _draw(photo, made, model["classes"], given.draw / f"{place}_{photo.path.stem}.jpg")
    if given.format == "coco":
        sys.stdout.write(json.dumps(as_coco(usable, model["classes"]), ensure_ascii=False) + "\n")
    sys.stdout.flush()
    refuse(bad, len(photos))
    return 0


def detect_files(
    detector: Detector,
    photos: Sequence[PhotoFile],
    model: Mapping[str, Any],
    least: float,
    batch_size: int,
) -> Iterator[tuple[PhotoFile, Seen | str]]:
    """Yield each photo with the objects in it, or with why it can't be used.

    Keeps the order of `photos`. Only a few batches are in memory at a time.

    Parameters
    ----------
    detector : Detector
        In eval mode, as from `classifier.keep.load`.
    photos : sequence of PhotoFile
    model : mapping
        The content of model.json.
    least : float
        The lowest score of an object that counts.
    batch_size : int
        Photos to compute on at once.
    """
    size, fit = model["size"], model["fit"]
    for batch in decode(photos, size, fit, batch_size):
        pixels = [made.pixels for _, made in batch if isinstance(made, Photo)]
        found: Iterator[np.ndarray] = iter(())
        if pixels:
            load = load_pixels(np.stack(pixels), None, detector.anchors.device)
            found = iter(detect(detector, load, np.arange(len(pixels)), batch_size))
        for photo, made in batch:
            if isinstance(made, str):
                yield photo, made
                continue
            own = next(found)  # (objects, 6)
            own = own[own[:, 4] >= least]
            labels = [model["classes"][int(kind)] for kind in own[:, 5]]
            corners = from_square(own[:, :4], made.width, made.height, size, fit)
            yield photo, Seen(made.width, made.height, labels, own[:, 4], corners)


def as_coco(found: Sequence[tuple[str, Seen]], classes: Sequence[str]) -> dict[str, Any]:
    """Return COCO's lists: all photos, the objects in them with their scores, the classes."""
    annotations: list[dict[str, Any]] = []
    for image, (_, seen) in enumerate(found, 1):
        for label, score, corners in zip(seen.labels, seen.scores, seen.corners, strict=True):
            left, top, right, bottom = corners.round(2).tolist()
            width, height = round(right - left, 2), round(bottom - top, 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": classes.index(label) + 1,
                    "bbox": [left, top, width, height],
                    "area": round(width * height, 2),
                    "iscrowd": 0,
                    "score": float(f"{score:.6g}"),
                }
            )
    images = [
        {"id": image, "file_name": path, "width": seen.width, "height": seen.height}
        for image, (path, seen) in enumerate(found, 1)
    ]
    categories = [{"id": n, "name": label} for n, label in enumerate(classes, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _check_apart(folder: Path, given: Sequence[Path], photos: Sequence[PhotoFile]) -> None:
    """Refuse to draw among the photos, where drawings would be taken for photos next time."""
    own, paths = folder.resolve(), [photo.path.resolve() for photo in photos]
    searched = [place.resolve() for place in given if place.is_dir()]
    if any(map(own.is_relative_to, searched)) or any(path.is_relative_to(own) for path in paths):
        raise UserError(
            f"--draw: {folder} lies among the photos, so that the drawings would become part of "
            "them: name another folder"
        )


def _draw(photo: PhotoFile, seen: Seen, classes: Sequence[str], path: Path) -> None:
    marks = [
        Mark(label, f"{label} {score:.2f}")
        for label, score in zip(seen.labels, seen.scores, strict=True)
    ]
    shares = seen.corners / np.tile([seen.width, seen.height], 2)
    title = f"{photo.path}: {many(len(marks), 'object')}"
    image = draw_marks(photo.path.read_bytes(), title, shares, marks, classes)
    with files.atomic(path) as temporary:
        image.save(temporary, "JPEG", quality=90)
