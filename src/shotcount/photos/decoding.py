"""Decode the photos of a collection into square arrays of pixels, each once."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from shotcount.core import files
from shotcount.core.params import Fit
from shotcount.photos.reading import read_photo, why

CHUNK = 256  # photos decoded before they are written to the disk
# Targets of the links that `dvc add` makes. No other link may lead out of data.path.
DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


class Facts(NamedTuple):
    """What decoding shows about a photo."""

    width: int = 0  # px, upright, as on disk
    height: int = 0
    sha256: str = ""
    place: int = -1  # row of its pixels, in the order of decoding
    fault: str = ""  # why it can't be used
    note: str = ""  # what can't be read, though the photo can be used
    orientation: int = 1  # EXIF's, by which the stored photo was turned upright


def decode(root: Path, photos: pd.DataFrame, size: int, fit: Fit, work: Path) -> Iterator[Facts]:
    """Decode each photo once, on all cores, and yield its facts.

    Parameters
    ----------
    photos : DataFrame
        The table that `find_photos` returns.
    size, fit
        As for `read_photo`.
    work : Path
        A folder that keeps the decoded photos, of this size and fit. A photo in it is not decoded
        again while its path, size and time of change stay the same.
    """
    known = _recall(work, size)

    def look(path: str) -> tuple[np.ndarray | None, Facts]:
        try:
            return _load(root, path, size, fit)
        except FileNotFoundError:
            return None, Facts(fault="a broken link, or removed meanwhile")
        except MemoryError:
            raise
        except Exception as error:
            return None, Facts(fault=why(error))

    # Threads: Pillow releases the GIL while it decodes and resizes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(photos), CHUNK):
            paths = list(photos["path"].iloc[start : start + CHUNK])
            identities = [_identity(root, path) for path in paths]
            new = [n for n, identity in enumerate(identities) if identity not in known]
            found, pixels, lines = {}, [], []
            for n, (square, facts) in zip(
                new, pool.map(look, [paths[n] for n in new]), strict=True
            ):
                found[n] = facts
                if square is not None:
                    found[n] = facts._replace(place=len(known))
                    known[identities[n]] = found[n]
                    pixels.append(square.tobytes())
                    lines.append(json.dumps([identities[n], found[n]._asdict()]) + "\n")
            # Pixels first, so that the index never names pixels that are not there.
            files.append(work / "pixels", b"".join(pixels))
            files.append(work / "index", "".join(lines).encode())
            for n, identity in enumerate(identities):
                yield found[n] if n in found else known[identity]


def _load(root: Path, path: str, size: int, fit: Fit) -> tuple[np.ndarray, "Facts"]:
    place = root / path
    path.encode()  # the tables are UTF-8
    if place.is_symlink():
        target = place.resolve()
        if not target.is_relative_to(root.resolve()) and not DVC_CACHE.search(target.as_posix()):
            raise ValueError(f"a link to {target}, outside data.path: copy the file")
    content = place.read_bytes()
    if not content:
        raise ValueError("the file is empty")
    photo = read_photo(content, size, fit)
    digest = hashlib.sha256(content).hexdigest()
    return photo.pixels, Facts(
        photo.width, photo.height, digest, note=photo.note, orientation=photo.orientation
    )


def _identity(root: Path, path: str) -> str:
    try:
        status = (root / path).stat()
    except OSError:
        return ""
    return json.dumps([path, status.st_size, status.st_mtime_ns])


def _recall(work: Path, size: int) -> dict[str, Facts]:
    """Read which photos an interrupted run has decoded; cut off what it wrote in part."""
    for name in ("pixels", "index"):
        (work / name).touch()
    text = (work / "index").read_bytes()
    decoded = (work / "pixels").stat().st_size // (size * size * 3)
    lines = text[: text.rfind(b"\n") + 1].splitlines(keepends=True)[:decoded]
    os.truncate(work / "index", sum(map(len, lines)))
    os.truncate(work / "pixels", len(lines) * size * size * 3)
    return {identity: Facts(**facts) for identity, facts in map(json.loads, lines)}
