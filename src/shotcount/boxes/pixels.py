"""Bring boxes to the pixels of the upright photo, as people see it, and of the network's square."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from shotcount.boxes.annotations import Annotations
from shotcount.core.params import Fit
from shotcount.core.tables import CORNERS
from shotcount.photos.reading import contained

SIDEWAYS = 5  # EXIF orientations from here on lie on their side


@dataclass(frozen=True)
class Placed:
    """Boxes in px of the upright photos.

    Attributes
    ----------
    boxes : DataFrame
        The columns of `Box`, with the corners in px, and width and height of the photo.
    turned : list of str
        Photos whose boxes were drawn on the pixels as stored, and have been turned by EXIF.
    doubtful : list of str
        Photos that EXIF turns, where nothing tells on which pixels the boxes were drawn; they are
        taken as drawn on the upright photo.
    otherwise : dict of str to str
        Photos that have another size than their annotation states: both sizes.
    """

    boxes: pd.DataFrame
    turned: list[str]
    doubtful: list[str]
    otherwise: dict[str, str]


def place(found: Annotations, facts: pd.DataFrame) -> Placed:
    """Convert the boxes of photos that can be read.

    A photo that lies on its side in the file, and is turned by EXIF, has two sizes; the one that
    the annotation states tells on which pixels its boxes were drawn.

    Parameters
    ----------
    found : Annotations
    facts : DataFrame
        The columns of `photos.decoding.Facts`; the index is the photo's path.
    """
    readable = facts[facts["fault"] == ""]
    stated = found.photos.drop_duplicates("photo").set_index("photo")
    stated = stated[stated.index.isin(readable.index)]
    photos = stated.assign(
        width_there=readable["width"], height_there=readable["height"],
        orientation=readable["orientation"],
    )  # fmt: skip
    is_stated = (photos["width"] > 0) & (photos["height"] > 0)
    across, down = photos["width_there"], photos["height_there"]
    upright = (photos["width"] == across) & (photos["height"] == down)
    stored = (photos["width"] == down) & (photos["height"] == across)
    sideways = photos["orientation"] >= SIDEWAYS
    square = across == down
    turned = is_stated & sideways & stored & ~square
    tells = is_stated & sideways & (stored | upright) & ~square
    otherwise = photos[is_stated & ~upright & ~turned]
    has_boxes = photos.index.isin(found.boxes["photo"])
    doubtful = (photos["orientation"] > 1) & ~tells & has_boxes

    boxes = found.boxes[found.boxes["photo"].isin(photos.index)].reset_index(drop=True)
    sides = photos.loc[boxes["photo"], ["width_there", "height_there"]].to_numpy(float)
    corners = boxes[CORNERS].to_numpy(float)
    if found.normalised:
        corners = corners * np.tile(sides, 2)
    turns = photos["orientation"].where(turned, 1).loc[boxes["photo"]].to_numpy()
    for orientation in np.unique(turns[turns > 1]):
        own = turns == orientation
        corners[own] = turn(corners[own], sides[own], int(orientation))
    boxes[CORNERS] = corners
    boxes[["width", "height"]] = sides
    return Placed(
        boxes,
        list(photos.index[turned & has_boxes]),
        list(photos.index[doubtful]),
        {
            row.Index: f"{row.width_there} × {row.height_there}, stated {row.width} × {row.height}"
            for row in otherwise.itertuples()
        },
    )


def turn(corners: np.ndarray, sides: np.ndarray, orientation: int) -> np.ndarray:
    """Turn boxes from the stored pixels to those of the upright photo.

    Parameters
    ----------
    corners : ndarray of shape (boxes, 4), float
        Left, top, right, bottom in px of the photo as stored.
    sides : ndarray of shape (boxes, 2), float
        Width and height of the upright photo.
    orientation : int
        EXIF's, 5 to 8: those of photos that lie on their side.

    Returns
    -------
    ndarray of shape (boxes, 4), float

    References
    ----------
    Exif 2.32 (CIPA DC-008), tag 274, Orientation: which edge of the scene the stored photo's first
    row and first column are.
    """
    left, top, right, bottom = corners.T
    width, height = sides.T
    # The stored first row (top) is the upright photo's left or right edge, the first column (left)
    # its top or bottom.
    across = (top, bottom) if orientation in (5, 8) else (width - bottom, width - top)
    down = (left, right) if orientation in (5, 6) else (height - right, height - left)
    return np.stack([across[0], down[0], across[1], down[1]], axis=1)


def to_square(boxes: pd.DataFrame, size: int, fit: Fit) -> np.ndarray:
    """Bring boxes to the pixels of the square photo, as `reading.read_photo` makes it.

    Parameters
    ----------
    boxes : DataFrame
        As of `place`.
    size : int
        Side of the square in px.
    fit : {"pad", "stretch"}

    Returns
    -------
    ndarray of shape (boxes, 4), float
        Left, top, right, bottom, clipped to the photo, in whole thousandths of a px.
    """
    sides = boxes[["width", "height"]].to_numpy(int)
    begin, scaled = np.zeros_like(sides), np.zeros_like(sides)
    for width, height in np.unique(sides, axis=0):
        own = (sides == (width, height)).all(axis=1)
        begin[own], scaled[own] = _in_square(width, height, size, fit)
    corners = boxes[CORNERS].to_numpy(float)
    inside = np.clip(corners, 0, np.tile(sides, 2))
    placed = np.tile(begin, 2) + inside * np.tile(scaled / sides, 2)
    # A corner may lie in the middle between two thousandths, where the last digit of a format would
    # decide; in no format does one lie 1e-7 px from there.
    return np.round(placed + 1e-7, 3)


def from_square(corners: np.ndarray, width: int, height: int, size: int, fit: Fit) -> np.ndarray:
    """Bring boxes from the square back to the photo that it was made of: undo `to_square`.

    Parameters
    ----------
    corners : ndarray of shape (boxes, 4), float
        Left, top, right, bottom in px of the square.
    width, height : int
        Of the upright photo, in px.
    size, fit
        As for `to_square`.

    Returns
    -------
    ndarray of shape (boxes, 4), float
        In px of the upright photo, clipped to it.
    """
    begin, scaled = _in_square(width, height, size, fit)
    sides = np.array([width, height])
    placed = (corners - np.tile(begin, 2)) * np.tile(sides / scaled, 2)
    return np.clip(placed, 0, np.tile(sides, 2))


def _in_square(width: int, height: int, size: int, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Return where a photo begins in its square, and how large it is there: (x, y) in px."""
    scaled = np.array(contained(int(width), int(height), size) if fit == "pad" else (size, size))
    return (size - scaled) // 2, scaled
