"""Confidence intervals and p-values from bootstrap replicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from shotcount.uncertainty.bootstrap import Resamples

# Samples that a bootstrap needs. If all of five gained, chance would do so in 2 of 2^5 cases: too
# many for 95 % (sign test).
FEWEST = 6


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % confidence interval; an end may be infinite."""

    value: float
    low: float
    high: float


def degrees_of_freedom(
    replicates: np.ndarray, resamples: Resamples, trials: int | None = None
) -> float:
    """Return the degrees of freedom of the replicates' variance.

    There are few where seeds matter more than samples. Welch and Satterthwaite's approximation
    (Satterthwaite, Biometrics Bulletin 1946). The seeds' share of the variance is the part of the
    replicates' ranks that their weights explain (ranks, since a replicate may be infinite).
    `trials` is how many samples the number rests on, if not on all.
    """
    rank = stats.rankdata(replicates)
    rank -= rank.mean()
    total, rest, inverse = (rank**2).sum(), 1.0, 0.0
    for weights in resamples.seeds:
        seeds = weights.shape[1]
        if total > 0 and seeds > 1:
            centred = weights - weights.mean(axis=0)
            explained = centred @ np.linalg.lstsq(centred, rank, rcond=None)[0]
            share = min((explained**2).sum() / total, rest)
            rest -= share
            inverse += share**2 / (seeds - 1)
    inverse += rest**2 / max((trials or resamples.samples.shape[1]) - 1, 1)
    return float(1 / inverse)


def interval(
    replicates: np.ndarray, resamples: Resamples, level: float = 0.95, trials: int | None = None
) -> tuple[float, float]:
    """Return the expanded percentile interval of a bootstrap.

    The percentiles are chosen so that the interval of normally distributed replicates is as wide
    as that of Student's t (Hesterberg, "What teachers should know about the bootstrap", The
    American Statistician 2015, section 3.3).

    Parameters
    ----------
    replicates : ndarray of shape (replicates,)
        Bootstrap replicates of one number; may be infinite.
    resamples : Resamples
        The resamples behind the replicates.
    trials : int, optional
        How many samples the number rests on, if not on all.
    """
    t = stats.t.ppf((1 - level) / 2, degrees_of_freedom(replicates, resamples, trials))
    ordered = np.sort(replicates)
    # The outer of two order statistics: infinities can't be interpolated.
    place = int(stats.norm.cdf(t) * (len(ordered) - 1))
    return float(ordered[place]), float(ordered[len(ordered) - 1 - place])


def accuracy_interval(
    replicates: np.ndarray,
    resamples: Resamples,
    level: float = 0.95,
    trials: int | None = None,
) -> tuple[float, float]:
    """Return the interval of an accuracy, also where every photo is right (or wrong).

    There all replicates are equal, and the far end is the exact binomial bound for as many `trials`
    (default: the test samples; Clopper and Pearson, Biometrika 1934).
    """
    low, high = interval(replicates, resamples, level)
    bound = ((1 - level) / 2) ** (1 / (trials or resamples.samples.shape[1]))
    if np.allclose(replicates, 1):
        low = bound
    if np.allclose(replicates, 0):
        high = 1 - bound
    return float(low), float(high)


def mean_interval(
    replicates: np.ndarray,
    resamples: Resamples,
    lowest: float = 0.0,
    level: float = 0.95,
    trials: int | None = None,
) -> tuple[float, float]:
    """Return the interval of a mean over samples, also from few of them or where all are alike.

    With fewer than `FEWEST` test samples a bootstrap sees too little of the spread. There it is the
    exact binomial interval for as many trials as there are test samples (Clopper and Pearson,
    Biometrika 1934), of which the mean is the share of successes: no other values between the
    lowest and the highest spread more. Where all replicates are equal, all samples are; the
    interval allows for as many others, of any value, as could have been missed (their exact
    binomial bound).

    Parameters
    ----------
    replicates, resamples, level
        As for `interval`.
    lowest : float
        The smallest possible value: 0 for an accuracy, -1 for a difference of accuracies. The
        largest is 1.
    trials : int, optional
        How many samples the mean is of, if not of all.
    """
    count, tail = trials or resamples.samples.shape[1], (1 - level) / 2
    value = (float(np.mean(replicates)) - lowest) / (1 - lowest)  # 0 to 1
    if np.allclose(replicates, replicates[0]):
        share = tail ** (1 / count)  # of all samples, at least so many are like these
        low, high = share * value, 1 - share * (1 - value)
    elif count < FEWEST:
        right = count * value
        low = stats.beta.ppf(tail, right, count - right + 1)
        high = stats.beta.ppf(1 - tail, right + 1, count - right)
    else:
        return interval(replicates, resamples, level, trials)
    return float(lowest + (1 - lowest) * low), float(lowest + (1 - lowest) * high)


def p_value(differences: np.ndarray, resamples: Resamples) -> float:
    """Return the two-sided p-value of no difference, from the share of replicates beyond 0.

    It is 1 minus the level of the widest `interval` that excludes 0 (Efron and Tibshirani, "An
    introduction to the bootstrap", 1993, section 15.4). 1 is added to both counts, so p is never 0
    (Davison and Hinkley, "Bootstrap methods and their application", 1997, section 4.2). Where no
    replicate lies beyond 0, how far beyond it would have to be is told by their standard deviation:
    with few degrees of freedom, the number of replicates alone would keep p above 0.05.
    """
    beyond = min(np.sum(differences <= 0), np.sum(differences >= 0))
    z = stats.norm.ppf(min((beyond + 1) / (len(differences) + 1), 0.5))
    if beyond == 0 and not np.allclose(differences, differences[0]):
        z = min(z, -abs(differences.mean()) / differences.std())
    return float(2 * stats.t.cdf(z, degrees_of_freedom(differences, resamples)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for several comparisons (Holm, Scandinavian Journal of Statistics 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1)
    return [float(p) for p in adjusted]
