"""Bootstrap over test samples and training seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PIECE = 2**28  # bytes of weights at once


@dataclass(frozen=True)
class Resamples:
    """How often each replicate of a bootstrap drew each test sample and each training seed.

    Each resamples test samples with replacement, whole, and training seeds with replacement: the
    pigeonhole bootstrap of crossed random effects (Owen, "The pigeonhole bootstrap", Annals of
    Applied Statistics 2007). One draw fewer than there are samples (seeds) makes the variance
    unbiased, which matters for two to five seeds (Rao and Wu, "Resampling inference with complex
    survey data", JASA 1988). Assumes that samples and seeds are exchangeable; how much runs
    vary can't be seen from a single seed, and counts as nothing.
    """

    samples: np.ndarray  # (replicates, samples): times
    seeds: tuple[np.ndarray, ...]  # (replicates, seeds) of each strategy involved: shares


def resample(
    samples: int, seeds: Sequence[int], replicates: int, rng: np.random.Generator
) -> list[Resamples]:
    """Draw `samples` test samples, the same for all strategies, and each strategy's seeds."""

    def times(count: int, replicates: int) -> np.ndarray:
        return rng.multinomial(max(count - 1, 1), np.full(count, 1 / count), replicates)

    # As bytes, since many test samples make a large table: no sample is drawn 256 times.
    shared = np.empty((replicates, samples), np.uint8)
    for piece in _pieces(shared):
        shared[piece] = times(samples, len(shared[piece]))
    return [Resamples(shared, (times(count, replicates) / max(count - 1, 1),)) for count in seeds]


def bootstrap_mean(hits: np.ndarray, samples: np.ndarray, resamples: Resamples) -> np.ndarray:
    """Replicate the mean over photos and seeds, for every cell of one strategy.

    A seed's subsets nest and all cells are tested on the same samples, so differences between
    cells (and between strategies, whose resamples share the samples) are paired.

    Parameters
    ----------
    hits : ndarray of shape (cells, seeds, photos), bool or float
        Whether (or how often) each seed of each cell got each photo right.
    samples : ndarray of shape (photos,)
        The sample that each photo shows.
    resamples : Draws
        Of as many samples and seeds.

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
    """Divide the replicates so that those of a piece, as float64, take at most `PIECE` bytes."""
    replicates, count = samples.shape
    step = max(1, PIECE // (8 * count))
    return [slice(start, start + step) for start in range(0, replicates, step)]


def difference(one: Resamples, other: Resamples) -> Resamples:
    """Return the resamples behind a difference between two strategies."""
    return Resamples(one.samples, one.seeds + other.seeds)
