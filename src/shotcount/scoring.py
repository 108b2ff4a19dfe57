"""Predictions on the test split → the metrics of each cell."""

import numpy as np
import pandas as pd
from sklearn import metrics

from shotcount import tables


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
    ordered = predictions.sort_values(["seed", "photo"])
    chosen = np.array(labels)[probabilities(ordered, labels).argmax(axis=1)]
    seeds = ordered["seed"].nunique()
    correct = (chosen == ordered["label"].to_numpy()).reshape(seeds, -1)
    return correct, ordered["sample"].to_numpy()[: correct.shape[1]]


def score(predictions: pd.DataFrame, labels: list[str]) -> dict[str, float]:
    """Score one cell: each metric is the mean over seeds.

    Balanced accuracy is the mean recall of the classes; F1 is averaged over classes unweighted;
    log-loss is in nats; ECE as `calibration_error` has it.
    """
    correct, _ = hits(predictions, labels)
    per_seed = []
    for _, run in predictions.groupby("seed"):
        truth, p = run["label"], probabilities(run, labels)
        chosen = np.array(labels)[p.argmax(axis=1)]
        per_seed.append(
            {
                "balanced_accuracy": metrics.balanced_accuracy_score(truth, chosen),
                "macro_f1": metrics.f1_score(truth, chosen, labels=labels, average="macro"),
                "log_loss": metrics.log_loss(truth, p, labels=labels),
                "ece": calibration_error(p.max(axis=1), chosen == truth.to_numpy()),
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
    most = ordered.groupby(["seed", "sample"]).size().min()
    log_p = np.log(np.clip(probabilities(ordered, labels), 1e-15, None))
    truth = ordered["label"].map(labels.index).to_numpy()
    seeds, samples = ordered["seed"].nunique(), ordered["sample"].unique()
    right = np.zeros((most, seeds, len(samples)))
    groups = ordered.groupby(["seed", "sample"]).indices
    for cell, (_, rows) in enumerate(sorted(groups.items())):
        shuffled = np.stack([rng.permutation(rows)[:most] for _ in range(orders)])
        summed = log_p[shuffled].cumsum(axis=1)  # (orders, views, classes)
        hit = summed.argmax(axis=2) == truth[rows[0]]
        right[:, cell // len(samples), cell % len(samples)] = hit.mean(axis=0)
    return right, samples


def confusion(predictions: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Count test photos by actual and predicted class, averaged over the seeds.

    Returns
    -------
    DataFrame
        actual, predicted, photos_per_seed: one row a pair of classes.
    """
    chosen = np.array(labels)[probabilities(predictions, labels).argmax(axis=1)]
    counts = metrics.confusion_matrix(predictions["label"], chosen, labels=labels)
    return pd.DataFrame(
        {
            "actual": np.repeat(labels, len(labels)),
            "predicted": np.tile(labels, len(labels)),
            "photos_per_seed": counts.ravel() / predictions["seed"].nunique(),
        }
    )


def probabilities(predictions: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """Return the probability of every class: ndarray of shape (rows, classes), float64."""
    return predictions[[tables.probability(label) for label in labels]].to_numpy()
