"""How good the classifier is, by the networks of its strategy that did not see what they tested."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from shotcount.scoring.predictions import by_seed, count_folds, hits, probabilities
from shotcount.scoring.scores import score
from shotcount.scoring.views import right_by_views
from shotcount.uncertainty.bootstrap import Resamples, bootstrap_mean, resample
from shotcount.uncertainty.intervals import Estimate, accuracy_interval, interval


@dataclass(frozen=True)
class Figures:
    """The results of a strategy's largest cell on the test photos of all its seeds."""

    photos: int
    samples: int
    seeds: int
    folds: bool  # whether each seed tested other samples
    accuracy: Estimate
    recall: dict[str, Estimate]  # by class
    views: list[Estimate]  # accuracy for samples, with the predictions of 1, 2, … photos averaged
    overconfidence: Estimate  # mean probability of the predicted class minus accuracy
    calibration_error: float
    log_loss: float  # nats


def measure(
    run: pd.DataFrame, classes: list[str], replicates: int, rng: np.random.Generator
) -> Figures:
    """Measure a cell.

    Intervals come from a bootstrap over test samples and seeds, as those of the study do: the
    classifier is one more training run of this kind.

    Parameters
    ----------
    run : DataFrame
        The predictions of all seeds of the cell, with the columns ``prediction_columns(classes)``.
    classes : list of str
    replicates : int
        Number of bootstrap replicates.
    rng : numpy.random.Generator
        With that of the study's answer, the accuracy has the interval that it has there.
    """
    right, sample_of = hits(run, classes)  # (seeds, photos), (photos,)
    truth = run.drop_duplicates("photo").sort_values("photo")["label"].to_numpy()
    folds = count_folds(right)

    def redraw(samples: np.ndarray) -> Resamples:
        return resample(len(np.unique(samples)), [len(right)], replicates, rng, folds)[0]

    resamples = redraw(sample_of)
    recall = {}
    for label in classes:
        rows = truth == label
        recall[label] = _accuracy(right[:, rows], sample_of[rows], redraw(sample_of[rows]))
    views, samples = right_by_views(run, classes, rng)  # (views, seeds, samples), (samples,)
    excess = by_seed(run, probabilities(run, classes).max(axis=1)) - right
    between = interval(bootstrap_mean(excess[None], sample_of, resamples)[0], resamples)
    scores = score(run, classes)
    return Figures(
        photos=len(sample_of),
        samples=len(samples),
        seeds=len(right),
        folds=folds > 1,
        accuracy=_accuracy(right, sample_of, resamples),
        recall=recall,
        views=[_accuracy(hit, samples, resamples) for hit in views],
        overconfidence=Estimate(float(np.nanmean(excess)), *between),
        calibration_error=scores["ece"],
        log_loss=scores["log_loss"],
    )


def _accuracy(right: np.ndarray, sample_of: np.ndarray, resamples: Resamples) -> Estimate:
    replicates = bootstrap_mean(right[None], sample_of, resamples)[0]
    return Estimate(float(np.nanmean(right)), *accuracy_interval(replicates, resamples))
