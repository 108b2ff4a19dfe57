"""What the report shows of detections: the worst faults, and objects that may lack their box."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from shotcount.classifier import gallery
from shotcount.classifier.exhibits import Exhibits, numbered
from shotcount.core.pixels import Pixels
from shotcount.core.tables import CORNERS
from shotcount.scoring.faults import find_faults
from shotcount.scoring.mistakes import MISTAKES, worst_faults
from shotcount.scoring.suspects import SUSPECTS, find_unmarked, with_paths

# Of Okabe and Ito's palette, which colour-blind readers can distinguish.
THERE, WRONG = "#56B4E9", "#D55E00"
THUMBNAIL = 2 * gallery.THUMBNAIL  # px: objects are smaller than photos


def exhibit(
    run: pd.DataFrame,
    boxes: pd.DataFrame,
    tested: pd.DataFrame,
    pixels: Pixels,
    paths: pd.Series,
    model: Mapping[str, Any],
) -> Exhibits:
    """Choose and draw what to show of the detections that count.

    Parameters
    ----------
    run : DataFrame
        The detections of one cell: the columns `DETECTIONS`.
    boxes : DataFrame
        The columns `BOXES`.
    tested : DataFrame
        Photos that each seed tested: the columns `TESTED`.
    pixels : Pixels
    paths : Series of str
        The path of each photo.
    model : mapping
        The content of the detector's model.json.
    """
    counted = run[run["score"] >= model["confidence"]]
    faults = find_faults(counted, boxes, tested, model["classes"])
    scenes = tested.drop_duplicates("photo").set_index("photo")["sample"]
    worst = worst_faults(faults, scenes)
    unmarked = find_unmarked(faults, scenes)
    suspects = with_paths(unmarked, paths)
    return Exhibits(
        mistakes=numbered(worst, paths)[list(MISTAKES)],
        pictures=_pictures(worst, boxes, pixels),
        suspects=suspects[list(SUSPECTS)],
        doubted=_pictures(unmarked[(suspects["file"] != "").to_numpy()], boxes, pixels),
    )


def thumbnail(boxes: pd.DataFrame, pixels: Pixels, photo: int) -> np.ndarray:
    """Draw a photo with its boxes, for the contact sheet."""
    return gallery.outlined(pixels[photo], _there(photo, boxes), THUMBNAIL)


def _pictures(wrong: pd.DataFrame, boxes: pd.DataFrame, pixels: Pixels) -> list[np.ndarray]:
    """Draw each row's photo and its surroundings in it: true boxes, and over them the wrong one."""
    made = []
    for photo, corners in zip(wrong["photo"], wrong[CORNERS].to_numpy(), strict=True):
        whole = pixels[photo]
        left, top, side = gallery.window(corners, len(whole))
        drawn = [*_there(photo, boxes), (corners, WRONG)]
        shift = np.array([left, top, left, top])
        near = [(own - shift, colour) for own, colour in drawn]
        close = whole[top : top + side, left : left + side]
        shown = [(whole, drawn), (close, near)] if side < len(whole) else [(whole, drawn)]
        made.append(
            gallery.side_by_side([gallery.outlined(*own, gallery.LARGEST) for own in shown])
        )
    return made


def _there(photo: int, boxes: pd.DataFrame) -> list[tuple[np.ndarray, str]]:
    own = boxes[(boxes["photo"] == photo) & ~boxes["ignored"]]
    return [(corners, THERE) for corners in own[CORNERS].to_numpy()]
