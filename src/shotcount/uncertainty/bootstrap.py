"""Bootstrap of the test accuracy over test samples and training seeds.

Photos of one sample tend to be right or wrong together, so the test split is worth about as many
observations as it has samples, not photos. And a training run is one of many possible runs: another
subset, initialisation and order of the same size would have given another accuracy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

PIECE = 2**26  # bytes of weights computed at once
# With folds, shares of the spread of seeds and of samples that is resampled. Their squares sum to
# about 1 (docs/statistics.md).
SEEDS_IN_FOLDS, SAMPLES_IN_FOLDS = 7 / 8, 1 / 2


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

    # (replicates, samples) times that each was drawn; with folds, one more
    samples: np.ndarray
    # For each strategy: (replicates, seeds) weights, multiples of a power of 2 with the same sum in
    # every replicate. So totals are exact, in whatever order a processor adds.
    seeds: tuple[np.ndarray, ...]

    @classmethod
    def once(cls, samples: int, seeds: int) -> "Resamples":
        """Return one replicate, which draws every sample and seed once: what is measured."""
        return cls(np.ones((1, samples), np.uint8), (np.ones((1, seeds)),))

    def only(self, kept: np.ndarray) -> "Resamples":
        """Return some of the replicates: `kept` is bool, (replicates,)."""
        return Resamples(self.samples[kept], tuple(weights[kept] for weights in self.seeds))


def resample(
    samples: int,
    seeds: Sequence[int],
    replicates: int,
    rng: np.random.Generator,
    folds: bool = False,
) -> list[Resamples]:
    """Resample the test samples, once for all strategies, and the seeds of each strategy.

    Parameters
    ----------
    samples : int
        Number of samples that are tested.
    seeds : sequence of int
        Number of seeds of each strategy.
    replicates : int
    rng : numpy.random.Generator
    folds : bool
        Whether each seed tests other samples than the seeds before. Then the results of seeds
        vary with their samples, too: to resample both would count this part twice. So samples are
        resampled with `SAMPLES_IN_FOLDS` of their spread, and seeds with `SEEDS_IN_FOLDS`.
    """
    spread = SEEDS_IN_FOLDS if folds else 1.0
    once = round(1 / SAMPLES_IN_FOLDS) - 1 if folds else 0  # added to what is drawn

    # A generator for each strategy: another number of seeds changes no other strategy's interval.
    rng, *of_strategies = rng.spawn(1 + len(seeds))

    def times(count: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
        return rng.multinomial(max(count - 1, 1), np.full(count, 1 / count), replicates)

    # uint8, since the table can be large; no sample is drawn 256 times.
    shared = np.empty((replicates, samples), np.uint8)
    for piece in _pieces(shared):
        shared[piece] = once + times(samples, len(shared[piece]), rng)
    drawn = []
    for count, own in zip(seeds, of_strategies, strict=True):
        weights = times(count, replicates, own).astype(np.float64)
        if count > 1:
            weights = (1 - spread) * (count - 1) + spread * count * weights
        drawn.append(Resamples(shared, (weights,)))
    return drawn


def bootstrap_mean(hits: np.ndarray, samples: np.ndarray, resamples: Resamples) -> np.ndarray:
    """Return bootstrap replicates of the mean over photos and seeds, for each cell of a strategy.

    A seed's subsets are nested and all cells are tested on the same samples, so differences between
    cells (and between strategies, whose resamples share the test samples) are paired.

    Parameters
    ----------
    hits : ndarray of shape (cells, seeds, photos), bool or float
        Whether (or how often) each seed of each cell predicted each photo correctly. NaN where the
        seed didn't test the photo, in all cells.
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

    def by_sample(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values[..., order], starts, axis=-1, dtype=np.float64)

    right = by_sample(np.nan_to_num(hits))  # (cells, seeds, samples) photos
    right = right.reshape(-1, right.shape[-1])
    tested = by_sample(~np.isnan(hits[0]))  # (seeds, samples) photos
    return np.concatenate(
        [totals(right, draws) / totals(tested, draws) for draws in in_pieces(resamples)], axis=1
    )


Part = Literal["weighted", "drawn", "undrawn"]
Draws = tuple[np.ndarray, np.ndarray]  # weights (samples, replicates) and (replicates, seeds)


def in_pieces(resamples: Resamples, part: Part = "weighted") -> Iterator[Draws]:
    """Yield the weights of some replicates at a time, as float64, to bound the memory for it.

    `part` tells which samples and seeds count: all, with their weights; those that the replicate
    drew, as often as it drew them; or those that it did not draw. It draws fewer than there are, so
    some are left, unless there is only one.
    """
    for piece in _pieces(resamples.samples):
        times, seeds = (
            _of_part(own.astype(np.float64), part)
            for own in (resamples.samples[piece], resamples.seeds[0][piece])
        )
        yield np.ascontiguousarray(times.T), seeds


def _of_part(weights: np.ndarray, part: Part) -> np.ndarray:
    """Return the weights (replicates, samples or seeds) that count; see `in_pieces`."""
    if part == "weighted":
        return weights
    least = weights.min(axis=1, keepdims=True)  # of what was not drawn
    if part == "undrawn":
        return (weights == least) * 1.0
    return weights - least if weights.shape[1] > 1 else weights


def totals(sums: np.ndarray | sparse.sparray, draws: Draws) -> np.ndarray:
    """Return the totals over the samples and seeds that each replicate drew.

    Parameters
    ----------
    sums : ndarray or sparse array of shape (counts x seeds, samples)
        Several counts of every seed and sample: all seeds of the first, then of the second.
    draws : tuple
        Some of the replicates, from `in_pieces`.

    Returns
    -------
    ndarray of shape (counts, replicates), float64
    """
    samples, seeds = draws
    drawn = (sums @ samples).reshape(-1, seeds.shape[1], samples.shape[1])
    return np.einsum("csr,rs->cr", drawn, seeds)


def _pieces(samples: np.ndarray) -> list[slice]:
    """Divide the replicates into slices that, as float64, take at most `PIECE` bytes each."""
    replicates, count = samples.shape
    step = max(1, PIECE // (8 * count))
    return [slice(start, start + step) for start in range(0, replicates, step)]


def difference(one: Resamples, other: Resamples) -> Resamples:
    """Return the resamples behind a difference between two strategies."""
    return Resamples(one.samples, one.seeds + other.seeds)
