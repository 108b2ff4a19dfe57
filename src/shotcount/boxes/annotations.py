"""Boxes in one form, whatever format they were annotated in, and how they find their photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from shotcount.core.errors import UserError, printable

# Folders that tell photos from annotations, and stand for no part of a photo's name.
ROLES = {"images", "jpegimages", "labels", "annotations", "xmls"}
LARGEST = 1e9  # px: no photo is larger


class Box(NamedTuple):
    """One box, as annotated: in px, or in YOLO text as shares of the photo's width and height.

    Pixels are squares: the first of a row reaches from 0 to 1. So a box is right - left wide.
    """

    photo: str  # path, relative to the folder of the photos
    label: str
    left: float
    top: float
    right: float
    bottom: float
    crowd: bool  # COCO: a group of objects in one box
    difficult: bool  # Pascal VOC: hard to recognise
    file: str  # where it was read
    place: str  # in the file, as people find it: "line 3"


class Annotated(NamedTuple):
    """One photo that has an annotation, which may list no box."""

    photo: str
    width: int  # px, as the annotation states it; 0 if it doesn't
    height: int
    file: str


@dataclass(frozen=True)
class Annotations:
    """All annotations of a collection.

    Attributes
    ----------
    form : str
        The format's name.
    boxes : DataFrame
        The columns of `Box`; only of photos that are there.
    photos : DataFrame
        The columns of `Annotated`; a photo without boxes is background.
    classes : tuple of str
        The classes that the format lists; without a list, those that occur.
    without_photo : tuple of str
        Annotations whose photo isn't there: the file, or the photo's name in the file.
    normalised : bool
        Whether the boxes are shares of width and height.
    notes : tuple of str
        What is worth knowing of how they were read.
    """

    form: str
    boxes: pd.DataFrame
    photos: pd.DataFrame
    classes: tuple[str, ...]
    without_photo: tuple[str, ...] = ()
    normalised: bool = False
    notes: tuple[str, ...] = ()


def as_table(rows: Sequence[tuple[Any, ...]], kind: type[Box] | type[Annotated]) -> pd.DataFrame:
    """Return boxes or annotated photos as a table; text stays as it is, UTF-8 or not."""
    table = pd.DataFrame(rows, columns=kind._fields, dtype=object)
    numbers = {
        name: hint for name, hint in kind.__annotations__.items() if hint in (int, float, bool)
    }
    return table.astype(numbers)


# ---------------------------------------------------------------------------- reading


def error(file: str, place: str, fault: str, mend: str) -> UserError:
    """Return the error that names a file, the place in it, what is wrong and how to mend it."""
    where = f"{file}, {place}" if place else file
    return UserError(f"{printable(where)}: {printable(fault)}: {printable(mend)}")


def read_bytes(root: Path, file: str, most: int = -1) -> bytes:
    """Read an annotation file, or the first bytes of it.

    Raises
    ------
    UserError
        If it is no plain file, or can't be read.
    """
    path = root / file
    try:
        if path.is_file():  # a pipe would wait for ever
            with path.open("rb") as opened:
                return opened.read(most)
        raise error(file, "", "no file that can be read", "put the file itself there, or remove it")
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise error(file, "", f"can't be read ({reason})", "let this user read it") from None


def read_text(root: Path, file: str) -> str:
    """Read an annotation file in UTF-8, with or without a mark.

    Raises
    ------
    UserError
        If it is in another encoding, or can't be read.
    """
    content = read_bytes(root, file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise error(file, f"line {line}", "is not in UTF-8", "save the file in UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise error(file, f"line {line}", "is not in UTF-8", "save the file in UTF-8")
    return text


def number(value: Any) -> float | None:
    """Return a number of pixels, or text of one, as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if abs(read) <= LARGEST else None  # nan isn't either


# ---------------------------------------------------------------------------- finding photos


def key(path: str) -> str:
    """Return what the paths of a photo and of its annotation share.

    >>> key("images/train/7.jpg") == key("labels/train/7.txt") == key("train/7.xml")
    True
    """
    pure = PurePosixPath(path)
    return "/".join([*(p for p in pure.parent.parts if p.lower() not in ROLES), pure.stem])


def by_key(paths: Sequence[str]) -> dict[str, list[str]]:
    """Collect paths under their keys."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(key(path), []).append(path)
    return found


def match(files: Sequence[str], photos: Sequence[str]) -> dict[str, str | None]:
    """Find the photo of each annotation file by its path.

    The file lies beside the photo, or in a folder of annotations (labels, Annotations) beside that
    of the photos (images, JPEGImages), at any depth.

    Returns
    -------
    dict of str to str or None
        The photo of each file; None where there is none.

    Raises
    ------
    UserError
        If a photo has several files, or a file several photos.
    """
    known = by_key(photos)
    found: dict[str, str | None] = {}
    for name, own in by_key(files).items():
        of = known.get(name, [])
        if len(own) > 1 and of:
            raise error(
                own[1], "", f"{of[0]} has another annotation, {own[0]}", "keep one of the two"
            )
        if len(of) > 1:
            raise error(own[0], "", f"fits both {of[0]} and {of[1]}", "rename one of the photos")
        found |= dict.fromkeys(own, of[0] if of else None)
    return found
