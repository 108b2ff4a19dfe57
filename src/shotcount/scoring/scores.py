"""Scores of a cell: accuracy, F1, log loss, calibration error, confusion matrix.

Those of photos with boxes are in scoring.detections and scoring.faults; `scoring_for` tells what to
compute for which study.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

from shotcount.core.tables import CELL, DETECTED, Table, is_detection
from shotcount.scoring.detections import (
    DETECTION_SCORES,
    DETECTIONS,
    best_confidence,
    score_detections,
)
from shotcount.scoring.faults import COSTS, fault_costs, find_faults
from shotcount.scoring.matching import Matches, match
from shotcount.scoring.predictions import (
    class_indices,
    prediction_columns,
    predictions_table,
    probabilities,
)
from shotcount.scoring.tallies import Tally, tally

SCORES: Table = CELL | {
    "seeds": "int64",
    "accuracy": "float64",
    "balanced_accuracy": "float64",
    "macro_f1": "float64",
    "log_loss": "float64",  # nats
    "ece": "float64",  # expected calibration error
}
CONFUSION: Table = CELL | {  # only pairs of classes that occur: with 300 classes, few of 90,000
    "actual": "str",
    "predicted": "str",
    "test_photos": "float64",  # each counts once, divided between the seeds that tested it
}


def score(predictions: pd.DataFrame, labels: list[str]) -> dict[str, float]:
    """Score one cell on the predictions of all its seeds together.

    Balanced accuracy is the mean recall of the classes, macro F1 the unweighted mean of their F1.
    Log loss is in nats. For ECE see `calibration_error`. They are not means over seeds, since a
    fold may hold few photos of a class (Forman and Scholz, "Apples-to-apples in cross-validation
    studies", SIGKDD Explorations 2010).
    """
    truth, p = class_indices(predictions["label"], labels), probabilities(predictions, labels)
    chosen, classes = p.argmax(axis=1), range(len(labels))
    # Read from a table, probabilities are rounded, and don't quite sum to 1.
    summing_to_1 = p / p.sum(axis=1, keepdims=True)
    return {
        "seeds": predictions["seed"].nunique(),
        "accuracy": float(np.mean(chosen == truth)),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, chosen),
        "macro_f1": metrics.f1_score(truth, chosen, labels=classes, average="macro"),
        "log_loss": metrics.log_loss(truth, summing_to_1, labels=classes),
        "ece": calibration_error(p.max(axis=1), chosen == truth),
    }


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy.

    Photos are grouped into bins of equal width; a bin's weight is its number of photos (Guo et al.,
    "On calibration of modern neural networks", ICML 2017). With few photos the error is biased
    upwards, since a bin's accuracy is noisy.

    Parameters
    ----------
    confidence : ndarray of shape (photos,)
        Probability of the predicted class.
    correct : ndarray of shape (photos,), bool
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(correct))


def confusion(predictions: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Count test photos by actual and predicted class.

    Returns
    -------
    DataFrame
        actual, predicted, test_photos: one row per pair of classes that occurs, in their order.
    """
    chosen = probabilities(predictions, labels).argmax(axis=1)
    truth = class_indices(predictions["label"], labels)
    counts = metrics.confusion_matrix(truth, chosen, labels=range(len(labels)))
    actual, predicted = counts.nonzero()
    share = predictions["photo"].nunique() / len(predictions)
    return pd.DataFrame(
        {
            "actual": np.array(labels)[actual],
            "predicted": np.array(labels)[predicted],
            "test_photos": counts[actual, predicted] * share,
        }
    )


@dataclass(frozen=True)
class Scoring:
    """How the cells of a study are scored."""

    classes: list[str]
    finds: bool  # whether networks find objects, and not only name the class of a photo
    metric: str  # a column of `scores` that the study is judged by, unless params.yaml says more
    predictions: Table
    scores: Table
    confusion: Table  # what is taken for what, or is not found
    # A seed's photos and what its network predicts of them → `predictions`, without the cell's.
    join: Callable[[pd.DataFrame, Any], pd.DataFrame]
    # `predictions` of a cell and the photos that its seeds tested → what metrics are computed from.
    tally: Callable[[pd.DataFrame, pd.DataFrame], Tally | Matches]
    # The same as a pair and, with boxes, the pair of the validation photos (`predict_cell`) → a row
    # of `scores` and rows of `confusion`.
    score: Callable[..., tuple[dict[str, float], pd.DataFrame]]


def scoring_for(classes: list[str], boxes: pd.DataFrame) -> Scoring:
    """Return how to score networks that name `classes` or, if there are `boxes`, find them.

    Parameters
    ----------
    classes : list of str
    boxes : DataFrame
        With the columns `BOXES` of core.tables; empty in a study of classes.
    """
    if is_detection(boxes):
        return Scoring(
            classes=classes,
            finds=True,
            metric="ap50",
            predictions=DETECTIONS,
            scores=DETECTION_SCORES,
            confusion=CELL | COSTS,
            join=_detections_table,
            tally=lambda run, tested: match(run, boxes, tested, classes),
            score=partial(_score_boxes, classes, boxes),
        )
    return Scoring(
        classes=classes,
        finds=False,
        metric="accuracy",
        predictions=prediction_columns(classes),
        scores=SCORES,
        confusion=CONFUSION,
        join=lambda own, p: predictions_table(own, p, classes),
        tally=lambda run, tested: tally(run, classes),
        score=lambda test: (score(test[0], classes), confusion(test[0], classes)),
    )


def _detections_table(own: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return DETECTIONS, without the cell's columns, of one seed's photos."""
    return found[list(DETECTED)].merge(own[["photo", "seed", "sample"]], on="photo", validate="m:1")


def _score_boxes(
    classes: list[str],
    boxes: pd.DataFrame,
    test: tuple[pd.DataFrame, pd.DataFrame],
    val: tuple[pd.DataFrame, pd.DataFrame],
) -> tuple[dict[str, float], pd.DataFrame]:
    run, tested = test
    confidence = best_confidence(match(val[0], boxes, val[1], classes))
    # Those of unsure detections would hide the ones that users meet.
    faults = find_faults(run[run["score"] >= confidence], boxes, tested, classes)
    costs = fault_costs(run, boxes, tested, classes, faults)
    return score_detections(match(run, boxes, tested, classes), confidence), costs
