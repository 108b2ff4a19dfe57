"""Draw boxes and their labels on photos, for people to look at."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image, ImageColor, ImageDraw, ImageFont

from shotcount.boxes.pixels import CORNERS
from shotcount.core.errors import printable
from shotcount.photos.reading import read_whole

MOST = 12  # photos
SIDE = 1200  # px of the drawing's longer side
LARGER = 3  # times that a small photo is enlarged, at most
# Okabe and Ito's palette, which colour-blind readers can distinguish, without black; the label in
# each box tells classes apart where there are more.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#56B4E9", "#E69F00")
MARGIN = 4  # px round a text
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


def draw(root: Path, photo: str, boxes: pd.DataFrame, faults: pd.DataFrame, classes: tuple[str, ...]
         ) -> Image.Image:  # fmt: skip
    """Draw a photo with its boxes, each with its label and its faults, and the photo's name above.

    A box without area becomes a cross.

    Parameters
    ----------
    root : Path
    photo : str
    boxes, faults : DataFrames
        As of `pixels.place` and `faults.find_faults`, of this photo.
    classes : tuple of str
        All classes; the place of a class gives its colour.
    """
    image = read_whole((root / photo).read_bytes(), SIDE)
    larger = min(LARGER, SIDE / max(image.size))
    if larger > 1:
        size = round(image.width * larger), round(image.height * larger)
        image = image.resize(size, Image.Resampling.BICUBIC)
    font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), SIDE // 70)
    title = _height(font)
    canvas = Image.new("RGB", (image.width, image.height + title), "white")
    canvas.paste(image, (0, title))
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN, MARGIN), printable(f"{photo}: {len(boxes)} boxes"), fill="black", font=font)
    corners = boxes[CORNERS].to_numpy(float)
    corners *= np.tile(image.size, 2) / boxes[["width", "height"] * 2].to_numpy(float)
    corners = np.clip(corners, 1, np.tile(image.size, 2)) + np.array([0, title, 0, title])
    colours = [_colour(label, classes) for label in boxes["label"]]
    fault = faults.to_dict("records")
    for own, colour, wrong in zip(corners, colours, fault, strict=True):
        if wrong["empty"] or wrong["outside"]:
            _cross(pen, own, colour)
        else:
            pen.rectangle([*own], outline=colour, width=5 if wrong["any"] else 3)
    # Labels last, so that no box hides them.
    marks = boxes[["label", "crowd", "difficult"]].itertuples(index=False)
    for own, colour, wrong, (label, crowd, difficult) in zip(
        corners, colours, fault, marks, strict=True
    ):
        words = [word for name, word in WORDS.items() if wrong[name]]
        words += [f"{wrong['lost']:.0%} outside"] * (wrong["beyond"] > 0)
        words += ["crowd"] * bool(crowd) + ["difficult"] * bool(difficult)
        text = printable(label) + (f" ({', '.join(words)})" if words else "")
        _write(pen, own, text, colour, font)
    return canvas


def _colour(label: str, classes: tuple[str, ...]) -> str:
    return PALETTE[classes.index(label) % len(PALETTE)] if label in classes else "#000000"


def _cross(pen: ImageDraw.ImageDraw, corners: np.ndarray, colour: str) -> None:
    x, y = (corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2
    for reach in (-12, 12):
        pen.line([x - 12, y - reach, x + 12, y + reach], fill=colour, width=5)


def _height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics()) + 2 * MARGIN


def _write(
    pen: ImageDraw.ImageDraw,
    corners: np.ndarray,
    text: str,
    colour: str,
    font: ImageFont.FreeTypeFont,
) -> None:
    """Write a label on its box's colour, above the box, or in it at the photo's edge."""
    width, height = pen.textlength(text, font) + 2 * MARGIN, _height(font)
    canvas = pen.im.size
    left = max(0.0, min(corners[0], canvas[0] - width))
    top = corners[1] - height if corners[1] >= 2 * height else corners[1]
    top = min(top, canvas[1] - height)
    pen.rectangle([left, top, left + width, top + height], fill=colour)
    red, green, blue = ImageColor.getrgb(colour)[:3]
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140  # ITU-R BT.601, 0 to 255
    pen.text((left + MARGIN, top + MARGIN), text, fill="white" if dark else "black", font=font)
