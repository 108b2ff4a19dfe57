"""What the networks of a cell predict on the test split: a table, and arrays computed from it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from shotcount.core.errors import UserError
from shotcount.core.tables import CELL, Table, of_seed
from shotcount.tasks.strategies import STRATEGIES, Arrays
from shotcount.tasks.task import Task


def predict_cell(
    folder: Path,
    model: Mapping[str, Any],
    task: Task,
    arrays: Arrays,
    splits: Sequence[pd.DataFrame],
    device: torch.device,
    join: Callable[[pd.DataFrame, Any], pd.DataFrame],
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Let the network of each seed predict the photos that are its own in each split.

    Parameters
    ----------
    folder : Path
        Of the cell, with the networks' weights.
    model : mapping
        The content of its model.json.
    task : Task
    arrays : Arrays
    splits : sequence of DataFrame
        With the columns `SPLIT` of core.tables; the test split is the first.
    device : torch.device
    join : callable
        See `scores.Scoring`.

    Returns
    -------
    list of (DataFrame, DataFrame)
        For each split: the predictions of all seeds, and the rows of the split that they are of.

    Raises
    ------
    UserError
        If a network was trained or chosen on a sample that it would be tested on.
    """
    strategy, runs = STRATEGIES[model["strategy"]], []
    for seed in range(model["seeds"]):
        check_apart(model["samples_seen"][seed], of_seed(splits[0], seed), folder)
        network, load = task.assemble(strategy, model["network"], arrays, device)
        network.load_state_dict(load_file(folder / f"seed{seed}.safetensors"))
        own = [of_seed(split, seed) for split in splits]
        runs.append([join(t, task.predict(network, load, t["photo"].to_numpy())) for t in own])
    cell = {column: model[column] for column in CELL}
    return [
        (pd.concat(run, ignore_index=True).assign(**cell), split[split["seed"] < model["seeds"]])
        for run, split in zip(zip(*runs, strict=True), splits, strict=True)
    ]


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


def class_indices(column: pd.Series, labels: list[str]) -> np.ndarray:
    """Return the index of each class in `labels`: ndarray of shape (rows,), int64.

    Integers, because comparing millions of strings takes minutes.
    """
    return np.asarray(pd.Index(labels).get_indexer(column))


def probabilities(predictions: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """Return the probability of every class: ndarray of shape (rows, classes), float64."""
    return predictions[[probability(label) for label in labels]].to_numpy()


def check_apart(seen: list[str], test: pd.DataFrame, model: Path) -> None:
    """Refuse to test a model on samples that it was trained or chosen on.

    Raises
    ------
    UserError
        If there are such samples; the message names the model and one of them.
    """
    if both := sorted(set(seen) & set(test["sample"])):
        raise UserError(
            f"{model} has seen {len(both)} sample(s) of the test split in training, {both[0]!r} "
            "first: train it again with `dvc repro --force` and the name of its stage"
        )
