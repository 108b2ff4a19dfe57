"""Predictions for whole samples, averaged over several of their views."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from shotcount.scoring.predictions import class_indices, probabilities
from shotcount.scoring.tallies import Tally

VIEWED = 50  # samples processed at once, to bound the memory for their orders


def tally_by_views(
    predictions: pd.DataFrame, labels: list[str], rng: np.random.Generator, orders: int = 50
) -> tuple[list[Tally], np.ndarray]:
    """Tally which classes are named for whole samples from 1, 2, 3, … of their photos.

    The photos' log-probabilities are averaged. This is a product of experts, which assumes that
    their errors are independent (Hinton, "Training products of experts by minimizing contrastive
    divergence", Neural Computation 2002). Each sample's photos are taken in `orders` random orders.

    Parameters
    ----------
    predictions : DataFrame
        The predictions of one cell, with the columns ``prediction_columns(labels)``.

    Returns
    -------
    tallies : list of Tally
        For 1, 2, … photos, up to the number that most samples have. A sample with fewer is judged
        by all that it has. Each order counts once.
    samples : ndarray of shape (samples,)
        Their names, in the order of the tallies.
    """
    ordered = predictions.sort_values(["seed", "sample", "photo"])
    sizes = ordered.groupby(["seed", "sample"]).size()
    counts = sizes.to_numpy()  # photos of each
    starts, most = np.cumsum(counts) - counts, np.sort(counts)[(len(counts) - 1) // 2]
    log_p = np.log(np.clip(probabilities(ordered, labels), 1e-15, None))
    shape = most, len(counts), len(labels)  # a sample tested by two seeds counts twice
    found = []
    for own in _equal_neighbours(counts, VIEWED):
        count = counts[own[0]]
        rows = np.tile(np.arange(count), (len(own) * orders, 1))
        rows = rng.permuted(rows, axis=1)[:, :most].reshape(len(own), orders, -1)
        summed = log_p[rows + starts[own][:, None, None]].cumsum(axis=2)
        named = summed.argmax(axis=3)  # (own, orders, photos)
        named = named[..., np.minimum(np.arange(most), count - 1)]  # (own, orders, views)
        run, _, view = np.indices(named.shape)
        place = np.ravel_multi_index((view, own[run], named), shape)
        found.append(np.unique(place, return_counts=True))
    places, times = (np.concatenate(parts) for parts in zip(*found, strict=True))
    views, runs, named = np.unravel_index(places, shape)
    (_, seed), (samples, sample) = (
        np.unique(sizes.index.get_level_values(name), return_inverse=True)
        for name in ("seed", "sample")
    )
    truth = class_indices(ordered["label"], labels)[starts]
    tallies = []
    for view in range(most):
        own = views == view
        run = runs[own]
        tallies.append(
            Tally(seed[run], sample[run], truth[run], named[own], times[own], len(labels))
        )
    return tallies, samples


def right_by_views(
    predictions: pd.DataFrame, labels: list[str], rng: np.random.Generator, orders: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Return how often whole samples are predicted correctly from 1, 2, 3, … of their photos.

    For the parameters see `tally_by_views`.

    Returns
    -------
    right : ndarray of shape (views, seeds, samples), float64
        Share of the orders in which the first 1, 2, … photos give the sample's class. NaN where the
        seed didn't test the sample.
    samples : ndarray of shape (samples,)
    """
    tallies, samples = tally_by_views(predictions, labels, rng, orders)
    right = np.full((len(tallies), tallies[0].seeds, len(samples)), np.nan)
    for own, t in zip(right, tallies, strict=True):
        own[t.seed, t.sample] = 0
        hit = t.named == t.actual
        own[t.seed[hit], t.sample[hit]] = t.times[hit] / orders
    return right, samples


def _equal_neighbours(counts: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the indices of neighbours with equal counts, at most `most` at a time."""
    for run in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(counts)) + 1):
        yield from np.split(run, range(most, len(run), most))
