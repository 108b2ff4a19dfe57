"""Draw boxes and their labels on photos, for people to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image, ImageColor, ImageDraw, ImageFont

from shotcount.core.errors import printable
from shotcount.core.tables import CORNERS
from shotcount.photos.reading import read_whole

MOST = 12  # photos
SIDE = 1200  # px of the drawing's longer side
LARGER = 3  # times that a small photo is enlarged, at most
# Okabe and Ito's palette, which colour-blind readers can distinguish, without black; the label in
# each box tells classes apart where there are more.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#56B4E9", "#E69F00")
MARGIN = 4  # px round a text
ARM = 12  # px of a cross
Rectangle = tuple[float, float, float, float]
WORDS = {  # the faults that are written at a box
    "unknown": "no such class",
    "empty": "no area",
    "outside": "outside",
    "twice": "twice",
    "contradicted": "two labels",
}


def choose(boxes: pd.DataFrame, faults: pd.DataFrame) -> list[str]:
    """Choose the photos to draw: those with the most faults, then such that all classes are shown.

    Parameters
    ----------
    boxes, faults : DataFrames
        As of `pixels.place` and `faults.find_faults`.

    Returns
    -------
    list of str
        `MOST` photos at most; where there are enough, a third of them are without faults, so
        that sound boxes are seen too.
    """
    count = faults["any"].groupby(boxes["photo"], sort=False).sum()
    faulty = count[count > 0].sort_values(ascending=False, kind="stable").index
    sound = list(count[count == 0].index)
    chosen = list(faulty[: MOST - min(len(sound), MOST // 3)])
    shown = set(boxes.loc[boxes["photo"].isin(chosen), "label"])
    labels = boxes.groupby("photo", sort=False)["label"].unique()
    while sound and len(chosen) < MOST:
        best = max(sound, key=lambda photo: len({*labels[photo]} - shown))
        if {*labels[best]} <= shown:  # all classes are shown: spread the rest over the collection
            places = np.linspace(0, len(sound) - 1, min(MOST - len(chosen), len(sound)))
            return [*chosen, *(sound[int(place)] for place in places)]
        chosen.append(best)
        sound.remove(best)
        shown |= {*labels[best]}
    return chosen


class Mark(NamedTuple):
    """A box to draw, and what is written at it."""

    label: str
    words: str
    bold: bool = False
    crossed: bool = False  # a cross in place of a box that has no area


def draw(root: Path, photo: str, boxes: pd.DataFrame, faults: pd.DataFrame, classes: tuple[str, ...]
         ) -> Image.Image:  # fmt: skip
    """Draw a photo with its boxes, each with its label and its faults, and the photo's name above.

    Parameters
    ----------
    root : Path
    photo : str
    boxes, faults : DataFrames
        As of `pixels.place` and `faults.find_faults`, of this photo.
    classes : tuple of str
        All classes; the place of a class gives its colour.
    """
    marks = []
    own = boxes[["label", "crowd", "difficult"]].itertuples(index=False)
    for (label, crowd, difficult), wrong in zip(own, faults.to_dict("records"), strict=True):
        words = [word for name, word in WORDS.items() if wrong[name]]
        words += [f"{wrong['lost']:.0%} outside"] * (wrong["beyond"] > 0)
        words += ["crowd"] * bool(crowd) + ["difficult"] * bool(difficult)
        text = label + (f" ({', '.join(words)})" if words else "")
        marks.append(Mark(label, text, wrong["any"], wrong["empty"] or wrong["outside"]))
    shares = boxes[CORNERS].to_numpy(float) / boxes[["width", "height"] * 2].to_numpy(float)
    title = f"{photo}: {len(boxes)} boxes"
    return draw_marks((root / photo).read_bytes(), title, shares, marks, classes)


def draw_marks(
    content: bytes, title: str, shares: np.ndarray, marks: Sequence[Mark], classes: Sequence[str]
) -> Image.Image:
    """Draw a photo with boxes and what is written at each, and a title above.

    Parameters
    ----------
    content : bytes
        Of the photo's file.
    title : str
    shares : ndarray of shape (boxes, 4), float
        Left, top, right, bottom as shares of the upright photo's sides.
    marks : sequence of Mark
    classes : sequence of str
        All classes; the place of a class gives its colour.
    """
    image = read_whole(content, SIDE)
    larger = min(LARGER, SIDE / max(image.size))
    if larger > 1:
        size = round(image.width * larger), round(image.height * larger)
        image = image.resize(size, Image.Resampling.BICUBIC)
    font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), SIDE // 70)
    line = sum(font.getmetrics()) + 2 * MARGIN  # px of a line of text
    canvas = Image.new("RGB", (image.width, image.height + line), "white")
    canvas.paste(image, (0, line))
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN, MARGIN), printable(title), fill="black", font=font)
    sides = np.tile(image.size, 2)
    corners = np.clip(shares * sides, 1, sides) + np.array([0, line, 0, line])
    for own, mark in zip(corners, marks, strict=True):
        colour = _colour(mark.label, classes)
        if mark.crossed:
            x, y = (own[:2] + own[2:]) / 2
            for arm in (-ARM, ARM):
                pen.line([x - ARM, y - arm, x + ARM, y + arm], fill=colour, width=5)
        else:
            pen.rectangle([*own], outline=colour, width=5 if mark.bold else 3)
    # Labels last, so that no box hides them, and in free places, as two boxes may be one.
    taken: list[Rectangle] = []
    for own, mark in zip(corners, marks, strict=True):
        colour, text = _colour(mark.label, classes), printable(mark.words)
        taken.append(
            _place(own, (pen.textlength(text, font) + 2 * MARGIN, line), canvas.size, taken)
        )
        left, top, *_ = taken[-1]
        pen.rectangle(taken[-1], fill=colour)
        ink = "white" if _is_dark(colour) else "black"
        pen.text((left + MARGIN, top + MARGIN), text, fill=ink, font=font)
    return canvas


def _colour(label: str, classes: Sequence[str]) -> str:
    return PALETTE[classes.index(label) % len(PALETTE)] if label in classes else "#000000"


def _is_dark(colour: str) -> bool:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140  # luma of ITU-R BT.601, 0 to 255


def _place(
    corners: np.ndarray, size: tuple[float, float], canvas: tuple[int, int], taken: list[Rectangle]
) -> Rectangle:
    """Find where a label of this size goes: above its box, or in the free place next to that."""
    width, height = size
    left = max(0.0, min(corners[0], canvas[0] - width))
    top = corners[1] - height if corners[1] >= 2 * height else corners[1]
    top = min(top, canvas[1] - height)
    across = [(t[1], t[3]) for t in taken if t[0] < left + width and left < t[2]]
    free = [
        start
        for start in [top, *(end for _, end in across), *(start - height for start, _ in across)]
        if height <= start <= canvas[1] - height
        and not any(other < start + height and start < end for other, end in across)
    ]
    top = min(free, key=lambda start: abs(start - top), default=top)
    return left, top, left + width, top + height
