"""Measured cells and their replicates → which strategy, how many photos, what more would bring.

Row 0 of every array is what was measured and the other rows its bootstrap replicates, so whatever
is derived from all rows alike comes with its interval: the curve's points are redrawn, the curve
refitted, the count read off anew. That carries the whole uncertainty into the count (Mahmood et
al., "Optimizing data collection for machine learning", NeurIPS 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd

from shotcount import params
from shotcount.curves import Curves, fit_families, vary
from shotcount.intervals import (
    Draws,
    Estimate,
    accuracy_interval,
    bootstrap_mean,
    difference,
    draw,
    holm,
    interval,
    p_value,
)
from shotcount.tables import METRICS, Table


def measured(rows: np.ndarray, draws: Draws) -> Estimate:
    """Row 0 with the interval of the others."""
    return Estimate(float(rows[0]), *interval(rows[1:], draws))


def expected(rows: np.ndarray, draws: Draws) -> Estimate:
    """Estimate what a fitted curve says by the median of the replicates' curves.

    As replicates choose their families, this averages over families too, and small differences
    between two that fit alike don't tip it (Efron, "Estimation and accuracy after model
    selection", JASA 2014).
    """
    return Estimate(float(_median(rows[1:])), *interval(rows[1:], draws))


def _median(replicates: np.ndarray) -> np.ndarray:
    """Lower median over the first axis: a count stays a count, and infinity is no problem."""
    return np.sort(replicates, axis=0)[(len(replicates) - 1) // 2]


def table(rows: Sequence[Any], columns: Table) -> pd.DataFrame:
    """Lay out dataclasses as rows; an `Estimate` becomes name, name_low and name_high."""
    records = []
    for row in rows:
        record = dict(vars(row))
        for name, e in vars(row).items():
            if isinstance(e, Estimate):
                record |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
        records.append(record)
    return pd.DataFrame(records, columns=list(columns))


# ---------------------------------------------------------------------------- one strategy


@dataclass(frozen=True)
class Learning:
    """What a strategy learned from each subset, and the curve through it."""

    strategy: str
    samples: np.ndarray  # (cells,)
    angles: np.ndarray  # (cells,)
    photos: np.ndarray  # (cells,) fewer than samples x angles where some samples have fewer
    error: np.ndarray  # (rows, cells) measured
    draws: Draws
    curves: Curves | None  # None: too few cells

    @property
    def largest(self) -> int:
        """Place of the cell with the most photos."""
        return int(self.photos.argmax())

    def accuracy_intervals(self) -> list[tuple[float, float]]:
        """Return the 95 % interval of each cell's measured accuracy."""
        return [accuracy_interval(1 - cell, self.draws) for cell in self.error[1:].T]

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
    """Learn from every strategy of a study, on the same draws of test samples.

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
    draws = draw(len(np.unique(shown)), list(seeds), replicates, rng)
    return [
        learn(scores[scores["strategy"] == strategy], hits, shown, own)
        for strategy, own in zip(seeds.index, draws, strict=True)
    ]


def learn(
    cells: pd.DataFrame,
    hits: Mapping[tuple[str, int, int], np.ndarray],
    shown: np.ndarray,
    draws: Draws,
) -> Learning:
    """Bootstrap the cells of one strategy and fit its learning curve.

    Parameters as in `learn_all`, of this strategy.
    """
    strategy = str(cells["strategy"].iloc[0])
    samples, angles, photos = (cells[name].to_numpy() for name in ("samples", "angles", "photos"))
    right = np.stack([hits[strategy, n, k] for n, k in zip(samples, angles, strict=True)])
    error = np.vstack([1 - right.mean(axis=(1, 2)), 1 - bootstrap_mean(right, shown, draws).T])
    curves = fit_families(error, samples, angles)
    return Learning(strategy, samples, angles, photos, error, draws, curves)


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
    return interval(gain, learning.draws)[0] > 0


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
    seeds = learning.draws.seeds[0].shape[1]
    if curves is None or not both or seeds < FEWEST_SEEDS or not falls(learning):
        return None
    found = expected(curves.redundancy, learning.draws)
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


def parameters(learning: Learning) -> list[Parameter]:
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
            measured(values, learning.draws),
        )
        for place, (family, curve) in enumerate(curves.fits.items())
        for name, values in curve.parameters().items()
    ]


# ---------------------------------------------------------------------------- enough


@dataclass(frozen=True)
class Enough:
    """The smallest of the study's subsets that is expected to be as good as the largest."""

    samples: int
    angles: int
    photos: Estimate
    at_all_samples: Estimate  # angles that are enough where every sample is used
    loss: Estimate  # accuracy expected to be lost against the largest subset
    largest: int  # photos


