"""What is wrong with boxes: without area, outside the photo, drawn twice, too small to learn."""

import numpy as np
import pandas as pd

from shotcount.boxes.pixels import CORNERS

POINT = 1.0  # px: a click without a drag is 0 px wide in COCO, 1 px in Pascal VOC
ROUNDING = 1e-3  # px that a box may reach beyond the photo by the digits of a format
SAME = 0.95  # intersection over union above which two boxes are one, drawn twice
SMALLEST = 8  # px: detectors tell places apart by about so much
MOST = 0.05  # of a class's boxes may be smaller at the size that is proposed
STEP = 32  # px: detectors take multiples of it


def find_faults(boxes: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Say of each box what is wrong with it.

    Parameters
    ----------
    boxes : DataFrame
        As of `pixels.place`.
    classes : tuple of str
        The classes that exist.

    Returns
    -------
    DataFrame
        The boxes' index, and columns: unknown (its class is not listed), empty (a side of 1 px or
        less), outside (wholly), beyond (px by which it reaches over the photo's edge; 0 if it
        doesn't, is empty or wholly outside), lost (the share of its area there), twice and
        contradicted: an earlier box of the photo covers the same place (IoU of `SAME` or more),
        with the same label or with another; and `any`, whether there is any of these.
    """
    left, top, right, bottom = (boxes[name] for name in CORNERS)
    width, height = boxes["width"], boxes["height"]
    faults = pd.DataFrame(index=boxes.index)
    faults["unknown"] = ~boxes["label"].isin(classes)
    faults["empty"] = (right - left <= POINT) | (bottom - top <= POINT)
    apart = (left >= width) | (top >= height) | (right <= 0) | (bottom <= 0)
    faults["outside"] = apart & ~faults["empty"]
    beyond = pd.concat([-left, -top, right - width, bottom - height], axis=1).max(axis=1)
    partly = ~faults["empty"] & ~apart & (beyond > ROUNDING)
    faults["beyond"] = beyond.where(partly, 0.0)
    seen = (np.minimum(right, width) - np.maximum(left, 0)) * (
        np.minimum(bottom, height) - np.maximum(top, 0)
    )
    area = ((right - left) * (bottom - top)).where(partly, 1.0)
    faults["lost"] = (1 - seen / area).where(partly, 0.0)
    faults["twice"], faults["contradicted"] = _repeated(boxes, ~faults["empty"] & ~boxes["crowd"])
    flags = ["unknown", "empty", "outside", "twice", "contradicted"]
    return faults.assign(any=faults[flags].any(axis=1) | partly)


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of a box with others.

    Parameters
    ----------
    box : ndarray of shape (4,), float
        Left, top, right, bottom; with an area.
    others : ndarray of shape (boxes, 4), float

    Returns
    -------
    ndarray of shape (boxes,), float
        0 (apart) to 1 (the same).
    """
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return common / (areas - common)


def _repeated(boxes: pd.DataFrame, usable: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Find the boxes whose place an earlier one has, with the same label or with another."""
    corners, labels = boxes[CORNERS].to_numpy(float), boxes["label"].to_numpy()
    twice, contradicted = np.zeros((2, len(boxes)), bool)
    places = np.flatnonzero(usable)
    for rows in boxes.iloc[places].groupby("photo", sort=False).indices.values():
        own = places[rows]
        for n, first in enumerate(own[:-1], 1):
            same = own[n:][iou(corners[first], corners[own[n:]]) >= SAME]
            if len(same):
                alike = labels[same] == labels[first]
                twice[same[alike]] = True
                contradicted[same[~alike]] = True
    return twice, contradicted


# ---------------------------------------------------------------------------- sizes


def scaled_sides(boxes: pd.DataFrame, px: int) -> pd.DataFrame:
    """Return width and height of the boxes, in px, where the photo's longer side has `px`."""
    scale = px / boxes[["width", "height"]].max(axis=1)
    return pd.DataFrame(
        {
            "width": (boxes["right"] - boxes["left"]) * scale,
            "height": (boxes["bottom"] - boxes["top"]) * scale,
        }
    )


def large_enough(boxes: pd.DataFrame) -> int | None:
    """Return the size of photos at which few boxes are too small to learn.

    Parameters
    ----------
    boxes : DataFrame
        As of `pixels.place`, without those that have no area.

    Returns
    -------
    int or None
        px of the longer side, the smallest multiple of `STEP` at which 95 % of each class's boxes
        have `SMALLEST` px on their shorter side. None if the photos themselves are too small.
    """
    needed = SMALLEST / scaled_sides(boxes, 1).min(axis=1)
    # The inverted distribution function: no more than that share of the boxes needs more.
    size = max(
        np.quantile(own, 1 - MOST, method="inverted_cdf")
        for _, own in needed.groupby(boxes["label"])
    )
    wanted = STEP * int(np.ceil(size / STEP))
    return wanted if wanted <= boxes[["width", "height"]].max(axis=None) else None
