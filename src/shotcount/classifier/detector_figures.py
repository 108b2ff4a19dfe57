"""How good the detector is, by the networks of its strategy that did not see what they tested."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from shotcount.scoring.detections import score_detections
from shotcount.scoring.matching import Matches
from shotcount.uncertainty.bootstrap import Resamples, resample
from shotcount.uncertainty.intervals import Estimate, accuracy_interval, mean_interval
from shotcount.uncertainty.metrics import DETECTION_METRICS, metric_rows, trials

AP50 = DETECTION_METRICS["ap50"]


@dataclass(frozen=True)
class Found:
    """How objects are found: those of all classes, or of one."""

    photos: int  # tested that hold such objects
    objects: int  # in them
    ap50: Estimate  # nan where nothing was tested
    scores: dict[str, float]  # the columns `DETECTION_SCORES`


@dataclass(frozen=True)
class DetectorFigures:
    """The results of a strategy's largest cell on the test photos of all its seeds."""

    photos: int
    scenes: int
    seeds: int
    folds: bool  # whether each seed tested other scenes
    every: Found
    classes: dict[str, Found]


def measure(
    matches: Matches, confidence: float, replicates: int, rng: np.random.Generator
) -> DetectorFigures:
    """Measure a cell.

    Intervals come from a bootstrap over test scenes and seeds, as those of the study do.

    Parameters
    ----------
    matches : Matches
        Of the detections of all seeds of the cell.
    confidence : float
        The lowest score of a detection that counts for precision and recall.
    replicates, rng
        As for `figures.measure`: AP50 has the interval that it has in the study's answer.
    """
    draws = resample(matches.samples, [matches.seeds], replicates, rng, matches.folds)[0]
    found = partial(_found, resamples=draws, confidence=confidence)
    return DetectorFigures(
        photos=len(np.unique(matches.photo)),
        scenes=matches.samples,
        seeds=matches.seeds,
        folds=matches.folds > 1,
        every=found(matches, accuracy_interval),
        classes={  # as in the study's table of classes
            label: found(matches.of_class(n), mean_interval)
            for n, label in enumerate(matches.labels)
        },
    )


def _found(
    matches: Matches,
    interval: Callable[..., tuple[float, float]],
    resamples: Resamples,
    confidence: float,
) -> Found:
    count = matches.objects.sum(axis=1)  # (images,)
    # The seeds may have tested the same photos.
    photos, first = np.unique(matches.photo[count > 0], return_index=True)
    objects = int(count[count > 0][first].sum())
    if not objects:
        return Found(0, 0, Estimate(np.nan, np.nan, np.nan), {})
    with np.errstate(invalid="ignore"):  # a replicate may hold no object of a rare class
        measured, *rows = metric_rows([matches], AP50, resamples)[0]
    drawn = ~np.isnan(rows)
    ends = interval(np.array(rows)[drawn], resamples.only(drawn), trials=trials(matches, AP50))
    scores = score_detections(matches, confidence)
    return Found(len(photos), objects, Estimate(float(measured), *ends), scores)
