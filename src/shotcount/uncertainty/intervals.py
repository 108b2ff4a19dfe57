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
    (Satterthwaite, Biometrics Bulletin 1946). `trials` is how many samples the number rests on, if
    not on all.
    """
    return _varying(replicates, resamples, trials)[0]


def _varying(
    replicates: np.ndarray, resamples: Resamples, trials: int | None = None
) -> tuple[float, int, float]:
    """Return degrees of freedom, those of the samples alone, and how narrow the replicates are.

    The last is their spread, as a part of what all of the samples' spread would give them. With
    folds, a part of the samples' variance is left to the seeds (`bootstrap.resample`). Few seeds
    may happen to vary less than this part; but the variance can't be less than that of the samples
    alone.
    """
    *of_seeds, rest = _shares(replicates, resamples)
    of_samples = max((trials or resamples.samples.shape[1]) - 1, 1)
    inverse = rest**2 / of_samples
    for share, times in zip(of_seeds, resamples.seeds, strict=True):
        inverse += share**2 / max(times.shape[1] - 1, 1)
    narrow = float((resamples.apart / rest) ** 0.5) if rest > 0 else 1.0
    return float(1 / inverse), of_samples, narrow


def _shares(replicates: np.ndarray, resamples: Resamples) -> list[float]:
    """Return the shares of the replicates' variance: of each group of seeds, and of the samples.

    The seeds' share is the part of the replicates' ranks that their draws explain (ranks, since a
    replicate may be infinite).
    """
    rank = stats.rankdata(replicates)
    rank -= rank.mean()
    total, rest, found = (rank**2).sum(), 1.0, []
    for times in resamples.seeds:
        share = 0.0
        if total > 0 and times.shape[1] > 1:
            centred = times - times.mean(axis=0)
            explained = centred @ np.linalg.lstsq(centred, rank, rcond=None)[0]
            share = min(float((explained**2).sum() / total), rest)
        rest -= share
        found.append(share)
    return [*found, rest]


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
    freedom, of_samples, narrow = _varying(replicates, resamples, trials)
    tail = (1 - level) / 2
    t = min(stats.t.ppf(tail, freedom), stats.t.ppf(tail, of_samples) / narrow)
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
    freedom, of_samples, narrow = _varying(differences, resamples)
    return float(2 * max(stats.t.cdf(z, freedom), stats.t.cdf(z * narrow, of_samples)))


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