def enough(learning: Learning, tolerance: float) -> Enough:
    """Find the smallest subset whose expected accuracy is within `tolerance` of the largest's.

    Each replicate picks its own, which gives the count's interval; the subset named is the
    smallest whose loss is within tolerance in half of them. Assumes that the curve's form holds
    between the cells; without a curve the cells' own accuracies are compared, and the loss of the
    one picked looks smaller than it is.
    """
    error = learning.smoothed
    loss = error - error[:, [learning.largest]]
    loss[0] = _median(loss[1:])
    within = loss <= tolerance + 1e-12
    # Of equal counts, more samples from fewer angles: they are worth at least as much.
    order = np.lexsort((-learning.samples, learning.photos))
    chosen = order[within[:, order].argmax(axis=1)]
    full = np.flatnonzero(learning.samples == learning.samples.max())
    full = full[np.argsort(learning.angles[full])]
    angles = learning.angles[full[within[:, full].argmax(axis=1)]]
    return Enough(
        samples=int(learning.samples[chosen[0]]),
        angles=int(learning.angles[chosen[0]]),
        photos=measured(learning.photos[chosen], learning.draws),
        at_all_samples=measured(angles, learning.draws),
        loss=measured(loss[:, chosen[0]], learning.draws),
        largest=int(learning.photos[learning.largest]),
    )


# ---------------------------------------------------------------------------- more


@dataclass(frozen=True)
class More:
    """What a larger subset than any of the study is expected to bring."""

    samples: int
    angles: int
    accuracy: Estimate
    gain: Estimate  # on the largest subset


def more(learning: Learning, samples: int, angles: int) -> More | None:
    """Extrapolate to `samples` x `angles` times the largest subset's; factors of 1, 2, …

    Assumes that the chosen families hold beyond the study (Mahmood et al., CVPR 2022).
    None where an axis that would grow does not vary in the study, or there is no curve.
    """
    grown = ((samples, learning.samples), (angles, learning.angles))
    if learning.curves is None or any(factor > 1 and not vary(axis) for factor, axis in grown):
        return None
    size = samples * learning.samples.max(), angles * learning.angles.max()
    error = learning.curves.error(*(np.array([count]) for count in size))[:, 0]
    return More(
        samples=int(size[0]),
        angles=int(size[1]),
        accuracy=expected(1 - error, learning.draws),
        gain=expected(learning.smoothed[:, learning.largest] - error, learning.draws),
    )


@dataclass(frozen=True)
class Plan:
    """The cheapest samples x angles that are expected to reach a target accuracy."""

    samples: int
    angles: int
    photos: Estimate
    cost: float
    optimum: float  # angles at the classical optimum
    studied: int  # most samples
    within: bool  # whether the study's smallest subset is expected to reach it


