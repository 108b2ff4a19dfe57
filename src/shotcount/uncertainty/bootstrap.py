"""Bootstrap of the test accuracy over test samples and training seeds.

Photos of one sample tend to be right or wrong together, so the test split is worth about as many
observations as it has samples, not photos. And a training run is one of many possible runs: another
subset, initialisation and order of the same size would have given another accuracy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import sparse

from shotcount.core.seeds import seed_for

PIECE = 2**26  # bytes of weights computed at once
SEEDS_IN_FOLDS = 7 / 8  # share of their spread that is resampled; see `resample`


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
    seeds: tuple[np.ndarray, ...]  # the same of seeds, for each group that is drawn by itself
    # Shares of the spread that is resampled, multiples of 1/16: so all weights are multiples of a
    # power of 2, and totals are exact, in whatever order a processor adds.
    of_samples: float = 1.0
    of_seeds: float = 1.0
    # The share of the samples' variance that the replicates have apart from what seeds explain
    apart: float = 1.0

    @classmethod
    def once(cls, samples: int, seeds: int) -> "Resamples":
        """Return one replicate, which draws every sample and seed once: what is measured."""
        return cls(np.ones((1, samples), np.uint8), (np.ones((1, seeds), np.uint8),))

    def only(self, kept: np.ndarray) -> "Resamples":
        """Return some of the replicates: `kept` is bool, (replicates,)."""
        seeds = tuple(times[kept] for times in self.seeds)
        return replace(self, samples=self.samples[kept], seeds=seeds)


def resample(
    samples: int,
    seeds: Sequence[int],
    replicates: int,
    rng: np.random.Generator,
    folds: int = 1,
) -> list[Resamples]:
    """Resample the test samples, once for all strategies, and the seeds of each strategy.

    A seed stands for the same split and subsets in all strategies, so those with equally many seeds
    share their draws, too. With folds, this holds for each partition of the samples into folds.

    Parameters
    ----------
    samples : int
        Number of samples that are tested.
    seeds : sequence of int
        Number of seeds of each strategy, a multiple of `folds`.
    replicates : int
    rng : numpy.random.Generator
    folds : int
        Each seed tests one of so many folds of the samples. Then the results of seeds vary with
        their samples, too: to resample both in full would count this part twice. So seeds are
        resampled with `SEEDS_IN_FOLDS` of their spread, and samples with what is missing of theirs.
    """
    root = int(rng.integers(2**63))

    def times(count: int, *name: str | int) -> np.ndarray:
        # A generator for each draw: another number of seeds changes no other strategy's interval.
        own = np.random.default_rng(seed_for(root, *name))
        # uint8, since the table can be large; no sample is drawn 256 times.
        table = np.empty((replicates, count), np.uint8)
        for piece in _pieces(table):
            size = len(table[piece])
            table[piece] = own.multinomial(max(count - 1, 1), np.full(count, 1 / count), size)
        return table

    shared = times(samples, "samples")
    if folds == 1:
        groups = {count: times(count, "seeds", count) for count in set(seeds)}
        return [Resamples(shared, (groups[count],)) for count in seeds]
    partitions = [times(folds, "partition", number) for number in range(max(seeds) // folds)]
    drawn = []
    for count in seeds:
        own = tuple(partitions[: count // folds])
        # The seeds' draws have a share of the samples' variance, the less, the more partitions.
        of_seeds = SEEDS_IN_FOLDS**2 / len(own)
        of_samples = round(16 * (1 - of_seeds) ** 0.5) / 16
        apart = of_samples**2 * (1 + of_seeds)  # samples vary more where seeds weigh unequally
        drawn.append(Resamples(shared, own, of_samples, SEEDS_IN_FOLDS, apart))
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
        samples = _weights(resamples.samples[piece], part, resamples.of_samples)
        seeds = [_weights(times[piece], part, resamples.of_seeds) for times in resamples.seeds]
        yield np.ascontiguousarray(samples.T), np.hstack(seeds)


def _weights(times: np.ndarray, part: Part, share: float) -> np.ndarray:
    """Return the weights (replicates, samples or seeds) that count; see `in_pieces`."""
    count = times.shape[1]
    if part == "drawn":
        return times.astype(np.float64)
    if part == "undrawn":
        return (times == times.min(axis=1, keepdims=True)).astype(np.float64)
    # Their mean is the same in every replicate, and with `share` 1 each is `count` x `times`.
    return (1 - share) * (count - 1) + share * count * times


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
    more = (times for times in other.seeds if not any(times is own for own in one.seeds))
    return replace(one, seeds=(*one.seeds, *more), apart=max(one.apart, other.apart))
