"""Uncertainty of test accuracy when photos come in clusters: the physical samples.

Photos of one sample succeed or fail together, so the test split is worth about as many
observations as it has samples, not photos. And a training run is one draw of many: another
subset, initialisation and order of the same size would have given another accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

PIECE = 2**28  # bytes of weights at once


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; an end may be infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """How often each replicate of a bootstrap drew each test sample and each training seed.

    Each draws test samples with replacement, whole, and training seeds with replacement: the
    pigeonhole bootstrap of crossed random effects (Owen, "The pigeonhole bootstrap", Annals of
    Applied Statistics 2007). One draw fewer than there are samples (seeds) makes the variance
    unbiased, which matters for two to five seeds (Rao and Wu, "Resampling inference with complex
    survey data", JASA 1988). Assumes that samples and seeds are exchangeable; how much runs
    vary can't be seen from a single seed, and counts as nothing.
    """

    samples: np.ndarray  # (replicates, samples): times
    seeds: tuple[np.ndarray, ...]  # (replicates, seeds) of each strategy involved: shares


def draw(
    samples: int, seeds: Sequence[int], replicates: int, rng: np.random.Generator
) -> list[Draws]:
    """Draw `samples` test samples, the same for all strategies, and each strategy's seeds."""

    def times(count: int, replicates: int) -> np.ndarray:
        return rng.multinomial(max(count - 1, 1), np.full(count, 1 / count), replicates)

    # As bytes, since many test samples make a large table: no sample is drawn 256 times.
    shared = np.empty((replicates, samples), np.uint8)
    for piece in _pieces(shared):
        shared[piece] = times(samples, len(shared[piece]))
    return [Draws(shared, (times(count, replicates) / max(count - 1, 1),)) for count in seeds]


def bootstrap_mean(hits: np.ndarray, samples: np.ndarray, draws: Draws) -> np.ndarray:
    """Replicate the mean over photos and seeds, for every cell of one strategy.

    A seed's subsets nest and all cells are tested on the same samples, so differences between
    cells (and between strategies, whose draws share the samples) are paired.

    Parameters
    ----------
    hits : ndarray of shape (cells, seeds, photos), bool or float
        Whether (or how often) each seed of each cell got each photo right.
    samples : ndarray of shape (photos,)
        The sample that each photo shows.
    draws : Draws
        Of as many samples and seeds.

    Returns
    -------
    ndarray of shape (cells, replicates), float64
    """
    _, cluster, photos = np.unique(samples, return_inverse=True, return_counts=True)
    order, starts = np.argsort(cluster, kind="stable"), np.cumsum(photos) - photos
    per_sample = np.add.reduceat(hits[..., order], starts, axis=-1, dtype=np.float64)
    replicates = []
    for piece in _pieces(draws.samples):
        weights = draws.samples[piece] / draws.samples[piece].sum(axis=1, keepdims=True)
        per_seed = per_sample @ weights.T  # (cells, seeds, replicates)
        mean = np.einsum("csr,rs->cr", per_seed, draws.seeds[0][piece])
        replicates.append(mean / (weights @ photos.astype(np.float64)))
    return np.concatenate(replicates, axis=1)


def _pieces(samples: np.ndarray) -> list[slice]:
    """Divide the replicates so that those of a piece, as float64, take at most `PIECE` bytes."""
    replicates, count = samples.shape
    step = max(1, PIECE // (8 * count))
    return [slice(start, start + step) for start in range(0, replicates, step)]


def difference(one: Draws, other: Draws) -> Draws:
    """Return the draws behind a difference between two strategies."""
    return Draws(one.samples, one.seeds + other.seeds)


def degrees_of_freedom(replicates: np.ndarray, draws: Draws) -> float:
    """On how many observations, less one, the spread of replicates rests.

    Where seeds matter more than samples, that is few. Welch and Satterthwaite's approximation
    (Satterthwaite, Biometrics Bulletin 1946); the seeds' share of the variance is that which
    their weights explain of the replicates' ranks (ranks, since a replicate may be infinite).
    """
    rank = stats.rankdata(replicates)
    rank -= rank.mean()
    total, rest, inverse = (rank**2).sum(), 1.0, 0.0
    for weights in draws.seeds:
        seeds = weights.shape[1]
        if total > 0 and seeds > 1:
            centred = weights - weights.mean(axis=0)
            explained = centred @ np.linalg.lstsq(centred, rank, rcond=None)[0]
            share = min((explained**2).sum() / total, rest)
            rest -= share
            inverse += share**2 / (seeds - 1)
    inverse += rest**2 / max(draws.samples.shape[1] - 1, 1)
    return float(1 / inverse)


def interval(replicates: np.ndarray, draws: Draws, level: float = 0.95) -> tuple[float, float]:
    """Return the expanded percentile interval of a bootstrap.

    The percentiles are those at which it would agree with Student's t rather than the normal
    distribution (Hesterberg, "What teachers should know about the bootstrap", The American
    Statistician 2015, section 3.3).

    Parameters
    ----------
    replicates : ndarray of shape (replicates,)
        Of one number; infinity stands for one without bound.
    draws : Draws
        What they come from.
    """
    t = stats.t.ppf((1 - level) / 2, degrees_of_freedom(replicates, draws))
    ordered = np.sort(replicates)
    # The outer one of two order statistics: infinities can't be averaged.
    place = int(stats.norm.cdf(t) * (len(ordered) - 1))
    return float(ordered[place]), float(ordered[len(ordered) - 1 - place])


def accuracy_interval(
    replicates: np.ndarray, draws: Draws, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of an accuracy, honest also where every photo was right (or wrong).

    Then all replicates agree, and the far end is the exact binomial bound of as many trials as
    there are test samples (Clopper and Pearson, Biometrika 1934).
    """
    low, high = interval(replicates, draws, level)
    bound = ((1 - level) / 2) ** (1 / draws.samples.shape[1])
    if np.allclose(replicates, 1):
        low = bound
    if np.allclose(replicates, 0):
        high = 1 - bound
    return float(low), float(high)


def p_value(differences: np.ndarray, draws: Draws) -> float:
    """Two-sided p-value of no difference, by how far the replicates' tail reaches across 0.

    The level of the widest `interval` that leaves out 0 (Efron and Tibshirani, "An introduction
    to the bootstrap", 1993, section 15.4); 1 is added to both counts so that it is never 0
    (Davison and Hinkley, "Bootstrap methods and their application", 1997, section 4.2).
    """
    below, above = np.sum(differences <= 0), np.sum(differences >= 0)
    tail = min((min(below, above) + 1) / (len(differences) + 1), 0.5)
    return float(2 * stats.t.cdf(stats.norm.ppf(tail), degrees_of_freedom(differences, draws)))


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
