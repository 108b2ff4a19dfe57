"""COCO JSON: one file for many photos; boxes as left, top, width and height in px, from 0.

The format: https://cocodataset.org/#format-data, "object detection". Corners are numbers between
pixels, not pixels: a box of the whole photo is [0, 0, width, height].
"""

import json
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from shotcount.boxes import annotations
from shotcount.boxes.annotations import Annotated, Annotations, Box, error, number

FORM = "COCO JSON"
KEYS = ("images", "annotations", "categories")
NEEDED: dict[str, dict[str, Any]] = {  # the type of each key that an entry must have
    "images": {"id": int | str, "file_name": str},
    "annotations": {"image_id": int | str, "category_id": int | str, "bbox": list},
    "categories": {"id": int | str, "name": str},
}
Entries = list[dict[str, Any]]


def looks_like(content: bytes) -> bool:
    """Whether a file may be COCO's JSON: it names two of the three lists."""
    content = content.replace(b"\0", b"")  # in UTF-16, each letter has a zero
    return sum(f'"{key}"'.encode() in content for key in KEYS) >= 2


def read(root: Path, files: Sequence[str], photos: Sequence[str]) -> Annotations:
    """Read one or several JSON files, for example one a split.

    A photo is named (file_name) by its path below the folder of the JSON file, or below `root`, or
    by the end of its path if no other photo's path ends so.

    Raises
    ------
    UserError
        If a file can't be read without doubt; the message names the file and the entry.
    """
    known = set(photos)
    by_name: dict[str, list[str]] = {}
    for path in photos:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    boxes: list[Box] = []
    annotated: list[Annotated] = []
    without: list[str] = []
    classes: dict[str, None] = {}  # in the order of the files
    for file in files:
        content = _load(annotations.read_text(root, file), file)
        labels = {
            entry["id"]: entry["name"].strip() for _, entry in _entries(content, "categories", file)
        }
        _refuse_twice(list(labels.values()), file, "two categories are named")
        classes |= dict.fromkeys(labels.values())
        names: dict[int | str, str | None] = {}
        for place, entry in _entries(content, "images", file):
            photo = _photo(entry["file_name"], file, place, by_name, known)
            names[entry["id"]] = photo
            if photo is None:
                without.append(f"{file}, {entry['file_name']}")
            else:
                annotated.append(Annotated(photo, *_size(entry, file, place), file))
        _refuse_twice([photo for photo in names.values() if photo], file, "two images are")
        boxes += _boxes(content, file, names, labels)
    return Annotations(
        FORM,
        annotations.as_table(boxes, Box),
        annotations.as_table(annotated, Annotated),
        tuple(classes),
        tuple(without),
    )


def _load(text: str, file: str) -> dict[str, Entries]:
    def refuse(word: str) -> None:
        raise error(file, "", f"holds {word}, which is no number", "write a number")

    try:
        content = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as fault:
        place = f"line {fault.lineno}"
        raise error(file, place, f"broken JSON ({fault.msg})", "export the file again") from None
    except (ValueError, RecursionError) as fault:  # a number of thousands of digits; nested deeply
        raise error(file, "", f"broken JSON ({fault})", "export the file again") from None
    if not isinstance(content, dict):
        raise error(file, "", "is no JSON object", f"it needs the keys {', '.join(KEYS)}")
    for key in KEYS:
        if not isinstance(content.get(key), list):
            said = f"`{key}` is no list" if key in content else f"lacks the key `{key}`"
            raise error(file, "", said, f"it needs the lists {', '.join(KEYS)}")
    return content


def _entries(
    content: dict[str, Entries], key: str, file: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries of a list, each with its place, once its keys and its id are checked."""
    known = set()
    for n, entry in enumerate(content[key]):
        place = f"{key}[{n}]"
        if not isinstance(entry, dict):
            raise error(file, place, "is no JSON object", f"it needs {', '.join(NEEDED[key])}")
        if isinstance(entry.get("id"), int | str):
            place += f" (id {entry['id']})"
        for name, kind in NEEDED[key].items():
            value = entry.get(name)
            empty = isinstance(value, str) and not value.strip()
            if empty or not isinstance(value, kind) or isinstance(value, bool):
                fault = f"`{name}` is {_short(value)}" if name in entry else f"lacks `{name}`"
                raise error(file, place, fault, f"it needs {', '.join(NEEDED[key])}; if these are "
                            "no boxes, move the file away")  # fmt: skip
        if "id" in NEEDED[key]:
            if entry["id"] in known:
                raise error(file, place, "the id occurs twice", "give each its own id")
            known.add(entry["id"])
        yield place, entry


def _boxes(
    content: dict[str, Entries],
    file: str,
    names: dict[int | str, str | None],
    labels: dict[int | str, str],
) -> list[Box]:
    boxes = []
    for place, entry in _entries(content, "annotations", file):
        for key, known, where in (
            ("image_id", names, "images"),
            ("category_id", labels, "categories"),
        ):
            if entry[key] not in known:
                raise error(file, place, f"`{key}` {_short(entry[key])} is not in `{where}`",
                            "add it there, or remove the annotation")  # fmt: skip
        sides = [None if isinstance(v, str) else number(v) for v in entry["bbox"]]
        if len(sides) != 4 or None in sides:
            raise error(file, place, f"`bbox` is {_short(entry['bbox'])}",
                        "write [left, top, width, height] in pixels")  # fmt: skip
        left, top, width, height = (side or 0.0 for side in sides)
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise error(file, place, f"`iscrowd` is {_short(crowd)}", "write 0 or 1")
        photo = names[entry["image_id"]]
        if photo is not None:
            label = labels[entry["category_id"]]
            right, bottom = left + width, top + height
            boxes.append(
                Box(photo, label, left, top, right, bottom, crowd == 1, False, file, place)
            )
    return boxes


def _photo(
    written: str, file: str, place: str, by_name: dict[str, list[str]], known: set[str]
) -> str | None:
    """Find the photo that a file_name means."""
    slashes = written.replace("\\", "/")
    for folder in (posixpath.dirname(file), ""):
        path = posixpath.normpath(posixpath.join(folder, slashes))
        if path in known:
            return path
    absolute = slashes.startswith("/") or bool(PureWindowsPath(written).drive)
    end = posixpath.basename(slashes) if absolute else posixpath.normpath(slashes)
    near = [
        path
        for path in by_name.get(posixpath.basename(slashes), [])
        if f"/{path}".endswith(f"/{end}")
    ]
    if len(near) > 1:
        raise error(file, place, f"`file_name` {_short(written)} fits {near[0]} and {near[1]}",
                    "write the path below the folder of the photos")  # fmt: skip
    return near[0] if near else None


def _size(entry: dict[str, Any], file: str, place: str) -> tuple[int, int]:
    """Return the stated width and height of the photo; 0 where they aren't stated."""
    sides = []
    for key in ("width", "height"):
        side = number(entry.get(key, 0))
        if side is None or isinstance(entry.get(key), str) or side < 0 or not side.is_integer():
            fault = f"`{key}` is {_short(entry[key])}"
            raise error(file, place, fault, "write the photo's size in pixels")
        sides.append(int(side))
    return sides[0], sides[1]


def _refuse_twice(names: list[str], file: str, what: str) -> None:
    known: set[str] = set()
    for name in names:
        if name in known:
            raise error(file, "", f"{what} {name}", "keep one")
        known.add(name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
