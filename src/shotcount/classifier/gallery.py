"""Pictures for the report, and a choice of training photos to show."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from shotcount.core.params import Fit, Part
from shotcount.networks.settings import NetworkParams
from shotcount.photos.reading import read_photo

SIDE = 300  # px, of the photo of a mistake or a suspect
SHEET_CLASSES, SHEET_ROWS, SHEET_ANGLES = 8, 24, 10  # on the contact sheet, at most
THUMBNAIL = 64  # px


class DataPart(Part):
    path: str


class GalleryParams(NetworkParams):
    """What the stage gallery reads of params.yaml."""

    data: DataPart


def look(root: Path, paths: Mapping[int, str], fit: Fit, photo: int) -> np.ndarray:
    """Read a photo from its file: the square that the network saw, (SIDE, SIDE, 3), uint8.

    Parameters
    ----------
    root : Path
        The folder of the photos.
    paths : mapping of int to str
        The path of each photo in it.
    fit : Fit
        How photos become squares.
    photo : int
    """
    return read_photo((root / paths[photo]).read_bytes(), SIDE, fit).pixels


def contact_sheet(train: pd.DataFrame) -> list[pd.DataFrame]:
    """Choose some samples of each class and some angles of each, evenly spaced.

    The fewer classes, the more samples of each.

    Parameters
    ----------
    train : DataFrame
        With the columns `SPLIT` of core.tables.

    Returns
    -------
    list of DataFrame
        Rows of `train`: one table per sample, ordered by class.
    """
    classes = sorted(train["label"].unique())[:SHEET_CLASSES]
    most = min(6, SHEET_ROWS // len(classes))
    chosen = []
    for label in classes:
        own = train[train["label"] == label]
        samples = [views for _, views in own.groupby("sample", sort=False)]
        for n in spread(len(samples), most):
            chosen.append(samples[n].iloc[spread(len(samples[n]), SHEET_ANGLES)])
    return chosen


def spread(available: int, wanted: int) -> np.ndarray:
    """Return `wanted` evenly spaced indices below `available`, or all of them if fewer."""
    count = min(available, wanted)
    return np.arange(count) * available // count


def side_by_side(photos: list[np.ndarray], gap: int = 2) -> np.ndarray:
    """Join photos (H, H, 3) uint8 of one size into one picture, with white gaps."""
    height = photos[0].shape[0]
    between = np.full((height, gap, 3), 255, np.uint8)
    parts = [part for photo in photos for part in (photo, between)]
    return np.concatenate(parts[:-1], axis=1)


def scaled(photo: np.ndarray, size: int) -> np.ndarray:
    """Return a square photo (H, H, 3) uint8 at `size` px."""
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))


def outlined(photo: np.ndarray, boxes: Sequence[tuple[np.ndarray, str]], size: int) -> np.ndarray:
    """Return a square photo (H, H, 3) uint8 at `size` px, with boxes drawn.

    `boxes` are corners (left, top, right, bottom) in px of `photo`, and a colour.
    """
    image = Image.fromarray(scaled(photo, size))
    pen = ImageDraw.Draw(image)
    for corners, colour in boxes:
        inside = (corners * size / len(photo)).round().clip(0, size - 1)
        pen.rectangle([*inside.tolist()], outline=colour, width=max(1, size // 100))
    return np.asarray(image)


def window(corners: np.ndarray, size: int) -> tuple[int, int, int]:
    """Return left, top and side of the square to cut out of a photo of `size` px to see a box.

    It is twice as large as the box; but never larger than the photo, nor smaller than a quarter of
    it.
    """
    centre, sides = (corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]
    side = int(np.clip(2 * sides.max(), size // 4, size))
    left, top = (centre - side / 2).round().clip(0, size - side).astype(int)
    return int(left), int(top), side


def encode(picture: np.ndarray) -> bytes:
    """Encode an (H, W, 3) uint8 array as WebP."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "WEBP", quality=80, method=6)
    return encoded.getvalue()