def plan(
    learning: Learning, target: float, cost_per_sample: float, cost_per_photo: float
) -> Plan | None:
    """Search angle counts, up to twice the study's, for the cheapest way to the target.

    The target fixes the effective photos, so for k angles the samples follow: as many as half of
    the replicates reach it with. The cost's minimum over real k is
    sqrt(cost_sample / cost_photo · (1 − ρ) / ρ), the classical optimum of two-stage sampling
    (Cochran, "Sampling Techniques", 1977, section 10.6). The photos' interval holds the angles of
    the plan fixed; its high end is infinite where some replicates' ceilings lie below the target.
    No plan is smaller than the study's smallest subset: nothing was seen of what lies below.

    None if the target is not reachable, or samples do not vary in the study.
    """
    curves = learning.curves
    if curves is None or not vary(learning.samples):
        return None
    effective = curves.photos_for(1 - target)
    rho = float(_median(curves.redundancy[1:]))
    most = 2 * learning.angles.max() if vary(learning.angles) else learning.angles.max()
    angles = np.arange(1 if vary(learning.angles) else most, most + 1)
    worth = angles / (1 + (angles - 1) * curves.redundancy[:, None])  # (rows, angles), a sample's
    needed = np.maximum(np.ceil(effective[:, None] / worth - 1e-9), learning.samples.min())
    samples = _median(needed[1:])
    cost = samples * (cost_per_sample + angles * cost_per_photo)
    best = int(cost.argmin())
    if not np.isfinite(cost[best]):
        return None
    with np.errstate(divide="ignore"):
        optimum = np.sqrt(np.divide(cost_per_sample * (1 - rho), cost_per_photo * rho))
    return Plan(
        samples=int(samples[best]),
        angles=int(angles[best]),
        photos=expected(needed[:, best] * angles[best], learning.draws),
        cost=float(cost[best]),
        optimum=float(optimum),
        studied=int(learning.samples.max()),
        within=bool(samples[best] * angles[best] == learning.samples.min() * angles[0]),
    )


def ceiling(learning: Learning) -> Estimate | None:
    """Accuracy with endless photos; None without a curve."""
    if learning.curves is None:
        return None
    return expected(1 - learning.curves.ceiling_error, learning.draws)


@dataclass(frozen=True)
class Point:
    """A place on a fitted curve: a row of `tables.FITTED`."""

    strategy: str
    samples: int
    angles: int
    photos: int
    accuracy: Estimate
    extrapolated: bool  # beyond the study's samples or angles


def trace(learning: Learning) -> list[Point]:
    """Follow the curve along the angles for each count of samples, up to twice the study's.

    Along the samples where angles do not vary. Empty without a curve.
    """
    if learning.curves is None:
        return []
    counts, most = np.unique(learning.samples), int(learning.angles.max())
    full = int(counts.max())
    if vary(learning.angles):
        sizes = [(n, k) for n in counts for k in range(1, most + 1)]
        sizes += [(full, k) for k in range(most + 1, 2 * most + 1)]
        sizes += [(2 * full, k) for k in range(1, most + 1) if vary(learning.samples)]
    else:
        between = np.geomspace(counts.min(), 2 * full, 30).astype(int)
        sizes = [(n, most) for n in np.union1d(between, counts)]
    samples, angles = np.array(sizes).T
    accuracy = 1 - learning.curves.error(samples, angles)
    return [
        Point(
            learning.strategy,
            int(n),
            int(k),
            int(n * k),
            expected(rows, learning.draws),
            bool(n > full or k > most),
        )
        for n, k, rows in zip(samples, angles, accuracy.T, strict=True)
    ]


# ---------------------------------------------------------------------------- comparing


@dataclass(frozen=True)
class Comparison:
    """How far one strategy is ahead of another on the same test samples."""

    better: str
    worse: str
    lead: Estimate  # accuracy
    p_holm: float  # adjusted for the number of comparisons


def compare(learnings: list[Learning]) -> list[Comparison]:
    """Compare all pairs of strategies at the largest subset that all were trained on.

    Paired: each replicate draws the same test samples for both, and each one's seeds.
    """
    pairs = []
    at = common_largest(learnings)
    for one, other in combinations(learnings, 2):
        rows = other.error[:, at[other.strategy]] - one.error[:, at[one.strategy]]
        if rows[0] < 0:
            one, other, rows = other, one, -rows
        both = difference(one.draws, other.draws)
        pairs.append((one.strategy, other.strategy, measured(rows, both), p_value(rows[1:], both)))
    adjusted = holm([p for *_, p in pairs])
    return [Comparison(*pair[:3], p) for pair, p in zip(pairs, adjusted, strict=True)]


def common_largest(learnings: list[Learning]) -> dict[str, int]:
    """Return each strategy's place of the largest cell that all strategies have."""
    sizes = [set(zip(own.samples, own.angles, strict=True)) for own in learnings]
    samples, angles = max(set.intersection(*sizes), key=lambda size: size[0] * size[1])
    return {
        own.strategy: int(np.flatnonzero((own.samples == samples) & (own.angles == angles))[0])
        for own in learnings
    }


