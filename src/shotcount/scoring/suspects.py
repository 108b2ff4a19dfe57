"""Samples and photos whose label may be wrong, or in which an object may lack its box."""

import numpy as np
import pandas as pd

from shotcount.core.errors import printable
from shotcount.core.tables import Table
from shotcount.scoring.faults import INVENTED
from shotcount.scoring.mistakes import NOTHING
from shotcount.scoring.predictions import class_indices, probabilities, probability

SURE = 0.9  # score from which on a detection where there is no box is a suspect
PICTURED = 12  # suspects at most, in the report
SUSPECTS: Table = {  # most doubtful first
    "paths": "str",  # of its photos, one a line
    "sample": "str",
    "label": "str",  # `NOTHING` where no box was drawn
    "suggested": "str",  # the class that the predictions name
    "score": "float64",  # predicted probability of `label`; of nothing, 1 minus the detection's
    "photos": "int64",  # of the sample that are doubted: those that name `suggested`
    "file": "str",  # picture in data/gallery; empty after the first `PICTURED`
}


def find_suspects(predictions: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Find labels that may be wrong, from predictions of models that have not seen the photos.

    Probabilities are averaged over the seeds that tested a photo, then over the photos of a sample
    that name the same class. These are judged together: where all photos of a sample agree, that is
    the sample. Confident learning (the library cleanlab) estimates how many labels of each class
    are wrong, and takes so many of those that the predictions contradict most (Northcutt, Jiang and
    Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 2021).

    Parameters
    ----------
    predictions : DataFrame
        The predictions of one cell, with the columns ``prediction_columns(labels)``.

    Returns
    -------
    DataFrame
        sample, label, suggested, score (the probability of `label`) and photos (a tuple): most
        doubtful first.
    """
    # Imported here: it takes seconds, and of the stages that use this package only one needs it.
    from cleanlab.filter import find_label_issues

    judged = _judged(predictions, labels)
    truth, p = class_indices(judged["label"], labels), probabilities(judged, labels)
    doubted = find_label_issues(truth, p, return_indices_ranked_by="self_confidence", n_jobs=1)
    return judged.iloc[doubted][["sample", "label", "photos"]].assign(
        suggested=np.array(labels)[p[doubted].argmax(axis=1)],
        score=p[doubted, truth[doubted]],
    )


def find_unmarked(faults: pd.DataFrame, scenes: pd.Series) -> pd.DataFrame:
    """Find photos in which an object may lack its box: detected for `SURE`, but far from any box.

    Parameters
    ----------
    faults : DataFrame
        The columns `FAULTS` of scoring.faults, of models that have not seen the photos.
    scenes : Series of str
        The scene of each photo.

    Returns
    -------
    DataFrame
        The columns of `find_suspects`, and the detection's seed and corners: its surest one of each
        photo, most doubtful first.
    """
    sure = faults[(faults["kind"] == INVENTED) & (faults["score"] >= SURE)]
    order = ["score", "photo", "seed"]
    sure = sure.sort_values(order, ascending=[False, True, True], kind="stable")
    sure = sure.drop_duplicates("photo")
    return sure.assign(
        sample=sure["photo"].map(scenes),
        label=NOTHING,
        suggested=sure["predicted"],
        score=1 - sure["score"],
        photos=[(photo,) for photo in sure["photo"]],
    )


def with_paths(suspects: pd.DataFrame, paths: pd.Series) -> pd.DataFrame:
    """Return the table `SUSPECTS`.

    Parameters
    ----------
    suspects : DataFrame
        As `find_suspects` returns it.
    paths : Series of str
        The path of each photo.
    """
    pictures = [f"suspect{n}.webp" if n < PICTURED else "" for n in range(len(suspects))]
    return suspects.assign(
        paths=["\n".join(map(printable, paths[list(own)])) for own in suspects["photos"]],
        photos=suspects["photos"].map(len),
        file=pictures,
    )


def _judged(predictions: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Return the photos of each sample that name the same class, and their mean probabilities."""
    means = {probability(label): "mean" for label in labels}
    same = {"sample": "first", "label": "first"}
    photos = predictions.groupby("photo", as_index=False).agg(same | means)
    named = probabilities(photos, labels).argmax(axis=1)
    judged = photos.rename(columns={"photo": "photos"}).groupby([photos["sample"], named])
    return judged.agg(same | means | {"photos": tuple}).reset_index(drop=True)
