"""How many photos are enough, what more would bring, the cheapest way to a target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shotcount.findings.curves import vary
from shotcount.findings.learning import Learning, expected, lower_median, measured
from shotcount.uncertainty.intervals import Estimate


@dataclass(frozen=True)
class Enough:
    """The smallest of the study's subsets that is expected to be about as good as the largest."""

    samples: int
    angles: int
    photos: Estimate
    at_all_samples: Estimate  # angles that are enough if all samples are used
    loss: Estimate  # expected score of the largest subset minus that of this one
    largest: int  # photos
    tested: int  # samples
    shown: bool  # whether the loss's whole interval is within the tolerance; if not, a best guess
    # Samples to test for that, if the loss is as expected; may be infinite. It rests on an estimate
    # of the loss, so it has two digits.
    to_show: float


def find_enough(learning: Learning, tolerance: float) -> Enough:
    """Find the smallest subset whose expected score is within `tolerance` of the largest's.

    The result is the smallest subset whose loss is within tolerance in half of the replicates.
    Each replicate also chooses its own subset; their photos give the interval. Assumes that the
    curve's form holds between the cells. Without a curve, measured scores are compared, and the
    loss of the chosen subset looks smaller than it is.

    Half of the replicates make a best guess. It is shown to be enough only if the upper end of the
    loss's interval is within tolerance, too (a test of non-inferiority: Walker and Nowacki, Journal
    of General Internal Medicine 2011). The samples that this takes follow from the interval's
    width, which falls with the square root of their number.
    """
    error = learning.smoothed
    loss = error - error[:, [learning.largest]]
    loss[0] = lower_median(loss[1:])
    within = loss <= tolerance + 1e-12
    # Among equal counts, more samples from fewer angles come first: worth at least as much.
    order = np.lexsort((-learning.samples, learning.photos))
    chosen = order[within[:, order].argmax(axis=1)]
    full = np.flatnonzero(learning.samples == learning.samples.max())
    full = full[np.argsort(learning.angles[full])]
    angles = learning.angles[full[within[:, full].argmax(axis=1)]]
    lost = measured(loss[:, chosen[0]], learning.resamples)
    spare, tested = tolerance - lost.value, learning.resamples.samples.shape[1]
    to_show = tested * ((lost.high - lost.value) / spare) ** 2 if spare > 0 else np.inf
    return Enough(
        samples=int(learning.samples[chosen[0]]),
        angles=int(learning.angles[chosen[0]]),
        photos=measured(learning.photos[chosen], learning.resamples),
        at_all_samples=measured(angles, learning.resamples),
        loss=lost,
        largest=int(learning.photos[learning.largest]),
        tested=tested,
        shown=lost.high <= tolerance + 1e-12,
        to_show=float(f"{to_show:.2g}"),
    )


@dataclass(frozen=True)
class More:
    """What a subset larger than any in the study is expected to bring."""

    samples: int
    angles: float  # on average
    score: Estimate  # by the metric
    gain: Estimate  # score minus that of the largest subset


def extrapolate(learning: Learning, samples: int, angles: int) -> More | None:
    """Extrapolate to `samples` times the study's samples and `angles` times its angles.

    Assumes that the chosen families hold beyond the study (Mahmood et al., CVPR 2022).
    None without a curve, or if an axis that would grow does not vary in the study.
    """
    grown = ((samples, learning.samples), (angles, learning.mean_angles))
    if learning.curves is None or any(factor > 1 and not vary(axis) for factor, axis in grown):
        return None
    size = samples * learning.samples.max(), angles * learning.mean_angles[learning.largest]
    error = learning.curves.error(*(np.array([count]) for count in size))[:, 0]
    return More(
        samples=int(size[0]),
        angles=round(float(size[1]), 1),
        score=expected(1 - error, learning.resamples),
        gain=expected(learning.smoothed[:, learning.largest] - error, learning.resamples),
    )


@dataclass(frozen=True)
class Plan:
    """The cheapest samples x angles that are expected to reach a target."""

    samples: int
    angles: int
    photos: Estimate
    cost: float  # of all samples and photos
    cost_per_sample: float
    cost_per_photo: float  # with its boxes
    studied: int  # largest number of samples in the study
    within: bool  # whether the study's smallest subset is expected to reach it


