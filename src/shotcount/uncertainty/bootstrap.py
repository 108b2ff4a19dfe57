"""Bootstrap of the test accuracy over test samples and training seeds.

Photos of one sample tend to be right or wrong together, so the test split is worth about as many
observations as it has samples, not photos. And a training run is one of many possible runs: another
subset, initialisation and order of the same size would have given another accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PIECE = 2**28  # bytes of weights computed at once


@dataclass(frozen=True)
class Resamples:
    """How often each bootstrap replicate drew each test sample and each training seed.

    A replicate draws test samples (with all their photos) and training seeds, both with
    replacement: the pigeonhole bootstrap of crossed random effects (Owen, "The pigeonhole
    bootstrap", Annals of Applied Statistics 2007). It draws one fewer than there are samples
    (seeds): this makes the variance unbiased, which matters for two to five seeds (Rao and Wu,
    "Resampling inference with complex survey data", JASA 1988). Assumes that samples and seeds are
    exchangeable. The variance between runs can't be seen from a single seed; it is then treated as
    zero.
    """

    samples: np.ndarray  # (replicates, samples) times that each was drawn
    seeds: tuple[np.ndarray, ...]  # for each strategy: (replicates, seeds) shares of the draws


def resample(
    samples: int, seeds: Sequence[int], replicates: int, rng: np.random.Generator
) -> list[Resamples]:
    """Resample the test samples, once for all strategies, and the seeds of each strategy.

    `samples` is the number of test samples, `seeds` the number of seeds of each strategy.
    """

    def times(count: int, replicates: int) -> np.ndarray:
        return rng.multinomial(max(count - 1, 1), np.full(count, 1 / count), replicates)

    # uint8, since the table can be large; no sample is drawn 256 times.
    shared = np.empty((replicates, samples), np.uint8)
    for piece in _pieces(shared):
        shared[piece] = times(samples, len(shared[piece]))
    return [Resamples(shared, (times(count, replicates) / max(count - 1, 1),)) for count in seeds]


def bootstrap_mean(hits: np.ndarray, samples: np.ndarray, resamples: Resamples) -> np.ndarray:
    """Return bootstrap replicates of the mean over photos and seeds, for each cell of a strategy.

    A seed's subsets are nested and all cells are tested on the same samples, so differences between
    cells (and between strategies, whose resamples share the test samples) are paired.

    Parameters
    ----------
    hits : ndarray of shape (cells, seeds, photos), bool or float
        Whether (or how often) each seed of each cell predicted each photo correctly.
    samples : ndarray of shape (photos,)
        The sample that each photo shows.
    resamples : Resamples
        For the same numbers of samples and seeds.

    Returns
    -------
    ndarray of shape (cells, replicates), float64
    """
    _, cluster, photos = np.unique(samples, return_inverse=True, return_counts=True)
    order, starts = np.argsort(cluster, kind="stable"), np.cumsum(photos) - photos
    per_sample = np.add.reduceat(hits[..., order], starts, axis=-1, dtype=np.float64)
    replicates = []
    for piece in _pieces(resamples.samples):
        weights = resamples.samples[piece] / resamples.samples[piece].sum(axis=1, keepdims=True)
        per_seed = per_sample @ weights.T  # (cells, seeds, replicates)
        mean = np.einsum("csr,rs->cr", per_seed, resamples.seeds[0][piece])
        replicates.append(mean / (weights @ photos.astype(np.float64)))
    return np.concatenate(replicates, axis=1)


def _pieces(samples: np.ndarray) -> list[slice]:
    """Divide the replicates into slices that, as float64, take at most `PIECE` bytes each."""
    replicates, count = samples.shape
    step = max(1, PIECE // (8 * count))
    return [slice(start, start + step) for start in range(0, replicates, step)]


def difference(one: Resamples, other: Resamples) -> Resamples:
    """Return the resamples behind a difference between two strategies."""
    return Resamples(one.samples, one.seeds + other.seeds)
