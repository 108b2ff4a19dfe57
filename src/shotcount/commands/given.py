"""The photos that a command is given: found, decoded, and what is said of those it can't use."""

import csv
import io
import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shotcount.core.errors import UserError, printable
from shotcount.core.params import Fit
from shotcount.photos.reading import Photo, read_photo, why
from shotcount.photos.walking import count_kinds, natural, walk

Row = dict[str, str | int | float]
LINK = "a link to a folder: name the folder itself"


@dataclass(frozen=True)
class PhotoFile:
    path: Path
    inside: str  # relative to the folder that was searched, with /; for a file, as given
    fault: str = ""  # why it can't be used


def find_files(places: Sequence[Path]) -> list[PhotoFile]:
    """List photos: files as given, and the photos below each folder, in natural order.

    Photos have the same suffixes as in a collection. A folder without photos and a link to a folder
    are listed with their fault.
    """
    photos = []
    for place in places:
        if place.is_dir():
            tree = walk(place)
            below = [PhotoFile(place / path, path) for path in tree.photos]
            below += [PhotoFile(place / path, path, LINK) for path in tree.links]
            photos += sorted(below, key=lambda photo: natural(photo.inside))
            if not below:
                fault = "a folder without photos"
                fault += f", but {count_kinds(tree.others)}" if tree.others else ""
                photos.append(PhotoFile(place, "", fault))
        else:
            photos.append(PhotoFile(place, place.as_posix()))
    return photos


def _read(photo: PhotoFile, size: int, fit: Fit) -> Photo | str:
    """Decode a photo as in training, or return why it can't be decoded."""
    if photo.fault:
        return photo.fault
    try:
        str(photo.path).encode()  # raises for a path that can't be printed
        return read_photo(photo.path.read_bytes(), size, fit)
    except MemoryError:
        raise
    except Exception as error:
        return getattr(error, "strerror", None) or why(error)  # without the path, which is printed


def decode(
    photos: Sequence[PhotoFile], size: int, fit: Fit, batch_size: int
) -> Iterator[list[tuple[PhotoFile, Photo | str]]]:
    """Yield decoded batches; all cores decode one batch ahead."""
    # Threads suffice: Pillow releases the GIL while it decodes and resizes.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        ahead: deque[tuple[Sequence[PhotoFile], Iterator[Photo | str]]] = deque()
        for start in range(0, len(photos) + batch_size, batch_size):
            batch = photos[start : start + batch_size]
            ahead.append((batch, pool.map(partial(_read, size=size, fit=fit), batch)))
            if start:
                yield list(zip(*ahead.popleft(), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # don't wait after an early stop


def refuse(bad: Sequence[tuple[PhotoFile, str]], count: int) -> None:
    """Name the photos that can't be used, if there are any, of so many."""
    if bad:
        listing = "".join(f"\n       {printable(photo.path)}: {fault}" for photo, fault in bad)
        raise UserError(f"{len(bad)} of the {count} photos can't be used:{listing}")


# ---------------------------------------------------------------------------- printing


def write_row(made: Row, form: str) -> None:
    """Print a line of JSON if `form` is "jsonl", else of CSV."""
    sys.stdout.write(as_json(made) if form == "jsonl" else as_csv([*made.values()]))


def as_csv(values: Sequence[object]) -> str:
    """Write a line of CSV, quoted where a value has a comma, a quote or an end of line."""
    line = io.StringIO()
    # csv quotes the characters of its line end: with \r\n, also a carriage return in a name.
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue()[:-2] + "\n"


def as_json(made: Row) -> str:
    """Write a line of JSON."""
    return json.dumps(made, ensure_ascii=False) + "\n"
