"""Decode photos into square arrays of pixels."""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from shotcount.core import files
from shotcount.core.errors import printable

CHUNK = 256  # photos decoded before they are written to the disk
SMALLEST = 16  # px: smaller images show nothing
# Targets of the links that `dvc add` makes. No other link may lead out of data.path.
DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


def read_photo(source: Path | BinaryIO, size: int) -> tuple[np.ndarray, int, int]:
    """Decode one photo: upright, RGB, shorter side scaled to `size`, centre cropped square.

    Transparent parts become white. Of several pictures in a phone's file (MPO), the first is read.

    Returns
    -------
    pixels : ndarray of shape (size, size, 3), uint8
    width, height : int
        Size of the upright photo on disk, in pixels.

    Raises
    ------
    ValueError
        If it is not a usable photo. Pillow raises errors of any type for damaged files.
    """
    with Image.open(source) as image:
        stored = image.size
        if min(stored) < SMALLEST:
            raise ValueError(f"{stored[0]} x {stored[1]} px: too small to show anything")
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise ValueError("several pictures in one file: save the one that is meant")
        if image.mode in ("I", "F"):
            raise ValueError("32 bits a pixel: save it with 8 or 16")
        # Large JPEGs are decoded at 1/2, 1/4 or 1/8 scale, never below twice the target.
        image.draft("RGB", (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
    turned = upright.size != image.size and upright.size[::-1] == image.size
    width, height = stored[::-1] if turned else stored
    if upright.mode.startswith("I;16"):  # Pillow would clip it at 255
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    square = ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(square), width, height


class Facts(NamedTuple):
    """What decoding shows about a photo."""

    width: int = 0  # px, upright, as on disk
    height: int = 0
    sha256: str = ""
    place: int = -1  # row of its pixels, in the order of decoding
    fault: str = ""  # why it can't be used


def decode(root: Path, photos: pd.DataFrame, size: int, work: Path) -> Iterator[Facts]:
    """Decode each photo once, on all cores, and yield its facts.

    Parameters
    ----------
    photos : DataFrame
        The table that `find_photos` returns.
    work : Path
        A folder that keeps the decoded photos. A photo in it is not decoded again while its path,
        size and time of change stay the same.
    """
    known = _recall(work, size)

    def look(path: str) -> tuple[np.ndarray | None, Facts]:
        try:
            return _load(root, path, size)
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


def why(error: Exception) -> str:
    """Say why a photo can't be used, given the exception that its decoder raised.

    It may be of any type: each format's decoder fails in its own way.
    """
    if isinstance(error, UnidentifiedImageError):
        return "no image that Pillow can read"
    if isinstance(error, UnicodeEncodeError):
        return "the file's name is not UTF-8: rename it"
    return printable(error) or type(error).__name__


def _load(root: Path, path: str, size: int) -> tuple[np.ndarray, "Facts"]:
    place = root / path
    path.encode()  # the tables are UTF-8
    if place.is_symlink():
        target = place.resolve()
        if not target.is_relative_to(root.resolve()) and not DVC_CACHE.search(target.as_posix()):
            raise ValueError(f"a link to {target}, outside data.path: copy the file")
    content = place.read_bytes()
    if not content:
        raise ValueError("the file is empty")
    pixels, width, height = read_photo(io.BytesIO(content), size)
    return pixels, Facts(width=width, height=height, sha256=hashlib.sha256(content).hexdigest())


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
