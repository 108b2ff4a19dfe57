"""How often the seeds named each class: what every metric of the answer is computed from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from shotcount.scoring.predictions import class_indices, probabilities


class Tested(ABC):
    """What the seeds of a cell tested: entries of a seed and a sample, numbered from 0."""

    seed: np.ndarray  # (entries,) int
    sample: np.ndarray  # (entries,) int, in ascending order of the names

    @property
    def seeds(self) -> int:
        return int(self.seed.max()) + 1

    @property
    def samples(self) -> int:
        return int(self.sample.max()) + 1

    @property
    def pair(self) -> np.ndarray:
        """Number of each entry's seed and sample, as one: (entries,) int64."""
        return np.asarray(self.seed.astype(np.int64) * self.samples + self.sample)

    @property
    def folds(self) -> int:
        """Into how many folds the samples were divided: each seed tested one of them."""
        return round(self.seeds * self.samples / len(np.unique(self.pair)))

    @abstractmethod
    def samples_by_class(self) -> np.ndarray:
        """Return the number of test samples that have each class: ndarray (classes,), int."""

    @property
    def imbalance(self) -> float:
        """How many times as many test samples the commonest class has as the rarest."""
        samples = self.samples_by_class()
        return float(samples.max() / samples[samples > 0].min())


@dataclass(frozen=True)
class Tally(Tested):
    """How often each seed named each class for each test sample.

    Arrays of equal length, one entry per tested photo and seed, or several photos' entries in one.
    Samples are counted in the order of their names, since all their photos are of one class.
    """

    seed: np.ndarray  # (entries,) int
    sample: np.ndarray  # (entries,) int, in ascending order of the names
    actual: np.ndarray  # (entries,) int, the sample's class
    named: np.ndarray  # (entries,) int, the class that the seed named
    times: np.ndarray  # (entries,) how often
    classes: int

    def samples_by_class(self) -> np.ndarray:
        _, first = np.unique(self.sample, return_index=True)
        return np.bincount(self.actual[first], minlength=self.classes)

    @property
    def objects_a_photo(self) -> float:
        """None is marked: a photo has a class."""
        return 0.0

    def guess(self) -> "Tally":
        """Return the tally of always naming the commonest class."""
        commonest = np.bincount(self.actual, weights=self.times).argmax()
        return replace(self, named=np.full_like(self.named, commonest))

    def sums(self, by_class: bool) -> sparse.csr_array:
        """Count the photos of each class that are right, that it has, and that are named as it.

        Parameters
        ----------
        by_class : bool
            If not, all classes count as one.

        Returns
        -------
        sparse array of shape (3 x classes x seeds, samples), float64
        """
        hit = self.named == self.actual
        classes = self.classes if by_class else 1
        shape = (classes * self.seeds, self.samples)

        def count(of: np.ndarray, entries: np.ndarray | slice) -> sparse.csr_array:
            rows = of * by_class * self.seeds + self.seed
            places = rows[entries], self.sample[entries]
            return sparse.csr_array((self.times[entries], places), shape=shape, dtype=np.float64)

        every = slice(None)
        counts = [count(self.actual, hit), count(self.actual, every), count(self.named, every)]
        return sparse.vstack(counts, format="csr")


def tally(predictions: pd.DataFrame, labels: list[str]) -> Tally:
    """Tally the predictions of one cell, with the columns ``prediction_columns(labels)``."""
    return Tally(
        seed=_small(pd.factorize(predictions["seed"], sort=True)[0]),
        sample=_small(pd.factorize(predictions["sample"], sort=True)[0]),
        actual=_small(class_indices(predictions["label"], labels)),
        named=_small(probabilities(predictions, labels).argmax(axis=1)),
        times=np.ones(len(predictions), np.uint8),
        classes=len(labels),
    )


def _small(indices: np.ndarray) -> np.ndarray:
    """Return indices as int32: the tallies of all cells are held at once."""
    return indices.astype(np.int32)
