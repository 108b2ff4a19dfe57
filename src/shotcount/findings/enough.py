"""How many photos are enough."""

from dataclasses import dataclass

import numpy as np

from shotcount.findings.learning import Learning, lower_median, measured
from shotcount.uncertainty.intervals import Estimate


@dataclass(frozen=True)
class Enough:
    """The smallest of the study's subsets that is expected to be as good as the largest."""

    samples: int
    angles: int
    photos: Estimate
    at_all_samples: Estimate  # angles that are enough where every sample is used
    loss: Estimate  # accuracy expected to be lost against the largest subset
    largest: int  # photos


def find_enough(learning: Learning, tolerance: float) -> Enough:
    """Find the smallest subset whose expected accuracy is within `tolerance` of the largest's.

    Each replicate picks its own, which gives the count's interval; the subset named is the
    smallest whose loss is within tolerance in half of them. Assumes that the curve's form holds
    between the cells; without a curve the cells' own accuracies are compared, and the loss of the
    one picked looks smaller than it is.
    """
    error = learning.smoothed
    loss = error - error[:, [learning.largest]]
    loss[0] = lower_median(loss[1:])
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
        photos=measured(learning.photos[chosen], learning.resamples),
        at_all_samples=measured(angles, learning.resamples),
        loss=measured(loss[:, chosen[0]], learning.resamples),
        largest=int(learning.photos[learning.largest]),
    )
