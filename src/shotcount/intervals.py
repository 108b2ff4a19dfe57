"""Uncertainty of test accuracy when photos come in clusters: the physical samples.

Photos of one sample succeed or fail together, so the test split is worth about as many
observations as it has samples, not photos.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def bootstrap_accuracy(
    correct: Sequence[np.ndarray], samples: np.ndarray, replicates: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw replicates of the test accuracy of several systems on the same test photos.

    Each replicate draws test samples with replacement, whole, and each system's training seeds
    with replacement: the pigeonhole bootstrap of crossed random effects (Owen, "The pigeonhole
    bootstrap", Annals of Applied Statistics 2007). The samples drawn are the same for every
    system, so differences of replicates are paired.

    Parameters
    ----------
    correct : sequence of ndarray of shape (seeds, photos), bool
        Whether each system got each test photo right; systems may differ in seeds.
    samples : ndarray of shape (photos,)
        The sample that each photo shows.
    replicates : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (systems, replicates), float64
    """
    names, cluster = np.unique(samples, return_inverse=True)
    size = np.bincount(cluster)  # (clusters,) photos
    share = np.full(len(names), 1 / len(names))
    drawn = rng.multinomial(len(names), share, replicates)  # (replicates, clusters)
    photos = drawn @ size  # (replicates,)
    accuracy = np.empty((len(correct), replicates))
    for system, hits in enumerate(correct):
        seeds = len(hits)
        per_cluster = np.stack([np.bincount(cluster, weights=row) for row in hits])
        per_seed = drawn @ per_cluster.T / photos[:, None]  # (replicates, seeds)
        weight = rng.multinomial(seeds, np.full(seeds, 1 / seeds), replicates) / seeds
        accuracy[system] = (per_seed * weight).sum(axis=1)
    return accuracy


def interval(replicates: np.ndarray, clusters: int, level: float = 0.95) -> tuple[float, float]:
    """Return the expanded percentile interval of a bootstrap over `clusters` clusters.

    The plain percentile interval is too narrow for few clusters, as if a normal quantile and
    the biased standard deviation were used; the expansion takes the percentiles at which it
    would agree with Student's t (Hesterberg, "What teachers should know about the bootstrap",
    The American Statistician 2015, section 3.3).
    """
    t = stats.t.ppf((1 - level) / 2, clusters - 1) if clusters > 1 else -np.inf
    tail = stats.norm.cdf(t * np.sqrt(clusters / max(clusters - 1, 1)))
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def accuracy_interval(
    replicates: np.ndarray, clusters: int, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of an accuracy, honest also where every photo was right (or wrong).

    Then all replicates agree, and the far end is the exact binomial bound of as many trials as
    there are clusters (Clopper and Pearson, Biometrika 1934).
    """
    low, high = interval(replicates, clusters, level)
    if replicates.min() == replicates.max() == 1:
        low = ((1 - level) / 2) ** (1 / clusters)
    if replicates.min() == replicates.max() == 0:
        high = 1 - ((1 - level) / 2) ** (1 / clusters)
    return float(low), float(high)
