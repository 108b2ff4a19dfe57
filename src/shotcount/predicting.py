"""Photos anywhere → what a classifier takes them for, a photo or a whole sample at a time."""

import csv
import io
import json
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shotcount.errors import UserError
from shotcount.heads import Classifier
from shotcount.photos import is_photo, natural, read_photo, why
from shotcount.tables import probability
from shotcount.training import predict

Row = dict[str, str | int | float]


@dataclass(frozen=True)
class Photo:
    path: Path
    inside: str  # relative to the folder it was found in, / between folders; as given for a file
    fault: str = ""  # why it can't be used


# ---------------------------------------------------------------------------- finding


def find(places: Sequence[Path]) -> list[Photo]:
    """List the photos that `places` name: files as they are, folders by the photos below them.

    Folders are searched as a collection's is, for the same suffixes, and in natural order. What
    names no photo is listed with its fault.
    """
    photos = []
    for place in places:
        if place.is_dir():
            below = sorted(_walk(place), key=lambda photo: natural(photo.inside))
            photos += below or [Photo(place, "", "a folder without photos")]
        else:
            photos.append(Photo(place, place.as_posix()))
    return photos


def _walk(folder: Path) -> Iterator[Photo]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).as_posix()
        if path.is_dir():
            if path.is_symlink():  # it may lead round in a circle
                yield Photo(path, inside, "a link to a folder: name the folder itself")
        elif is_photo(path):
            yield Photo(path, inside)


# ---------------------------------------------------------------------------- predicting


def _read(photo: Photo, size: int) -> np.ndarray | str:
    """Decode a photo as in training; a text says why it can't be."""
    if photo.fault:
        return photo.fault
    try:
        str(photo.path).encode()  # so is what is printed
        # At once, for pipes too: Pillow goes back and forth in what it reads.
        return read_photo(io.BytesIO(photo.path.read_bytes()), size)[0]
    except MemoryError:
        raise
    except Exception as error:
        return getattr(error, "strerror", None) or why(error)  # without the path: that is printed


def _decode(
    photos: Sequence[Photo], size: int, batch_size: int
) -> Iterator[list[tuple[Photo, np.ndarray | str]]]:
    """Decode on all cores, a batch ahead of the one that is yielded and no more."""
    # Threads: Pillow lets go of Python's lock while it decodes and resizes.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        ahead: deque[tuple[Sequence[Photo], Iterator[np.ndarray | str]]] = deque()
        for start in range(0, len(photos) + batch_size, batch_size):
            batch = photos[start : start + batch_size]
            ahead.append((batch, pool.map(_read, batch, [size] * len(batch))))
            if start:
                yield list(zip(*ahead.popleft(), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who stops early needn't wait for the rest


def probabilities(
    network: Classifier, photos: Sequence[Photo], size: int, batch_size: int
) -> Iterator[tuple[Photo, np.ndarray | str]]:
    """Yield each photo with the probability of every class, or with why it can't be used.

    In the order of `photos`, and in memory for a few batches, however many there are.

    Parameters
    ----------
    network : Classifier
        As from `classifier.load`.
    photos : sequence of Photo
    size : int
        That the network was trained at, in pixels.
    batch_size : int
        Photos to compute on at once; only the last bits of a probability depend on it.

    Yields
    ------
    Photo
    ndarray of shape (classes,), float64, or str
    """
    device = network.head.weight.device
    for batch in _decode(photos, size, batch_size):
        pixels = [made for _, made in batch if not isinstance(made, str)]
        found: Iterator[np.ndarray] = iter(())
        if pixels:
            x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # (B, 3, H, W) uint8

            def load(
                rows: np.ndarray, seed: int | None, part: slice = slice(None), x: torch.Tensor = x
            ) -> torch.Tensor:
                return x[torch.from_numpy(rows[part])].to(device)

            found = iter(predict(network, load, np.arange(len(x)), batch_size))
        for photo, made in batch:
            yield photo, made if isinstance(made, str) else next(found)


# ---------------------------------------------------------------------------- whole samples


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile what tells a photo's sample by its path.

    Raises
    ------
    UserError
        If it is no regular expression, or has no group `sample`.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--pattern: not a regular expression: {error}") from None
    if "sample" not in regex.groupindex:
        raise UserError("--pattern: lacks the group sample: write (?P<sample>...)")
    return regex


def sample_of(photo: Photo, pattern: re.Pattern[str] | None) -> str | None:
    """Name the sample that a photo shows; None where the pattern doesn't tell.

    Its folder, or the pattern's group `sample`, preceded by that of `label` where there is one, as
    in a collection: sample 7 of one class is not sample 7 of another.
    """
    if pattern is None:
        return str(photo.path.parent)
    match = pattern.search(photo.inside)
    if match is None or not match["sample"]:
        return None
    label = match.groupdict().get("label")
    return f"{label}/{match['sample']}" if label else match["sample"]


class Samples:
    """Averages log-probabilities over the photos of each sample, as `scoring.views` does."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, np.ndarray]] = {}  # photos, summed log-probabilities

    def add(self, sample: str, p: np.ndarray) -> None:
        """Add a photo's probabilities (classes,)."""
        photos, total = self._sums.get(sample, (0, np.zeros(len(p))))
        self._sums[sample] = photos + 1, total + np.log(np.clip(p, 1e-15, None))

    def __iter__(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """Yield sample, photos and probabilities (classes,), in the order of first photos.

        The probabilities are the geometric mean of the photos', scaled to a sum of 1.
        """
        for sample, (photos, total) in self._sums.items():
            p = np.exp(total / photos)
            yield sample, photos, p / p.sum()


# ---------------------------------------------------------------------------- printing


def row(head: Row, p: np.ndarray, classes: Sequence[str]) -> Row:
    """Lay out a prediction: `head`, label, its probability, and one probability a class."""
    best = int(p.argmax())
    columns = zip(map(probability, classes), p, strict=True)
    rounded = {name: float(f"{value:.6g}") for name, value in columns}
    return {**head, "label": classes[best], "probability": float(f"{p[best]:.6g}"), **rounded}


def as_csv(values: Sequence[object]) -> str:
    """Write a line of CSV, quoted where a value has a comma, a quote or an end of line."""
    line = io.StringIO()
    # It quotes what its line end holds, so a carriage return too, which ends lines for some.
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue()[:-2] + "\n"


def as_json(made: Row) -> str:
    """Write a line of JSON."""
    return json.dumps(made, ensure_ascii=False) + "\n"
