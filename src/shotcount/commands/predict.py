"""shotcount predict: classify photos, or whole samples by several photos.

With a detector, `detect` finds the objects in photos instead.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from shotcount.classifier.keep import load
from shotcount.commands import detect, grouping
from shotcount.commands.given import PhotoFile, Row, as_csv, decode, find_files, refuse, write_row
from shotcount.core.errors import UserError
from shotcount.core.params import Fit
from shotcount.networks.devices import pick_device
from shotcount.networks.heads import Network
from shotcount.scoring.predictions import probability
from shotcount.tasks.detector import Detector
from shotcount.tasks.strategies import load_pixels, predict

KNOWN = (
    "have names of samples that the classifier was trained on: how often it is right on these says "
    "nothing about other samples; its README.md tells how often it is right on those"
)


def run(given: argparse.Namespace) -> int:
    """Print the prediction of every photo, or of every sample, or the objects in every photo."""
    if given.pattern is not None and not given.by_sample:
        raise UserError("--pattern is for --by-sample: give --by-sample too, or leave it out")
    pattern = None if given.pattern is None else grouping.compile_pattern(given.pattern)
    network, model = load(given.model, pick_device(given.device))
    if isinstance(network, Detector):
        return detect.run(given, network, model)
    for option, used in (
        ("--draw", given.draw is not None),
        ("--confidence", given.confidence is not None),
        ("--format coco", given.format == "coco"),
    ):
        if used:
            raise UserError(
                f"{option} is for networks that find objects: {given.model} names the class of a "
                "whole photo: leave it out"
            )
    photos = find_files(given.photos)
    classes, samples, bad = model["classes"], grouping.Samples(), []
    groups = grouping.Groups([""] * len(photos), "")
    places, layout = [(p.path, p.inside) for p in photos], model.get("layout")
    if given.by_sample:
        groups = grouping.group(places, pattern, layout)
        print(f"note: {groups.how}", file=sys.stderr)
    if known := grouping.count_known(places, layout, model.get("samples_seen", [])):
        print(f"note: {known} of {len(photos)} photos {KNOWN}", file=sys.stderr)

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
            write_row(row({"path": str(photo.path)}, made, classes), given.format)
    for sample, count, made in samples:
        write_row(row({"sample": sample, "photos": count}, made, classes), given.format)
    sys.stdout.flush()
    refuse(bad, len(photos))
    return 0


# ---------------------------------------------------------------------------- predicting


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
    for batch in decode(photos, size, fit, batch_size):
        pixels = [made.pixels for _, made in batch if not isinstance(made, str)]
        found: Iterator[np.ndarray] = iter(())
        if pixels:
            load = load_pixels(np.stack(pixels), None, device)
            found = iter(predict(network, load, np.arange(len(pixels)), batch_size))
        for photo, made in batch:
            yield photo, made if isinstance(made, str) else next(found)


# ---------------------------------------------------------------------------- printing


def row(head: Row, p: np.ndarray, classes: Sequence[str]) -> Row:
    """Return a prediction's columns: `head`, label, its probability, and one for each class."""
    best = int(p.argmax())
    columns = zip(map(probability, classes), p, strict=True)
    rounded = {name: float(f"{value:.6g}") for name, value in columns}
    return {**head, "label": classes[best], "probability": float(f"{p[best]:.6g}"), **rounded}
