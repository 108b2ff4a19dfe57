"""What more photos would bring, and the cheapest way to a target of the metric."""

from dataclasses import dataclass

import numpy as np

from shotcount.findings.curves import vary
from shotcount.findings.learning import Learning, expected, lower_median
from shotcount.uncertainty.intervals import Estimate


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
    cost: float
    optimum: float  # angles at the classical optimum
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
    rho = float(lower_median(curves.redundancy[1:]))
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
    with np.errstate(divide="ignore"):
        optimum = np.sqrt(np.divide(cost_per_sample * (1 - rho), cost_per_photo * rho))
    return Plan(
        samples=int(samples[best]),
        angles=int(angles[best]),
        photos=expected(needed[:, best] * angles[best], learning.resamples),
        cost=float(cost[best]),
        optimum=float(optimum),
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
