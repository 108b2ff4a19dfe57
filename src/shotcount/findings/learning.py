"""What a strategy learned from each subset, with bootstrap replicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from shotcount.findings.curves import Curves, fit_families, vary
from shotcount.uncertainty.bootstrap import Resamples, bootstrap_mean, resample
from shotcount.uncertainty.intervals import Estimate, accuracy_interval, interval


def measured(rows: np.ndarray, resamples: Resamples) -> Estimate:
    """Row 0 with the interval of the others."""
    return Estimate(float(rows[0]), *interval(rows[1:], resamples))


def expected(rows: np.ndarray, resamples: Resamples) -> Estimate:
    """Estimate what a fitted curve says by the median of the replicates' curves.

    As replicates choose their families, this averages over families too, and small differences
    between two that fit alike don't tip it (Efron, "Estimation and accuracy after model
    selection", JASA 2014).
    """
    return Estimate(float(lower_median(rows[1:])), *interval(rows[1:], resamples))


def lower_median(replicates: np.ndarray) -> np.ndarray:
    """Lower median over the first axis: a count stays a count, and infinity is no problem."""
    return np.sort(replicates, axis=0)[(len(replicates) - 1) // 2]


@dataclass(frozen=True)
class Learning:
    """What a strategy learned from each subset, and the curve through it."""

    strategy: str
    samples: np.ndarray  # (cells,)
    angles: np.ndarray  # (cells,)
    photos: np.ndarray  # (cells,) fewer than samples x angles where some samples have fewer
    error: np.ndarray  # (rows, cells) measured
    resamples: Resamples
    curves: Curves | None  # None: too few cells

    @property
    def largest(self) -> int:
        """Place of the cell with the most photos."""
        return int(self.photos.argmax())

    def accuracy_intervals(self) -> list[tuple[float, float]]:
        """Return the 95 % interval of each cell's measured accuracy."""
        return [accuracy_interval(1 - cell, self.resamples) for cell in self.error[1:].T]

    @property
    def smoothed(self) -> np.ndarray:
        """Error (rows, cells) by the curve where there is one, else as measured."""
        return self.error if self.curves is None else self.curves.error(self.samples, self.angles)


def learn_all(
    scores: pd.DataFrame,
    hits: Mapping[tuple[str, int, int], np.ndarray],
    shown: np.ndarray,
    replicates: int,
    rng: np.random.Generator,
) -> list[Learning]:
    """Learn from every strategy of a study, on the same resamples of test samples.

    Parameters
    ----------
    scores : DataFrame
        As in `tables.SCORES`.
    hits : mapping of (strategy, samples, angles) to ndarray of shape (seeds, photos), bool
        Whether each seed got each test photo right.
    shown : ndarray of shape (photos,)
        The sample that each test photo shows.
    replicates : int
        Of the bootstrap.
    rng : numpy.random.Generator
    """
    seeds = scores.drop_duplicates("strategy").set_index("strategy")["seeds"]
    resamples = resample(len(np.unique(shown)), list(seeds), replicates, rng)
    return [
        learn(scores[scores["strategy"] == strategy], hits, shown, own)
        for strategy, own in zip(seeds.index, resamples, strict=True)
    ]


def learn(
    cells: pd.DataFrame,
    hits: Mapping[tuple[str, int, int], np.ndarray],
    shown: np.ndarray,
    resamples: Resamples,
) -> Learning:
    """Bootstrap the cells of one strategy and fit its learning curve.

    Parameters as in `learn_all`, of this strategy.
    """
    strategy = str(cells["strategy"].iloc[0])
    samples, angles, photos = (cells[name].to_numpy() for name in ("samples", "angles", "photos"))
    right = np.stack([hits[strategy, n, k] for n, k in zip(samples, angles, strict=True)])
    error = np.vstack([1 - right.mean(axis=(1, 2)), 1 - bootstrap_mean(right, shown, resamples).T])
    curves = fit_families(error, samples, angles)
    return Learning(strategy, samples, angles, photos, error, resamples, curves)


def with_intervals(scores: pd.DataFrame, learnings: Sequence[Learning]) -> pd.DataFrame:
    """Add to each cell's scores the 95 % interval of its accuracy: `tables.CURVE`."""
    ends = [
        {"strategy": own.strategy, "samples": n, "angles": k}
        | dict(zip(("accuracy_low", "accuracy_high"), cell, strict=True))
        for own in learnings
        for n, k, cell in zip(own.samples, own.angles, own.accuracy_intervals(), strict=True)
    ]
    return scores.merge(pd.DataFrame(ends), on=["strategy", "samples", "angles"])


def falls(learning: Learning) -> bool:
    """Whether the largest cell is detectably better than the smallest."""
    smallest = int(learning.photos.argmin())
    gain = learning.error[1:, smallest] - learning.error[1:, learning.largest]
    return interval(gain, learning.resamples)[0] > 0


VAGUE = 0.8  # an interval of the redundancy wider than this says nothing: it can only be 0 to 1
FEWEST_SEEDS = 3  # with two, the redundancy's intervals cover too seldom (docs/calibration.md)


def redundancy(learning: Learning) -> Estimate | None:
    """How much of an angle's worth is lost because the sample was seen before: 0 none, 1 all.

    The ρ of Kish's design effect ("Survey Sampling", 1965), of training photos instead of answers.
    None where that is not identifiable: without a curve over both axes, with fewer seeds than
    `FEWEST_SEEDS`, where more photos did not detectably help (any ρ fits a flat curve), or where
    the interval is wider than `VAGUE`.
    """
    curves = learning.curves
    both = vary(learning.samples) and vary(learning.angles)
    seeds = learning.resamples.seeds[0].shape[1]
    if curves is None or not both or seeds < FEWEST_SEEDS or not falls(learning):
        return None
    found = expected(curves.redundancy, learning.resamples)
    return None if found.high - found.low > VAGUE else found


@dataclass(frozen=True)
class Parameter:
    """A row of `tables.FITS`."""

    strategy: str
    family: str
    share: float  # of the replicates whose largest cells it foretells best
    extrapolation_error: float  # mean absolute error on the largest cells, as measured
    residual: float  # root mean square, of the measured cells
    unit: float  # effective photos at which the family's x is 1
    parameter: str
    value: Estimate


def curve_parameters(learning: Learning) -> list[Parameter]:
    """Every parameter of every family that there are cells enough to choose."""
    curves = learning.curves
    if curves is None:
        return []
    return [
        Parameter(
            learning.strategy,
            family,
            float(np.mean(curves.chosen[1:] == place)),
            float(curves.gaps[place, 0]),
            float(curve.residual[0]),
            curve.unit,
            name,
            measured(values, learning.resamples),
        )
        for place, (family, curve) in enumerate(curves.fits.items())
        for name, values in curve.parameters().items()
    ]
