"""shotcount predict: classify photos, or whole samples by several photos."""

import argparse
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

import numpy as np
import torch
from tqdm import tqdm

from shotcount.classifier.keep import load
from shotcount.commands import grouping
from shotcount.core.errors import UserError, printable
from shotcount.core.params import Fit
from shotcount.networks.devices import pick_device
from shotcount.networks.heads import Network
from shotcount.photos.reading import read_photo, why
from shotcount.photos.walking import count_kinds, natural, walk
from shotcount.scoring.predictions import probability
from shotcount.tasks.strategies import predict

Row = dict[str, str | int | float]
LINK = "a link to a folder: name the folder itself"
KNOWN = (
    "have names of samples that the classifier was trained on: how often it is right on these says "
    "nothing about other samples; its README.md tells how often it is right on those"
)


@dataclass(frozen=True)
class PhotoFile:
    path: Path
    inside: str  # relative to the folder that was searched, with /; for a file, as given
    fault: str = ""  # why it can't be used


def run(given: argparse.Namespace) -> int:
    """Print the prediction of every photo, or of every sample."""
    if given.pattern is not None and not given.by_sample:
        raise UserError("--pattern is for --by-sample: give --by-sample too, or leave it out")
    pattern = None if given.pattern is None else grouping.compile_pattern(given.pattern)
    network, model = load(given.model, pick_device(given.device))
    photos = find_files(given.photos)
    classes, samples, bad = model["classes"], grouping.Samples(), []
    groups = grouping.Groups([""] * len(photos), "")
    places, layout = [(p.path, p.inside) for p in photos], model.get("layout")
    if given.by_sample:
        groups = grouping.group(places, pattern, layout)
        print(f"note: {groups.how}", file=sys.stderr)
    if known := grouping.count_known(places, layout, model.get("samples_seen", [])):
        print(f"note: {known} of {len(photos)} photos {KNOWN}", file=sys.stderr)

    def write(made: Row) -> None:
        sys.stdout.write(as_json(made) if given.format == "jsonl" else as_csv([*made.values()]))

    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    if given.format == "csv":
        heads = ["sample", "photos"] if given.by_sample else ["path"]
        sys.stdout.write(as_csv([*heads, "label", "probability", *map(probability, classes)]))
    # No progress bar between rows in a terminal.
    hidden = True if sys.stdout.isatty() else None
    found = predict_files(network, photos, model["size"], model["fit"], given.batch_size)
    watched = tqdm(found, "predict", len(photos), unit="photo", disable=hidden)
    for (photo, made), sample in zip(watched, groups.samples, strict=True):
        if isinstance(made, str):
            bad.append((photo, made))
        elif sample is None:
            bad.append((photo, f"{groups.by} doesn't match its path"))
        elif given.by_sample:
            samples.add(sample, made)
        else:
            write(row({"path": str(photo.path)}, made, classes))
    for sample, count, made in samples:
        write(row({"sample": sample, "photos": count}, made, classes))
    sys.stdout.flush()
    if bad:
        listing = "".join(f"\n       {printable(photo.path)}: {fault}" for photo, fault in bad)
        raise UserError(f"{len(bad)} of the {len(photos)} photos can't be used:{listing}")
    return 0


# ---------------------------------------------------------------------------- finding


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


# ---------------------------------------------------------------------------- predicting


def _read(photo: PhotoFile, size: int, fit: Fit) -> np.ndarray | str:
    """Decode a photo as in training, or return why it can't be decoded."""
    if photo.fault:
        return photo.fault
    try:
        str(photo.path).encode()  # raises for a path that can't be printed
        return read_photo(photo.path.read_bytes(), size, fit).pixels
    except MemoryError:
        raise
    except Exception as error:
        return getattr(error, "strerror", None) or why(error)  # without the path, which is printed


def _decode(
    photos: Sequence[PhotoFile], size: int, fit: Fit, batch_size: int
) -> Iterator[list[tuple[PhotoFile, np.ndarray | str]]]:
    """Yield decoded batches; all cores decode one batch ahead."""
    # Threads suffice: Pillow releases the GIL while it decodes and resizes.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        ahead: deque[tuple[Sequence[PhotoFile], Iterator[np.ndarray | str]]] = deque()
        for start in range(0, len(photos) + batch_size, batch_size):
            batch = photos[start : start + batch_size]
            ahead.append((batch, pool.map(partial(_read, size=size, fit=fit), batch)))
            if start:
                yield list(zip(*ahead.popleft(), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # don't wait after an early stop


def predict_files(
    network: Network, photos: Sequence[PhotoFile], size: int, fit: Fit, batch_size: int
) -> Iterator[tuple[PhotoFile, np.ndarray | str]]:
    """Yield each photo with the probability of every class, or with why it can't be used.

    Keeps the order of `photos`. Only a few batches are in memory at a time.

    Parameters
    ----------
    network : Network
        In eval mode, as from `classifier.keep.load`.
    photos : sequence of PhotoFile
    size, fit
        Side in pixels of the photos that the network was trained on, and how they were made square.
    batch_size : int
        Photos to compute on at once; only the last bits of a probability depend on it.

    Yields
    ------
    PhotoFile
    ndarray of shape (classes,), float64, or str
    """
    device = network.head.weight.device
    for batch in _decode(photos, size, fit, batch_size):
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


# ---------------------------------------------------------------------------- printing


def row(head: Row, p: np.ndarray, classes: Sequence[str]) -> Row:
    """Return a prediction's columns: `head`, label, its probability, and one for each class."""
    best = int(p.argmax())
    columns = zip(map(probability, classes), p, strict=True)
    rounded = {name: float(f"{value:.6g}") for name, value in columns}
    return {**head, "label": classes[best], "probability": float(f"{p[best]:.6g}"), **rounded}


def as_csv(values: Sequence[object]) -> str:
    """Write a line of CSV, quoted where a value has a comma, a quote or an end of line."""
    line = io.StringIO()
    # csv quotes the characters of its line end: with \r\n, also a carriage return in a name.
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue()[:-2] + "\n"


def as_json(made: Row) -> str:
    """Write a line of JSON."""
    return json.dumps(made, ensure_ascii=False) + "\n"
