"""Accuracy for whole samples when the predictions of several views are averaged."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from shotcount.scoring.predictions import class_indices, probabilities

VIEWED = 50  # samples at once, to bound the memory that their orders take


def right_by_views(
    predictions: pd.DataFrame, labels: list[str], rng: np.random.Generator, orders: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Judge whole samples by the averaged predictions of 1, 2, 3, … of their photos.

    Averages log-probabilities: the product of experts that are taken to err independently, over
    which of a sample's photos are seen in `orders` random orders.

    Parameters
    ----------
    predictions : DataFrame
        Of one cell, as in ``prediction_columns(labels)``.

    Returns
    -------
    right : ndarray of shape (views, seeds, samples), float64
        In what share of the orders a sample is right, seen from 1, 2, … angles, up to as many
        as every sample has.
    samples : ndarray of shape (samples,)
    """
    ordered = predictions.sort_values(["seed", "sample", "photo"])
    counts = ordered.groupby(["seed", "sample"]).size().to_numpy()  # photos of each
    starts, most = np.cumsum(counts) - counts, counts.min()
    log_p = np.log(np.clip(probabilities(ordered, labels), 1e-15, None))
    truth = class_indices(ordered["label"], labels)
    seeds, samples = ordered["seed"].nunique(), ordered["sample"].unique()
    right = np.empty((most, seeds * len(samples)))
    for own in _alike(counts, VIEWED):
        rows = np.tile(np.arange(counts[own[0]]), (len(own) * orders, 1))
        rows = rng.permuted(rows, axis=1)[:, :most].reshape(len(own), orders, most)
        summed = log_p[rows + starts[own][:, None, None]].cumsum(axis=2)
        hit = summed.argmax(axis=3) == truth[starts[own]][:, None, None]  # (own, orders, views)
        right[:, own] = hit.mean(axis=1).T
    return right.reshape(most, seeds, len(samples)), samples


def _alike(counts: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the places of neighbours of the same count, `most` at a time."""
    for run in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(counts)) + 1):
        yield from np.split(run, range(most, len(run), most))
