"""The table of a cell's predictions on the test split, and arrays computed from it."""

from pathlib import Path

import numpy as np
import pandas as pd

from shotcount.core.tables import CELL, Table


def prediction_columns(labels: list[str]) -> Table:
    """Return the columns of a table of predictions: one probability for each of `labels`."""
    key = CELL | {"seed": "int64", "photo": "int64", "sample": "str", "label": "str"}
    return key | {probability(label): "float64" for label in labels}


def predictions_table(test: pd.DataFrame, p: np.ndarray, labels: list[str]) -> pd.DataFrame:
    """Join test photos and the probabilities that a model gives them.

    Parameters
    ----------
    test : DataFrame
        With the columns seed, photo, sample and label.
    p : ndarray of shape (photos, classes)
    labels : list of str

    Returns
    -------
    DataFrame
        The columns of `prediction_columns`, except for the cell's.
    """
    columns = [probability(label) for label in labels]
    own = test[["seed", "photo", "sample", "label"]]
    return own.join(pd.DataFrame(p, index=own.index, columns=columns))


def predictions_of(strategy: Path, samples: int, angles: int) -> Path:
    """Return the path of a cell's predictions in `strategy`, the folder data/evaluation/<strategy>.

    Each cell has its own table, since memory may not hold the predictions of all cells.
    """
    return strategy / "predictions" / f"{samples}x{angles}"


def probability(label: str) -> str:
    """Name the column that holds the predicted probability of `label`."""
    return f"p({label})"


def hits(predictions: pd.DataFrame, labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each seed predicted each photo correctly, and which sample each photo shows.

    Parameters
    ----------
    predictions : DataFrame
        The predictions of one cell, with the columns ``prediction_columns(labels)``.

    Returns
    -------
    correct : ndarray of shape (seeds, photos), float32
        1 or 0; NaN where the photo is not in the seed's test split.
    samples : ndarray of shape (photos,)
        Both arrays are in ascending order of `photo`.
    """
    chosen = probabilities(predictions, labels).argmax(axis=1)
    right = chosen == class_indices(predictions["label"], labels)
    first = np.unique(predictions["photo"], return_index=True)[1]
    return by_seed(predictions, right), predictions["sample"].to_numpy()[first]


def by_seed(predictions: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """Arrange one value per prediction by seed and photo.

    Parameters
    ----------
    predictions : DataFrame
        The predictions of one cell, with the columns seed and photo.
    values : ndarray of shape (predictions,)

    Returns
    -------
    ndarray of shape (seeds, photos), float32
        NaN where the photo is not in the seed's test split. Photos are in ascending order.
    """
    photos, place = np.unique(predictions["photo"], return_inverse=True)
    seeds, seed = np.unique(predictions["seed"], return_inverse=True)
    arranged = np.full((len(seeds), len(photos)), np.nan, np.float32)
    arranged[seed, place] = values
    return arranged


def count_folds(values: np.ndarray) -> int:
    """Return into how many folds the photos of `values`, from `by_seed`, were divided."""
    return round(values.size / np.count_nonzero(~np.isnan(values)))


def class_indices(column: pd.Series, labels: list[str]) -> np.ndarray:
    """Return the index of each class in `labels`: ndarray of shape (rows,), int64.

    Integers, because comparing millions of strings takes minutes.
    """
    return np.asarray(pd.Index(labels).get_indexer(column))


def probabilities(predictions: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """Return the probability of every class: ndarray of shape (rows, classes), float64."""
    return predictions[[probability(label) for label in labels]].to_numpy()
