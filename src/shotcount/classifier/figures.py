"""The classifier's results on the test split."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from shotcount.scoring.predictions import hits, probabilities
from shotcount.scoring.scores import score
from shotcount.scoring.views import right_by_views
from shotcount.uncertainty.bootstrap import Resamples, bootstrap_mean, resample
from shotcount.uncertainty.intervals import Estimate, accuracy_interval, interval


@dataclass(frozen=True)
class Figures:
    """The results of one model on the test split."""

    photos: int
    samples: int
    accuracy: Estimate
    recall: dict[str, Estimate]  # by class
    views: list[Estimate]  # accuracy for samples, with the predictions of 1, 2, … photos averaged
    overconfidence: Estimate  # mean probability of the predicted class minus accuracy
    calibration_error: float
    log_loss: float  # nats


def measure(
    run: pd.DataFrame, classes: list[str], replicates: int, rng: np.random.Generator
) -> Figures:
    """Measure one model.

    Intervals come from a bootstrap over whole test samples. They leave out the variation between
    seeds, since this one model is used.

    Parameters
    ----------
    run : DataFrame
        Predictions of one seed of one cell, with the columns ``prediction_columns(classes)``.
    classes : list of str
    replicates : int
        Number of bootstrap replicates.
    rng : numpy.random.Generator
    """
    run = run.sort_values("photo")
    right, sample_of = hits(run, classes)  # (1, photos), (photos,)
    truth = run["label"].to_numpy()
    confidence = probabilities(run, classes).max(axis=1)
    resamples = resample(len(np.unique(sample_of)), [1], replicates, rng)[0]
    recall = {}
    for label in classes:
        rows = truth == label
        its_resamples = resample(len(np.unique(sample_of[rows])), [1], replicates, rng)[0]
        recall[label] = _accuracy(right[:, rows], sample_of[rows], its_resamples)
    views, samples = right_by_views(run, classes, rng)  # (views, 1, samples), (samples,)
    excess = confidence[None] - right
    between = interval(bootstrap_mean(excess[None], sample_of, resamples)[0], resamples)
    scores = score(run, classes)
    return Figures(
        photos=len(run),
        samples=len(samples),
        accuracy=_accuracy(right, sample_of, resamples),
        recall=recall,
        views=[_accuracy(hit, samples, resamples) for hit in views],
        overconfidence=Estimate(float(excess.mean()), *between),
        calibration_error=scores["ece"],
        log_loss=scores["log_loss"],
    )


def _accuracy(right: np.ndarray, sample_of: np.ndarray, resamples: Resamples) -> Estimate:
    replicates = bootstrap_mean(right[None], sample_of, resamples)[0]
    return Estimate(float(right.mean()), *accuracy_interval(replicates, resamples))
