"""Small collections of photos with boxes, in each format."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CLASSES = ["cat", "Dog é"]


class Drawn(NamedTuple):
    """A box in px, counted from 0."""

    label: str
    left: float
    top: float
    right: float
    bottom: float


# Photos by their path without images/ and suffix; the corners are whole, as Pascal VOC wants them.
BOXES = {
    "a": [Drawn("cat", 0, 0, 60, 40), Drawn("Dog é", 12, 7, 31, 40)],
    "sub/b": [Drawn("cat", 3, 5, 17, 33)],
    "sub/c": [],
}
SIZE = (60, 40)


def photo(path: Path, size: tuple[int, int] = SIZE, orientation: int = 1, seed: int = 0) -> None:
    """Write a noisy photo of so many px as stored, with EXIF's orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(path, exif=exif)


def encoded(pixels: np.ndarray) -> bytes:
    """The file of a photo."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def coco(
    boxes: dict[str, list[Drawn]], classes: Sequence[str] = CLASSES, size: tuple[int, int] = SIZE
) -> dict[str, list]:
    """COCO's JSON; ids begin with 1, and those of classes with 5."""
    annotations = [
        {
            "id": n,
            "image_id": image,
            "category_id": 5 + classes.index(box.label),
            "bbox": [box.left, box.top, box.right - box.left, box.bottom - box.top],
            "iscrowd": 0,
        }
        for n, (image, box) in enumerate(
            ((image, box) for image, own in enumerate(boxes.values(), 1) for box in own), 1
        )
    ]
    return {
        "images": [
            {"id": n, "file_name": f"{name}.png", "width": size[0], "height": size[1]}
            for n, name in enumerate(boxes, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 5 + n, "name": name} for n, name in enumerate(classes)],
    }


def yolo(boxes: list[Drawn], size: tuple[int, int] = SIZE, classes: Sequence[str] = CLASSES) -> str:
    """YOLO's text, with all the digits of a float."""
    lines = []
    for label, *corners in boxes:
        left, top, right, bottom = np.array(corners) / np.tile(size, 2)
        shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        lines.append(" ".join(map(str, [classes.index(label), *map(float, shares)])))
    return "\n".join(lines)


def voc(boxes: list[Drawn], size: tuple[int, int] = SIZE) -> str:
    """Pascal VOC's XML: the first and last pixel of each side, counted from 1."""
    objects = "\n".join(
        f"<object>\n<name>{box.label}</name>\n<bndbox><xmin>{box.left + 1}</xmin>"
        f"<ymin>{box.top + 1}</ymin><xmax>{box.right}</xmax><ymax>{box.bottom}</ymax></bndbox>"
        "</object>"
        for box in boxes
    )
    width, height = size
    return (
        f"<annotation>\n<size><width>{width}</width><height>{height}</height></size>\n"
        f"{objects}\n</annotation>"
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def make(
    root: Path,
    form: str,
    boxes: dict[str, list[Drawn]] = BOXES,
    beside: bool = False,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write photos and their annotations, in folders of their own or beside the photos."""
    images, labels, trees = ("", "", "") if beside else ("images", "labels", "Annotations")
    for seed, (name, own) in enumerate(boxes.items()):
        photo(root / images / f"{name}.png", size, seed=seed)
        if form == "yolo":
            write(root / labels / f"{name}.txt", yolo(own, size))
        elif form == "voc":
            write(root / trees / f"{name}.xml", voc(own, size))
    if form == "coco":
        write(root / trees / "instances.json", json.dumps(coco(boxes, size=size)))
    elif form == "yolo":
        write(root / "classes.txt", "\n".join(CLASSES) + "\n")
    return root