def find_plan(
    learning: Learning, target: float, cost_per_sample: float, cost_per_photo: float
) -> Plan | None:
    """Find the cheapest samples x angles to reach the target, with up to twice the study's angles.

    The target fixes the effective photos, so k angles fix the samples: as many as let half of the
    replicates reach it. Over real k the cost is lowest at
    k = sqrt(cost_sample / cost_photo · (1 − ρ) / ρ), the classical optimum of two-stage sampling
    (Cochran, "Sampling Techniques", 1977, section 10.6). The interval of the photos is for the
    plan's angles; its high end is infinite where some replicates' ceilings lie below the target. No
    plan is smaller than the study's smallest subset, since no smaller one was measured.

    None if the target is not reachable, or samples do not vary in the study.
    """
    curves = learning.curves
    if curves is None or not vary(learning.samples):
        return None
    effective = curves.photos_for(1 - target)
    studied = learning.mean_angles
    most = (2 if vary(studied) else 1) * studied[learning.largest]
    angles = np.arange(round(studied.min()), round(most) + 1)
    worth = angles / (1 + (angles - 1) * curves.redundancy[:, None])  # (rows, angles) per sample
    needed = np.maximum(np.ceil(effective[:, None] / worth - 1e-9), learning.samples.min())
    samples = lower_median(needed[1:])
    cost = samples * (cost_per_sample + angles * cost_per_photo)
    best = int(cost.argmin())
    if not np.isfinite(cost[best]):
        return None
    return Plan(
        samples=int(samples[best]),
        angles=int(angles[best]),
        photos=expected(needed[:, best] * angles[best], learning.resamples),
        cost=float(cost[best]),
        cost_per_sample=cost_per_sample,
        cost_per_photo=cost_per_photo,
        studied=int(learning.samples.max()),
        within=bool(best == 0 and samples[best] == learning.samples.min()),
    )


def find_ceiling(learning: Learning) -> Estimate | None:
    """Return the metric with endless photos; None without a curve."""
    if learning.curves is None:
        return None
    return expected(1 - learning.curves.ceiling_error, learning.resamples)


@dataclass(frozen=True)
class Point:
    """A point on a fitted curve: a row of the table `fitted`."""

    strategy: str
    samples: int
    angles: int
    photos: int
    score: Estimate
    extrapolated: bool  # beyond the study's samples or angles


def trace_curve(learning: Learning) -> list[Point]:
    """Return points of the curve along the angles for each number of samples.

    They reach twice the study's angles and samples. Where angles do not vary, they follow the
    samples. Empty without a curve.
    """
    if learning.curves is None:
        return []
    counts, most = np.unique(learning.samples), round(learning.mean_angles[learning.largest])
    full = int(counts.max())
    if vary(learning.mean_angles):
        sizes = [(n, k) for n in counts for k in range(1, most + 1)]
        sizes += [(full, k) for k in range(most + 1, 2 * most + 1)]
        sizes += [(2 * full, k) for k in range(1, most + 1) if vary(learning.samples)]
    else:
        between = np.geomspace(counts.min(), 2 * full, 30).astype(int)
        sizes = [(n, most) for n in np.union1d(between, counts)]
    samples, angles = np.array(sizes).T
    score = 1 - learning.curves.error(samples, angles)
    return [
        Point(
            learning.strategy,
            int(n),
            int(k),
            int(n * k),
            expected(rows, learning.resamples),
            bool(n > full or k > most),
        )
        for n, k, rows in zip(samples, angles, score.T, strict=True)
    ]


@dataclass(frozen=True)
class Rule:
    """What the study says of a size that is often recommended."""

    name: str
    samples: int  # in all classes together
    angles: int
    photos: int
    strategy: str
    score: Estimate | None  # None: beyond what the study can tell
    measured: bool  # else it is read from the curve


def rules_of_thumb(best: Learning, learnings: Sequence[Learning]) -> list[Rule]:
    """Return what to expect of two sizes that are often recommended.

    They are 50 samples and 1,000 photos of each class, both from as many angles as the study's
    most; with boxes, so many scenes or photos times the classes. If the best strategy has no cell
    of that size, its curve is read, or, if it has none, that of the first strategy with one. A
    curve says nothing of fewer samples than studied, nor of more than twice as many.
    """
    angles, classes = int(best.angles.max()), best.tallies[0].classes
    of_each = best.mean_angles[best.largest]
    sizes = {
        f"50 {best.metric.terms.sample}s a class": 50 * classes,
        "1,000 photos a class": round(1000 * classes / of_each),
    }
    fitted = [own for own in (best, *learnings) if own.curves is not None and vary(own.samples)]
    rules = []
    for name, samples in sizes.items():
        own, score = best, None
        cell = np.flatnonzero((best.samples == samples) & (best.angles == angles))
        if len(cell):
            score = best.judge(1 - best.error[:, cell[0]])
        elif fitted and fitted[0].curves is not None:
            own = fitted[0]
            if own.samples.min() <= samples <= 2 * own.samples.max():
                error = fitted[0].curves.error(np.array([samples]), np.array([of_each]))[:, 0]
                score = expected(1 - error, own.resamples)
        photos = round(samples * of_each)
        rules.append(Rule(name, samples, angles, photos, own.strategy, score, bool(len(cell))))
    return rules
