"""Accuracy for whole samples when the predictions of several views are averaged."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from shotcount.scoring.predictions import class_indices, probabilities

VIEWED = 50  # samples processed at once, to bound the memory for their orders


def right_by_views(
    predictions: pd.DataFrame, labels: list[str], rng: np.random.Generator, orders: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Return how often whole samples are predicted correctly from 1, 2, 3, … of their photos.

    The photos' log-probabilities are averaged. This is a product of experts, which assumes that
    their errors are independent (Hinton, "Training products of experts by minimizing contrastive
    divergence", Neural Computation 2002). Each sample's photos are taken in `orders` random orders.

    Parameters
    ----------
    predictions : DataFrame
        The predictions of one cell, with the columns ``prediction_columns(labels)``.

    Returns
    -------
    right : ndarray of shape (views, seeds, samples), float64
        Share of the orders in which the first 1, 2, … photos give the sample's class, up to the
        number of photos that every sample has. NaN where the seed didn't test the sample.
    samples : ndarray of shape (samples,)
    """
    ordered = predictions.sort_values(["seed", "sample", "photo"])
    sizes = ordered.groupby(["seed", "sample"]).size()
    counts = sizes.to_numpy()  # photos of each
    starts, most = np.cumsum(counts) - counts, counts.min()
    log_p = np.log(np.clip(probabilities(ordered, labels), 1e-15, None))
    truth = class_indices(ordered["label"], labels)
    right = np.empty((most, len(counts)))
    for own in _equal_neighbours(counts, VIEWED):
        rows = np.tile(np.arange(counts[own[0]]), (len(own) * orders, 1))
        rows = rng.permuted(rows, axis=1)[:, :most].reshape(len(own), orders, most)
        summed = log_p[rows + starts[own][:, None, None]].cumsum(axis=2)
        hit = summed.argmax(axis=3) == truth[starts[own]][:, None, None]  # (own, orders, views)
        right[:, own] = hit.mean(axis=1).T
    (seeds, seed), (samples, place) = (
        np.unique(sizes.index.get_level_values(name), return_inverse=True)
        for name in ("seed", "sample")
    )
    result = np.full((most, len(seeds), len(samples)), np.nan)
    result[:, seed, place] = right
    return result, samples


def _equal_neighbours(counts: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the indices of neighbours with equal counts, at most `most` at a time."""
    for run in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(counts)) + 1):
        yield from np.split(run, range(most, len(run), most))
