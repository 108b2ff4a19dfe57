"""The most confident wrong predictions."""

import numpy as np
import pandas as pd

from shotcount.core.tables import Table
from shotcount.scoring.predictions import probabilities

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
