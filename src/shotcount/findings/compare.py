"""Compare strategies, ways to spend equally many photos, and numbers of views."""

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from shotcount.findings.learning import Learning, measured
from shotcount.uncertainty.bootstrap import bootstrap_mean, difference
from shotcount.uncertainty.intervals import Estimate, accuracy_interval, holm, p_value


@dataclass(frozen=True)
class Comparison:
    """How far one strategy is ahead of another on the same test samples."""

    better: str
    worse: str
    lead: Estimate  # difference of the accuracies
    p_holm: float  # adjusted for the number of comparisons


def compare_strategies(learnings: list[Learning]) -> list[Comparison]:
    """Compare all pairs of strategies at the largest subset that all were trained on.

    Paired: each replicate draws the same test samples for both strategies, and seeds for each.
    """
    pairs = []
    at = common_largest(learnings)
    for one, other in combinations(learnings, 2):
        rows = other.error[:, at[other.strategy]] - one.error[:, at[one.strategy]]
        if rows[0] < 0:
            one, other, rows = other, one, -rows
        both = difference(one.resamples, other.resamples)
        pairs.append((one.strategy, other.strategy, measured(rows, both), p_value(rows[1:], both)))
    adjusted = holm([p for *_, p in pairs])
    return [Comparison(*pair[:3], p) for pair, p in zip(pairs, adjusted, strict=True)]


def common_largest(learnings: list[Learning]) -> dict[str, int]:
    """Return each strategy's index of the largest cell that all strategies have."""
    sizes = [set(zip(own.samples, own.angles, strict=True)) for own in learnings]
    samples, angles = max(set.intersection(*sizes), key=lambda size: size[0] * size[1])
    return {
        own.strategy: int(np.flatnonzero((own.samples == samples) & (own.angles == angles))[0])
        for own in learnings
    }


@dataclass(frozen=True)
class Trade:
    """Equally many photos: more samples from fewer angles, or fewer samples from more angles."""

    strategy: str
    photos: int
    more_samples: int
    fewer_angles: int
    fewer_samples: int
    more_angles: int
    gain: Estimate  # accuracy of the former minus that of the latter


def equal_budgets(learning: Learning) -> list[Trade]:
    """Compare neighbouring cells with equally many photos, paired by test samples and seeds."""
    order = np.lexsort((-learning.samples, learning.photos))
    trades = []
    for one, other in pairwise(order):
        if learning.photos[one] == learning.photos[other]:
            gain = learning.error[:, other] - learning.error[:, one]
            trades.append(
                Trade(
                    learning.strategy,
                    int(learning.photos[one]),
                    int(learning.samples[one]),
                    int(learning.angles[one]),
                    int(learning.samples[other]),
                    int(learning.angles[other]),
                    measured(gain, learning.resamples),
                )
            )
    return trades


@dataclass(frozen=True)
class ViewsAccuracy:
    """Accuracy for whole samples seen from several angles: a row of `tables.VIEWS`."""

    strategy: str
    views: int
    accuracy: Estimate


def accuracy_by_views(
    learning: Learning, right: np.ndarray, samples: np.ndarray
) -> list[ViewsAccuracy]:
    """Return the accuracies, with intervals, from the results of `right_by_views`."""
    replicates = bootstrap_mean(right, samples, learning.resamples)
    values = right.mean(axis=(1, 2))
    return [
        ViewsAccuracy(
            learning.strategy, v, Estimate(float(mean), *accuracy_interval(r, learning.resamples))
        )
        for v, (mean, r) in enumerate(zip(values, replicates, strict=True), start=1)
    ]
