"""A folder of photos → a manifest and one array of pixels. Nothing later opens a photo."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from shotcount import files, tables
from shotcount.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LAYOUT = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)/(?P<angle>[^/]+)\.\w+$"


def find_photos(root: Path, pattern: str | None) -> pd.DataFrame:
    """List the photos below `root` with the label, sample and angle that their path gives.

    Parameters
    ----------
    root : Path
        The folder of the collection.
    pattern : str or None
        A regular expression searched in each path relative to `root` (with / between
        folders). The groups `label` and `sample` are required; `angle` tells the photos of
        one sample apart, `split` the ready-made splits. None means
        ``<label>/<sample>/<angle>.jpg``. A photo that doesn't match is no part of the
        collection.

    Returns
    -------
    DataFrame
        path, label, sample, angle, given_split: in natural order (2 before 10).

    Raises
    ------
    UserError
        If `root` or the pattern is unusable, or two photos have the same angle of a sample.
    """
    if not root.is_dir():
        raise UserError(f"data.path: {root} is no folder: name the folder that holds the photos")
    try:
        regex = re.compile(pattern or LAYOUT)
    except re.error as error:
        raise UserError(f"data.pattern: not a regular expression: {error}") from None
    if missing := {"label", "sample"} - set(regex.groupindex):
        raise UserError(f"data.pattern: lacks the group(s) {', '.join(sorted(missing))}")

    paths = sorted((path.relative_to(root).as_posix() for path in _walk(root)), key=natural)
    rows = []
    for path in paths:
        if match := regex.search(path):
            group = match.groupdict(default="")
            rows.append(
                {
                    "path": path,
                    "label": group["label"],
                    "sample": f"{group['label']}/{group['sample']}",
                    "angle": group.get("angle", ""),
                    "given_split": group.get("split", ""),
                }
            )
    if not rows:
        example = f", for example {paths[0]}" if paths else ""
        wanted = pattern or "<class>/<sample>/<angle>.jpg"
        raise UserError(
            f"data.path: none of the {len(paths)} photos below {root}{example}, fits {wanted}: "
            "rename them or set data.pattern"
        )
    photos = pd.DataFrame(rows)
    twice = photos[photos.duplicated(["sample", "angle"], keep=False)]
    if len(twice):
        first, second = twice[twice["sample"] == twice["sample"].iloc[0]]["path"].iloc[:2]
        raise UserError(
            f"data.pattern: {first} and {second} read as the same angle of the same sample: "
            "let the group `angle` (or `sample`) tell them apart"
        )
    return photos


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts angle 2 before angle 10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]


def read_photo(path: Path, size: int) -> tuple[np.ndarray, int, int]:
    """Decode one photo: upright, RGB, shorter side scaled to `size`, centre cropped square.

    Returns
    -------
    pixels : ndarray of shape (size, size, 3), uint8
    width, height : int
        Of the upright photo on disk, in pixels.
    """
    with Image.open(path) as image:
        stored = image.size
        # Large JPEGs are decoded at 1/2, 1/4 or 1/8 scale, never below twice the target.
        image.draft("RGB", (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
    turned = upright.size != image.size and upright.size[::-1] == image.size
    width, height = stored[::-1] if turned else stored
    square = ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(square), width, height


def prepare(
    root: Path, photos: pd.DataFrame, size: int, pixels_path: Path
) -> Iterator[tuple[int, int, str]]:
    """Decode every photo once, on all cores, into a uint8 array (photos, size, size, 3).

    Yields width, height and SHA-256 of each photo in turn; the array is at `pixels_path` once
    the iterator is exhausted.

    Raises
    ------
    UserError
        Naming every photo that can't be read, once all were tried.
    """

    def load(row: int) -> tuple[int, int, str]:
        path = root / photos["path"].iloc[row]
        pixels[row], width, height = read_photo(path, size)
        return width, height, files.sha256(path)

    broken = []
    with files.atomic(pixels_path) as temporary:
        pixels = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=(len(photos), size, size, 3)
        )
        # Threads: Pillow lets go of Python's lock while it decodes and resizes.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(load, row) for row in range(len(photos))]
            for row, job in enumerate(jobs):
                try:
                    yield job.result()
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                    broken.append(f"{photos['path'].iloc[row]}: {error}")
        if broken:
            listing = "\n       ".join(broken)
            raise UserError(
                f"{len(broken)} photo(s) below {root} can't be read; replace or remove:\n"
                f"       {listing}"
            )
        pixels.flush()


def _walk(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            yield path


def manifest(photos: pd.DataFrame, facts: list[tuple[int, int, str]]) -> pd.DataFrame:
    """Join what the path says of each photo with what decoding it has shown."""
    columns = pd.DataFrame(facts, columns=["width", "height", "sha256"])
    table = pd.concat([photos.reset_index(drop=True), columns], axis=1)
    return table.assign(photo=range(len(table)))[list(tables.MANIFEST)]
