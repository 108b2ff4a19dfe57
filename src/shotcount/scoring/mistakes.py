"""The most confident wrong predictions, and the worst faults of detections."""

import numpy as np
import pandas as pd

from shotcount.core.tables import Table
from shotcount.scoring.faults import BADLY_PLACED, BOTH, DOUBLED, KINDS, MISSED
from shotcount.scoring.predictions import probabilities

NOTHING = "nothing"  # in place of a class: there is no object, or none is found
SHOWN = 12  # mistakes at most, each of another sample
MISTAKES: Table = {  # test photos that a network gets wrong
    "seed": "int64",  # of the network, which was not trained on the photo's sample
    "photo": "int64",
    "path": "str",
    "actual": "str",
    "predicted": "str",
    "confidence": "float64",
    "map_size": "int64",  # side of the square feature map that explains it; 0: no explanation
    "file": "str",  # picture in data/gallery: the photo and, if there is one, the explanation
}


def find_mistakes(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Choose the test photos with the most confident wrong predictions, one per sample.

    Parameters
    ----------
    predictions : DataFrame
        The predictions of one cell, with the columns ``prediction_columns(classes)``.

    Returns
    -------
    DataFrame
        seed, photo, actual, predicted, confidence (the probability of `predicted`): most confident
        first.
    """
    p = probabilities(predictions, classes)
    table = pd.DataFrame(
        {
            "seed": predictions["seed"].to_numpy(),
            "photo": predictions["photo"].to_numpy(),
            "sample": predictions["sample"].to_numpy(),
            "actual": predictions["label"].to_numpy(),
            "predicted": np.array(classes)[p.argmax(axis=1)],
            "confidence": p.max(axis=1),
        }
    )
    wrong = table[table["actual"] != table["predicted"]]
    order = ["confidence", "photo", "seed"]
    wrong = wrong.sort_values(order, ascending=[False, True, True], kind="stable")
    return wrong.drop_duplicates("sample").head(SHOWN).drop(columns="sample")


def worst_faults(faults: pd.DataFrame, scenes: pd.Series) -> pd.DataFrame:
    """Choose the worst faults of detections, one per scene: of each kind the worst, then the next.

    Of missed objects the larger ones are worse, of other faults those with a higher score.

    Parameters
    ----------
    faults : DataFrame
        The columns `FAULTS` of scoring.faults.
    scenes : Series of str
        The scene of each photo.

    Returns
    -------
    DataFrame
        Those of `faults`, and sample, actual, predicted and confidence as in `MISTAKES`: what is
        not there or not found is `NOTHING`, and what is wrong with a box but not with its class is
        said behind the class.
    """
    area = (faults["right"] - faults["left"]) * (faults["bottom"] - faults["top"])
    ranked = faults.assign(
        sample=faults["photo"].map(scenes),
        actual=faults["label"].replace("", NOTHING),
        predicted=faults["predicted"].replace("", NOTHING) + faults["kind"].map(_placing),
        confidence=faults["score"],
        worst=area.where(faults["kind"] == MISSED, faults["score"]),
        of=faults["kind"].map(KINDS.index),
    ).sort_values(["worst", "photo", "seed"], ascending=[False, True, True], kind="stable")
    ranked["place"] = ranked.groupby("kind").cumcount()
    ranked = ranked.sort_values(["place", "of"], kind="stable").drop_duplicates("sample")
    return ranked.drop(columns=["worst", "of", "place"]).head(SHOWN)


def _placing(kind: str) -> str:
    said = {BADLY_PLACED: BADLY_PLACED, BOTH: BADLY_PLACED, DOUBLED: DOUBLED}.get(kind)
    return f", {said}" if said else ""
