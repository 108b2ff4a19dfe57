"""The metrics that a study can be judged by, and their bootstrap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shotcount.scoring.detections import average_precision
from shotcount.scoring.matching import THRESHOLDS, Matches
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.bootstrap import Draws, Part, Resamples, in_pieces, totals
from shotcount.uncertainty.terms import OF_CLASSES, OF_OBJECTS, Terms

Measure = Callable[[Draws], np.ndarray]  # what some replicates drew → the metric (replicates,)


@dataclass(frozen=True)
class Metric:
    """A mean over the classes of a share between 0 and 1."""

    key: str  # in params.yaml, and the column of `SCORES` or `DETECTION_SCORES`
    name: str  # in a sentence
    got: str  # after "it", with the value in place of {}
    reached: str
    by_class: bool  # False: all classes count as one
    of_class: str  # the key of the metric that a class alone is judged by
    terms: Terms
    measure: Callable[[Any], Measure]  # of a cell's Tally, or of its Matches

    @property
    def for_class(self) -> "Metric":
        """The metric that a class alone is judged by."""
        return (METRICS | DETECTION_METRICS)[self.of_class]


# From a class's photos that are right, that it has, and that are named as it: arrays (...)
Share = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _photos(by_class: bool, share: Share) -> Callable[[Tally], Measure]:
    """Return what measures a share of photos, the mean of the classes that were drawn."""

    def of(right: np.ndarray, actual: np.ndarray, named: np.ndarray) -> np.ndarray:
        drawn = actual > 0  # (classes, replicates), as all of these
        shares = share(right, np.where(drawn, actual, 1), named)
        return np.asarray((shares * drawn).sum(axis=0) / drawn.sum(axis=0))

    def measure(tally: Tally) -> Measure:
        sums = tally.sums(by_class)
        return lambda draws: of(*np.split(totals(sums, draws), 3))

    return measure


def _detections(thresholds: Sequence[int]) -> Callable[[Matches], Measure]:
    """Return what measures average precision, the mean of the classes that were drawn."""

    def measure(matches: Matches) -> Measure:
        precision = average_precision(matches, thresholds)

        def of(draws: Draws) -> np.ndarray:
            by_class = precision(*draws)
            drawn = ~np.isnan(by_class)
            return np.asarray(np.where(drawn, by_class, 0).sum(axis=0) / drawn.sum(axis=0))

        return of

    return measure


METRICS = {  # of photos that are of one class each
    metric.key: metric
    for metric in (
        Metric(
            key="accuracy",
            name="accuracy",
            got="got {} of the test photos right",
            reached="reached {} of the test photos",
            by_class=False,
            of_class="accuracy",
            terms=OF_CLASSES,
            measure=_photos(False, lambda right, actual, named: right / actual),
        ),
        Metric(
            key="balanced_accuracy",
            name="balanced accuracy",
            got="got a balanced accuracy of {}",
            reached="reached a balanced accuracy of {}",
            by_class=True,
            of_class="accuracy",
            terms=OF_CLASSES,
            measure=_photos(True, lambda right, actual, named: right / actual),
        ),
        Metric(
            key="macro_f1",
            name="macro F1",
            got="got a macro F1 of {}",
            reached="reached a macro F1 of {}",
            by_class=True,
            of_class="accuracy",
            terms=OF_CLASSES,
            measure=_photos(True, lambda right, actual, named: 2 * right / (actual + named)),
        ),
    )
}
DETECTION_METRICS = {  # of photos with boxes
    metric.key: metric
    for metric in (
        Metric(
            key="ap50",
            name="AP50",
            got="got an AP50 of {}",
            reached="reached an AP50 of {}",
            by_class=True,
            of_class="ap50",
            terms=OF_OBJECTS,
            measure=_detections(range(1)),
        ),
        Metric(
            key="ap",
            name="AP",
            got="got an AP of {}",
            reached="reached an AP of {}",
            by_class=True,
            of_class="ap",
            terms=OF_OBJECTS,
            measure=_detections(range(len(THRESHOLDS))),
        ),
    )
}


def bootstrap_metric(
    tallies: Sequence[Tally | Matches],
    metric: Metric,
    resamples: Resamples,
    part: Part = "weighted",
) -> np.ndarray:
    """Return bootstrap replicates of a metric, each computed from the replicate's own counts.

    All seeds are counted together, as in scoring.scores.

    Parameters
    ----------
    tallies : sequence of Tally or Matches
        Of the cells of a strategy, of the kind that the metric measures.
    metric : Metric
    resamples : Resamples
        For the same numbers of samples and seeds.
    part : {"weighted", "drawn", "undrawn"}
        The samples and seeds of each replicate that count (`bootstrap.in_pieces`).

    Returns
    -------
    ndarray of shape (cells, replicates), float64
    """
    measures = [metric.measure(own) for own in tallies]
    return np.concatenate(
        [
            np.stack([measure(draws) for measure in measures])
            for draws in in_pieces(resamples, part)
        ],
        axis=1,
    )


def metric_rows(
    tallies: Sequence[Tally | Matches], metric: Metric, resamples: Resamples
) -> np.ndarray:
    """Return the metric as measured, and its replicates: ndarray (cells, 1 + replicates)."""
    once = Resamples.once(tallies[0].samples, tallies[0].seeds)
    return np.hstack([bootstrap_metric(tallies, metric, draws) for draws in (once, resamples)])


def guessing(tally: Tally | Matches, metric: Metric) -> float:
    """Return the metric of what needs no look at a photo; see the methods `guess`."""
    once = Resamples.once(tally.samples, tally.seeds)
    return float(bootstrap_metric([tally.guess()], metric, once)[0, 0])


def trials(tally: Tally | Matches, metric: Metric) -> int:
    """Return how many independent trials the metric rests on.

    The test samples; if the metric is a mean over classes, as many as if every class had no more
    of them than the rarest one. A sample that holds several classes is still one.
    """
    samples = tally.samples_by_class()
    if metric.by_class:
        return int(min(len(samples) * samples.min(), tally.samples))
    return int(samples.sum())
