"""Predictions on the test split → the metrics of each cell."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn import metrics

from shotcount import tables

VIEWED = 50  # samples at once, to bound the memory that their orders take


def hits(predictions: pd.DataFrame, labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each seed got each photo right, and which sample each photo shows.

    Parameters
    ----------
    predictions : DataFrame
        Of one cell, as in ``tables.predictions(labels)``.

    Returns
    -------
    correct : ndarray of shape (seeds, photos), bool
    samples : ndarray of shape (photos,)
        In order of the photos.
    """
    order = np.lexsort((predictions["photo"], predictions["seed"]))
    chosen = probabilities(predictions, labels).argmax(axis=1)
    right = chosen == places(predictions["label"], labels)
    correct = right[order].reshape(predictions["seed"].nunique(), -1)
    return correct, predictions["sample"].to_numpy()[order[: correct.shape[1]]]


def score(predictions: pd.DataFrame, labels: list[str]) -> dict[str, float]:
    """Score one cell: each metric is the mean over seeds.

    Balanced accuracy is the mean recall of the classes; F1 is averaged over classes unweighted;
    log-loss is in nats; ECE as `calibration_error` has it.
    """
    correct, _ = hits(predictions, labels)
    per_seed, classes = [], range(len(labels))
    for _, run in predictions.groupby("seed"):
        truth, p = places(run["label"], labels), probabilities(run, labels)
        chosen = p.argmax(axis=1)
        per_seed.append(
            {
                "balanced_accuracy": metrics.balanced_accuracy_score(truth, chosen),
                "macro_f1": metrics.f1_score(truth, chosen, labels=classes, average="macro"),
                "log_loss": metrics.log_loss(truth, p, labels=classes),
                "ece": calibration_error(p.max(axis=1), chosen == truth),
            }
        )
    return {
        "seeds": len(correct),
        "accuracy": float(correct.mean()),
        **pd.DataFrame(per_seed).mean().to_dict(),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: how far confidence is from accuracy, on average.

    Over bins of equal width, weighted by their photos (Guo et al., "On calibration of modern
    neural networks", ICML 2017). Biased upwards for few photos, since a bin's accuracy is noisy.

    Parameters
    ----------
    confidence : ndarray of shape (photos,)
        Probability of the predicted class.
    correct : ndarray of shape (photos,), bool
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(correct))


def views(
    predictions: pd.DataFrame, labels: list[str], rng: np.random.Generator, orders: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Judge whole samples by the averaged predictions of 1, 2, 3, … of their photos.

    Averages log-probabilities: the product of experts that are taken to err independently, over
    which of a sample's photos are seen in `orders` random orders.

    Parameters
    ----------
    predictions : DataFrame
        Of one cell, as in ``tables.predictions(labels)``.

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
    truth = places(ordered["label"], labels)
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


def confusion(predictions: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Count test photos by actual and predicted class, averaged over the seeds.

    Returns
    -------
    DataFrame
        actual, predicted, photos_per_seed: one row a pair of classes.
    """
    chosen = probabilities(predictions, labels).argmax(axis=1)
    truth = places(predictions["label"], labels)
    counts = metrics.confusion_matrix(truth, chosen, labels=range(len(labels)))
    return pd.DataFrame(
        {
            "actual": np.repeat(labels, len(labels)),
            "predicted": np.tile(labels, len(labels)),
            "photos_per_seed": counts.ravel() / predictions["seed"].nunique(),
        }
    )


def places(column: pd.Series, labels: list[str]) -> np.ndarray:
    """Return the place of each class in `labels`: ndarray of shape (rows,), int64.

    Millions of numbers are compared in no time; of texts, it takes minutes.
    """
    return np.asarray(pd.Index(labels).get_indexer(column))


def probabilities(predictions: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """Return the probability of every class: ndarray of shape (rows, classes), float64."""
    return predictions[[tables.probability(label) for label in labels]].to_numpy()
