"""What a strategy learned from each subset, with bootstrap replicates.

Row 0 of every array is measured; the other rows are its bootstrap replicates. A result is computed
from every row in the same way: the curve is fitted again, the number of photos read off again. So
every result has an interval, which carries the whole uncertainty (Mahmood et al., "Optimizing data
collection for machine learning", NeurIPS 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from shotcount.findings.curves import Curves, fit_families, vary
from shotcount.scoring.matching import Matches
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.bootstrap import Resamples, resample
from shotcount.uncertainty.intervals import Estimate, accuracy_interval, interval
from shotcount.uncertainty.metrics import Metric, metric_rows, trials

VAGUE = 0.8  # a wider interval of the redundancy, which lies between 0 and 1, says nothing
FEWEST_SEEDS = 3  # with two, intervals of the redundancy cover too rarely (docs/calibration.md)


def measured(rows: np.ndarray, resamples: Resamples) -> Estimate:
    """Return row 0 with the interval of the other rows."""
    return Estimate(float(rows[0]), *interval(rows[1:], resamples))


def expected(rows: np.ndarray, resamples: Resamples) -> Estimate:
    """Return the median of the replicates of a value on the fitted curve, with its interval.

    Replicates choose their families, so the median averages over families, and a small difference
    between two families that fit equally well does not decide it (Efron, "Estimation and accuracy
    after model selection", JASA 2014).
    """
    return Estimate(float(lower_median(rows[1:])), *interval(rows[1:], resamples))


def lower_median(replicates: np.ndarray) -> np.ndarray:
    """Return the lower median over the first axis: counts stay whole, infinities are allowed."""
    return np.sort(replicates, axis=0)[(len(replicates) - 1) // 2]


@dataclass(frozen=True)
class Learning:
    """What a strategy learned from each subset, and the curve through it."""

    strategy: str
    samples: np.ndarray  # (cells,)
    angles: np.ndarray  # (cells,)
    photos: np.ndarray  # (cells,) below samples x angles if some samples have fewer angles
    metric: Metric
    tallies: list[Tally | Matches]  # of the cells
    error: np.ndarray  # (rows, cells) 1 minus the metric: measured, and replicates
    resamples: Resamples
    curves: Curves | None  # None: too few cells

    @property
    def largest(self) -> int:
        """Index of the cell with the most photos."""
        return int(self.photos.argmax())

    @property
    def mean_angles(self) -> np.ndarray:
        """Photos of a sample (cells,), on average."""
        return np.asarray(self.photos / self.samples)

    def judge(self, rows: np.ndarray) -> Estimate:
        """Return row 0 of the metric with the interval of the other rows."""
        ends = accuracy_interval(
            rows[1:], self.resamples, trials=trials(self.tallies[0], self.metric)
        )
        return Estimate(float(rows[0]), *ends)

    @property
    def smoothed(self) -> np.ndarray:
        """Error (rows, cells) on the curve; without a curve, as measured."""
        if self.curves is None:
            return self.error
        return self.curves.error(self.samples, self.mean_angles)


def learn_all(
    scores: pd.DataFrame,
    tallies: Mapping[tuple[str, int, int], Tally | Matches],
    metric: Metric,
    replicates: int,
    rng: np.random.Generator,
) -> list[Learning]:
    """Bootstrap and fit every strategy of a study, on the same resamples of the test samples.

    Parameters
    ----------
    scores : DataFrame
        With the columns `SCORES` of scoring.scores.
    tallies : mapping of (strategy, samples, angles) to Tally or Matches
        What the seeds of each cell named or detected.
    metric : Metric
        What the curve is of.
    replicates : int
        Number of bootstrap replicates.
    rng : numpy.random.Generator
    """
    seeds = scores.drop_duplicates("strategy").set_index("strategy")["seeds"]
    tested = next(iter(tallies.values()))  # a seed tests the same photos in every cell
    resamples = resample(tested.samples, list(seeds), replicates, rng, tested.folds)
    return [
        learn(scores[scores["strategy"] == strategy], tallies, metric, own)
        for strategy, own in zip(seeds.index, resamples, strict=True)
    ]


def learn(
    cells: pd.DataFrame,
    tallies: Mapping[tuple[str, int, int], Tally | Matches],
    metric: Metric,
    resamples: Resamples,
) -> Learning:
    """Bootstrap the cells of one strategy and fit its learning curve.

    For the parameters see `learn_all`; `cells` and `resamples` are those of the strategy.
    """
    strategy = str(cells["strategy"].iloc[0])
    samples, angles, photos = (cells[name].to_numpy() for name in ("samples", "angles", "photos"))
    own = [tallies[strategy, n, k] for n, k in zip(samples, angles, strict=True)]
    error = 1 - metric_rows(own, metric, resamples).T
    curves = fit_families(error, samples, photos / samples)
    return Learning(strategy, samples, angles, photos, metric, own, error, resamples, curves)


def with_intervals(scores: pd.DataFrame, learnings: Sequence[Learning]) -> pd.DataFrame:
    """Add the metric's 95 % interval to each cell's scores, and both once more as `score`."""
    ends = []
    for own in learnings:
        for n, k, cell in zip(own.samples, own.angles, own.error.T, strict=True):
            e, key = own.judge(1 - cell), own.metric.key
            row = {"strategy": own.strategy, "samples": n, "angles": k}
            row |= {f"{key}_low": e.low, f"{key}_high": e.high}
            ends.append(row | {"score": e.value, "score_low": e.low, "score_high": e.high})
    return scores.merge(pd.DataFrame(ends), on=["strategy", "samples", "angles"])


def falls(learning: Learning) -> bool:
    """Whether the largest cell is detectably better than the smallest."""
    smallest = int(learning.photos.argmin())
    gain = learning.error[1:, smallest] - learning.error[1:, learning.largest]
    return interval(gain, learning.resamples)[0] > 0


def redundancy(learning: Learning) -> Estimate | None:
    """Return the redundancy: 0 if a further angle is worth as much as a new sample, 1 if nothing.

    It is the ρ of Kish's design effect ("Survey Sampling", 1965), for training photos instead of
    survey answers. None where it is not identifiable: without a curve over both axes, with fewer
    than `FEWEST_SEEDS` seeds, where more photos did not detectably help (any ρ fits a flat curve),
    or where the interval is wider than `VAGUE`.
    """
    curves = learning.curves
    both = vary(learning.samples) and vary(learning.mean_angles)
    seeds = learning.tallies[0].seeds
    if curves is None or not both or seeds < FEWEST_SEEDS or not falls(learning):
        return None
    found = expected(curves.redundancy, learning.resamples)
    return None if found.high - found.low > VAGUE else found


@dataclass(frozen=True)
class Parameter:
    """A row of `tables.FITS`."""

    strategy: str
    family: str
    share: float  # of the replicates whose largest cells it predicts best
    extrapolation_error: float  # mean absolute error on the largest cells, in row 0
    residual: float  # root mean square of the measured cells
    unit: float  # effective photos at which the family's x is 1
    parameter: str
    value: Estimate


def curve_parameters(learning: Learning) -> list[Parameter]:
    """Return every parameter of every family that was fitted."""
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
