"""What is wrong with boxes: without area, outside the photo, drawn twice, too small to learn."""

import numpy as np
import pandas as pd

from shotcount.core.tables import CORNERS

POINT = 1.0  # px: a click without a drag is 0 px wide in COCO, 1 px in Pascal VOC
ROUNDING = 1e-3  # px that a box may reach beyond the photo by the digits of a format
UNUSABLE = {  # columns of `find_faults` for which a box can't be used → what is wrong, and the mend
    "empty": "without area (a side of 1 px or less), such as a click leaves: remove or redraw",
    "outside": "outside the photo (wholly, or but for 1 px): remove or redraw",
    "unknown": "of class numbers beyond the list: correct them, or add the class",
    "twice": "drawn twice with the same label (IoU 0.95 or more): remove one of each pair",
}
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
        less), outside (at most 1 px of a side is inside), beyond (px by which it reaches over the
        photo's edge; 0 if it doesn't, is empty or outside), lost (the share of its area there),
        twice and contradicted: an earlier box of the photo covers the same place (IoU of `SAME` or
        more), with the same label or with another; and `any`, whether there is any of these.
    """
    left, top, right, bottom = (boxes[name] for name in CORNERS)
    width, height = boxes["width"], boxes["height"]
    faults = pd.DataFrame(index=boxes.index)
    faults["unknown"] = ~boxes["label"].isin(classes)
    faults["empty"] = np.minimum(right - left, bottom - top) <= POINT + ROUNDING
    seen_across = np.minimum(right, width) - np.maximum(left, 0)
    seen_down = np.minimum(bottom, height) - np.maximum(top, 0)
    apart = np.minimum(seen_across, seen_down) <= POINT + ROUNDING
    faults["outside"] = apart & ~faults["empty"]
    beyond = pd.concat([-left, -top, right - width, bottom - height], axis=1).max(axis=1)
    partly = ~faults["empty"] & ~apart & (beyond > ROUNDING)
    faults["beyond"] = beyond.where(partly, 0.0)
    area = ((right - left) * (bottom - top)).where(partly, 1.0)
    faults["lost"] = (1 - seen_across * seen_down / area).where(partly, 0.0)
    faults["twice"], faults["contradicted"] = _repeated(boxes, ~faults["empty"] & ~boxes["crowd"])
    flags = ["unknown", "empty", "outside", "twice", "contradicted"]
    return faults.assign(any=faults[flags].any(axis=1) | partly)


def why(found: pd.DataFrame) -> pd.Series:
    """Say of each box why it can't be used, and the mend; empty if it can.

    Parameters
    ----------
    found : DataFrame
        As of `find_faults`.
    """
    said = pd.Series("", index=found.index, dtype=object)
    for fault, words in reversed(UNUSABLE.items()):
        said[found[fault]] = words
    return said


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


def too_small(boxes: pd.DataFrame, photos: pd.DataFrame, size: int) -> list[str]:
    """Say so if boxes are too small to learn at this size of the photos, and what would do.

    Parameters
    ----------
    boxes : DataFrame
        The columns of `core.tables.BOXES`.
    photos : DataFrame
        Columns width and height, in px as on disk.
    size : int
        px of the square photos.

    Returns
    -------
    list of str
        One sentence, or none. The size that it proposes is the smallest multiple of `STEP` at which
        95 % of each class's boxes have `SMALLEST` px on their shorter side.
    """
    shorter = np.minimum(boxes["right"] - boxes["left"], boxes["bottom"] - boxes["top"])
    small = int((shorter < SMALLEST).sum())
    if not small:
        return []
    wanted = _size_for(shorter / size, boxes["label"])
    mend = f"at data.size: {wanted}, at most 5 % of each class's boxes would be"
    if wanted <= size:
        mend = "these are few: at most 5 % of each class's boxes"
    elif wanted > photos[["width", "height"]].max(axis=None):
        mend = "the photos themselves are too small for it: photograph from nearer, or cut them up"
    return [
        f"{small:,} of {len(boxes):,} boxes are smaller than {SMALLEST} px (shorter side) in "
        f"photos of {size} × {size} px, too small to learn: {mend}"
    ]


def _size_for(shares: pd.Series, labels: pd.Series) -> int:
    """Return the size at which few boxes of each class are too small, given their shorter sides.

    These are shares of the size.
    """
    # The inverted distribution function: no more than that share of the boxes needs more.
    size = max(
        np.quantile(own, 1 - MOST, method="inverted_cdf")
        for _, own in (SMALLEST / shares).groupby(labels)
    )
    return STEP * int(np.ceil(round(size / STEP, 2)))  # corners are rounded, too
