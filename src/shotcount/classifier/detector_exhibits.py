"""What the report shows of detections: the worst faults, and objects that may lack their box."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from shotcount.classifier import gallery
from shotcount.classifier.exhibits import Exhibits, See, numbered
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
    see: See,
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
    see : callable
        As for `exhibits.exhibit`.
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
    draw = partial(_pictures, boxes=boxes, see=see, size=model["size"])
    return Exhibits(
        mistakes=numbered(worst, paths)[list(MISTAKES)],
        pictures=draw(worst),
        suspects=suspects[list(SUSPECTS)],
        doubted=draw(unmarked[(suspects["file"] != "").to_numpy()]),
    )


def thumbnail(boxes: pd.DataFrame, see: See, size: int, photo: int) -> np.ndarray:
    """Draw a photo with its boxes, in px of `size`, for the contact sheet."""
    whole = see(photo)
    return gallery.outlined(whole, _there(photo, boxes, len(whole) / size), THUMBNAIL)


def _pictures(wrong: pd.DataFrame, boxes: pd.DataFrame, see: See, size: int) -> list[np.ndarray]:
    """Draw each row's photo and its surroundings in it: true boxes, and over them the wrong one.

    All boxes are in px of photos of `size` px.
    """
    made = []
    for photo, own in zip(wrong["photo"], wrong[CORNERS].to_numpy(), strict=True):
        whole = see(photo)
        scale = len(whole) / size
        corners = own * scale
        left, top, side = gallery.window(corners, len(whole))
        drawn = [*_there(photo, boxes, scale), (corners, WRONG)]
        shift = np.array([left, top, left, top])
        near = [(each - shift, colour) for each, colour in drawn]
        close = whole[top : top + side, left : left + side]
        shown = [(whole, drawn), (close, near)] if side < len(whole) else [(whole, drawn)]
        made.append(gallery.side_by_side([gallery.outlined(*each, gallery.SIDE) for each in shown]))
    return made


def _there(photo: int, boxes: pd.DataFrame, scale: float) -> list[tuple[np.ndarray, str]]:
    own = boxes[(boxes["photo"] == photo) & ~boxes["ignored"]]
    return [(corners, THERE) for corners in scale * own[CORNERS].to_numpy()]
