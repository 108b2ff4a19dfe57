"""The metrics that a study can be judged by, and their bootstrap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.bootstrap import Resamples, in_pieces, totals


@dataclass(frozen=True)
class Metric:
    """A mean over the classes of a share between 0 and 1."""

    key: str  # in params.yaml, and the column of `SCORES`
    name: str  # in a sentence
    got: str  # after "it", with the value in place of {}
    reached: str
    by_class: bool  # False: all classes count as one
    # From a class's photos that are right, that it has, and that are named as it: arrays (...)
    share: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

    def of(self, right: np.ndarray, actual: np.ndarray, named: np.ndarray) -> np.ndarray:
        """Return the mean of the classes that were drawn, from arrays (classes, replicates)."""
        drawn = actual > 0
        share = self.share(right, np.where(drawn, actual, 1), named)
        return np.asarray((share * drawn).sum(axis=0) / drawn.sum(axis=0))


METRICS = {
    metric.key: metric
    for metric in (
        Metric(
            key="accuracy",
            name="accuracy",
            got="got {} of the test photos right",
            reached="reached {} of the test photos",
            by_class=False,
            share=lambda right, actual, named: right / actual,
        ),
        Metric(
            key="balanced_accuracy",
            name="balanced accuracy",
            got="got a balanced accuracy of {}",
            reached="reached a balanced accuracy of {}",
            by_class=True,
            share=lambda right, actual, named: right / actual,
        ),
        Metric(
            key="macro_f1",
            name="macro F1",
            got="got a macro F1 of {}",
            reached="reached a macro F1 of {}",
            by_class=True,
            share=lambda right, actual, named: 2 * right / (actual + named),
        ),
    )
}


def bootstrap_metric(
    tallies: Sequence[Tally], metric: Metric, resamples: Resamples, undrawn: bool = False
) -> np.ndarray:
    """Return bootstrap replicates of a metric, each computed from the replicate's own counts.

    All seeds are counted together, as in scoring.scores.

    Parameters
    ----------
    tallies : sequence of Tally
        Of the cells of a strategy.
    metric : Metric
    resamples : Resamples
        For the same numbers of samples and seeds.
    undrawn : bool
        Whether to compute the metric of what each replicate did not draw.

    Returns
    -------
    ndarray of shape (cells, replicates), float64
    """
    sums = [own.sums(metric.by_class) for own in tallies]
    return np.concatenate(
        [
            np.stack([metric.of(*np.split(totals(own, draws), 3)) for own in sums])
            for draws in in_pieces(resamples, undrawn)
        ],
        axis=1,
    )


def metric_rows(tallies: Sequence[Tally], metric: Metric, resamples: Resamples) -> np.ndarray:
    """Return the metric as measured, and its replicates: ndarray (cells, 1 + replicates)."""
    once = Resamples.once(tallies[0].samples, tallies[0].seeds)
    return np.hstack([bootstrap_metric(tallies, metric, draws) for draws in (once, resamples)])


def guessing(tally: Tally, metric: Metric) -> float:
    """Return the metric of always naming the commonest class."""
    commonest = np.bincount(tally.actual, weights=tally.times).argmax()
    constant = replace(tally, named=np.full_like(tally.named, commonest))
    once = Resamples.once(tally.samples, tally.seeds)
    return float(bootstrap_metric([constant], metric, once)[0, 0])


def trials(tally: Tally, metric: Metric) -> int:
    """Return how many independent trials the metric rests on.

    The test samples; if the metric is a mean over classes, as many as if every class had no more
    of them than the rarest one.
    """
    samples = tally.samples_by_class()
    return int(len(samples) * samples.min() if metric.by_class else samples.sum())
