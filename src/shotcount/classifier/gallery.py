"""Pictures for the report: the classifier's mistakes, some training photos."""

import io

import numpy as np
import pandas as pd
from PIL import Image

MISTAKES = 12  # shown, of different samples
LARGEST = 224  # px of a mistake's picture
SHEET_CLASSES, SHEET_ROWS, SHEET_ANGLES = 8, 24, 10  # on the contact sheet, at most
THUMBNAIL = 64  # px


def mistakes(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Choose the test photos that a classifier gets wrong most confidently, one a sample.

    Parameters
    ----------
    predictions : DataFrame
        Of one seed of a cell, as in ``tables.predictions(classes)``.

    Returns
    -------
    DataFrame
        photo, actual, predicted, confidence (the probability of `predicted`): most confident first.
    """
    p = predictions.probabilities(predictions, classes)
    table = pd.DataFrame(
        {
            "photo": predictions["photo"].to_numpy(),
            "sample": predictions["sample"].to_numpy(),
            "actual": predictions["label"].to_numpy(),
            "predicted": np.array(classes)[p.argmax(axis=1)],
            "confidence": p.max(axis=1),
        }
    )
    wrong = table[table["actual"] != table["predicted"]]
    wrong = wrong.sort_values(["confidence", "photo"], ascending=[False, True], kind="stable")
    return wrong.drop_duplicates("sample").head(MISTAKES).drop(columns="sample")


def contact_sheet(train: pd.DataFrame) -> list[pd.DataFrame]:
    """Choose some samples of each class, more where there are fewer classes, and some angles.

    Parameters
    ----------
    train : DataFrame
        As in `tables.SPLIT`.

    Returns
    -------
    list of DataFrame
        Rows of `train`, a table a sample, by class: evenly spread over what there is.
    """
    classes = sorted(train["label"].unique())[:SHEET_CLASSES]
    most = min(6, SHEET_ROWS // len(classes))
    chosen = []
    for label in classes:
        own = train[train["label"] == label]
        samples = [views for _, views in own.groupby("sample", sort=False)]
        for n in _spread(len(samples), most):
            chosen.append(samples[n].iloc[_spread(len(samples[n]), SHEET_ANGLES)])
    return chosen


def _spread(available: int, wanted: int) -> np.ndarray:
    """Return `wanted` places evenly spread over the available ones, or all of those."""
    count = min(available, wanted)
    return np.arange(count) * available // count


def side_by_side(photos: list[np.ndarray], gap: int = 2) -> np.ndarray:
    """Join photos (H, H, 3) uint8 of one size into one picture, white between them."""
    height = photos[0].shape[0]
    between = np.full((height, gap, 3), 255, np.uint8)
    parts = [part for photo in photos for part in (photo, between)]
    return np.concatenate(parts[:-1], axis=1)


def scaled(photo: np.ndarray, size: int) -> np.ndarray:
    """Return a square photo (H, H, 3) uint8 at `size` px."""
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))


def encode(picture: np.ndarray) -> bytes:
    """Encode an (H, W, 3) uint8 array as WebP."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "WEBP", quality=80, method=6)
    return encoded.getvalue()