@dataclass(frozen=True)
class Trade:
    """More samples from fewer angles against fewer samples from more, for equally many photos."""

    strategy: str
    photos: int
    more_samples: int
    fewer_angles: int
    fewer_samples: int
    more_angles: int
    gain: Estimate  # accuracy of the first over the second


def equal_budgets(learning: Learning) -> list[Trade]:
    """Compare neighbouring cells of equally many photos, paired by test samples and seeds."""
    order = np.lexsort((-learning.samples, learning.photos))
    trades = []
    for one, other in pairwise(order):
        if learning.photos[one] == learning.photos[other]:
            gain = learning.error[:, other] - learning.error[:, one]
            trades.append(
                Trade(
                    learning.strategy,
                    int(learning.photos[one]),
                    int(learning.samples[one]),
                    int(learning.angles[one]),
                    int(learning.samples[other]),
                    int(learning.angles[other]),
                    measured(gain, learning.draws),
                )
            )
    return trades


@dataclass(frozen=True)
class Views:
    """How well whole samples are told, seen from several angles: a row of `tables.VIEWS`."""

    strategy: str
    views: int
    accuracy: Estimate


def views(learning: Learning, right: np.ndarray, samples: np.ndarray) -> list[Views]:
    """Give the accuracies of `scoring.views` their intervals.

    Averaging log-probabilities makes a product of experts (Hinton, "Training products of experts
    by minimizing contrastive divergence", Neural Computation 2002).
    """
    replicates = bootstrap_mean(right, samples, learning.draws)
    values = right.mean(axis=(1, 2))
    return [
        Views(learning.strategy, v, Estimate(float(mean), *accuracy_interval(r, learning.draws)))
        for v, (mean, r) in enumerate(zip(values, replicates, strict=True), start=1)
    ]


# ---------------------------------------------------------------------------- the answer


@dataclass(frozen=True)
class Answer:
    """What the study says."""

    strategy: str  # of the highest accuracy at the largest subset that all have
    accuracy: Estimate
    comparisons: list[Comparison]
    guessing: float  # accuracy of always naming the commonest class
    tolerance: float
    enough: Enough
    redundancies: dict[str, Estimate | None]  # of every strategy
    more_samples: More | None
    more_angles: More | None
    plan: Plan | None
    target: float
    ceiling: Estimate | None
    extrapolates: bool  # whether there are cells enough for a curve
    smallest: float  # accuracy at the strategy's smallest subset, measured
    most_angles: int


def answer(learnings: list[Learning], guessing: float, wanted: params.Answer) -> Answer:
    """Choose the strategy and say how many photos are enough for it, and what more would bring."""
    at = common_largest(learnings)
    best = min(learnings, key=lambda own: own.error[0, at[own.strategy]])
    place = at[best.strategy]
    return Answer(
        strategy=best.strategy,
        accuracy=Estimate(float(1 - best.error[0, place]), *best.accuracy_intervals()[place]),
        comparisons=compare(learnings),
        guessing=guessing,
        tolerance=wanted.tolerance,
        enough=enough(best, wanted.tolerance),
        redundancies={own.strategy: redundancy(own) for own in learnings},
        more_samples=more(best, samples=2, angles=1),
        more_angles=more(best, samples=1, angles=2),
        plan=plan(best, wanted.target_accuracy, wanted.cost_per_sample, wanted.cost_per_photo),
        target=wanted.target_accuracy,
        ceiling=ceiling(best),
        extrapolates=best.curves is not None,
        smallest=float(1 - best.error[0, best.photos.argmin()]),
        most_angles=int(best.angles.max()),
    )


def details(learnings: list[Learning], answer: Answer) -> dict[str, pd.DataFrame]:
    """Lay out what is behind the answer, by the names in `tables.METRICS`."""
    rows: dict[str, Sequence[Any]] = {
        "comparisons": answer.comparisons,
        "fits": [row for own in learnings for row in parameters(own)],
        "fitted": [row for own in learnings for row in trace(own)],
        "equal_budgets": [row for own in learnings for row in equal_budgets(own)],
    }
    return {name: table(made, METRICS[name]) for name, made in rows.items()}
