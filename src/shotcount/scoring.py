"""Predictions on the test split → the metrics of each cell."""

import numpy as np
import pandas as pd
from sklearn import metrics

from shotcount import tables
from shotcount.intervals import accuracy_interval, bootstrap_accuracy


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
    chosen = np.array(labels)[_probabilities(ordered, labels).argmax(axis=1)]
    seeds = ordered["seed"].nunique()
    correct = (chosen == ordered["label"].to_numpy()).reshape(seeds, -1)
    return correct, ordered["sample"].to_numpy()[: correct.shape[1]]


def score(
    predictions: pd.DataFrame, labels: list[str], replicates: int, rng: np.random.Generator
) -> dict[str, float]:
    """Score one cell: each metric is the mean over seeds; accuracy with its 95 % interval.

    Balanced accuracy is the mean recall of the classes; F1 is averaged over classes unweighted;
    log-loss is in nats.
    """
    correct, samples = hits(predictions, labels)
    accuracy = bootstrap_accuracy([correct], samples, replicates, rng)[0]
    low, high = accuracy_interval(accuracy, clusters=len(np.unique(samples)))
    per_seed = []
    for _, run in predictions.groupby("seed"):
        truth, p = run["label"], _probabilities(run, labels)
        chosen = np.array(labels)[p.argmax(axis=1)]
        per_seed.append(
            {
                "balanced_accuracy": metrics.balanced_accuracy_score(truth, chosen),
                "macro_f1": metrics.f1_score(truth, chosen, labels=labels, average="macro"),
                "log_loss": metrics.log_loss(truth, p, labels=labels),
            }
        )
    return {
        "seeds": len(correct),
        "accuracy": float(correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        **pd.DataFrame(per_seed).mean().to_dict(),
    }


def confusion(predictions: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Count test photos by actual and predicted class, averaged over the seeds.

    Returns
    -------
    DataFrame
        actual, predicted, photos_per_seed: one row a pair of classes.
    """
    chosen = np.array(labels)[_probabilities(predictions, labels).argmax(axis=1)]
    counts = metrics.confusion_matrix(predictions["label"], chosen, labels=labels)
    return pd.DataFrame(
        {
            "actual": np.repeat(labels, len(labels)),
            "predicted": np.tile(labels, len(labels)),
            "photos_per_seed": counts.ravel() / predictions["seed"].nunique(),
        }
    )


def _probabilities(predictions: pd.DataFrame, labels: list[str]) -> np.ndarray:
    return predictions[[tables.probability(label) for label in labels]].to_numpy()
