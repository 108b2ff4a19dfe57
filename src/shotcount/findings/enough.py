"""How many photos are enough."""

from dataclasses import dataclass

import numpy as np

from shotcount.findings.learning import Learning, lower_median, measured
from shotcount.uncertainty.intervals import Estimate


@dataclass(frozen=True)
class Enough:
    """The smallest of the study's subsets that is expected to be about as good as the largest."""

    samples: int
    angles: int
    photos: Estimate
    at_all_samples: Estimate  # angles that are enough if all samples are used
    loss: Estimate  # expected metric of the largest subset minus that of this one
    largest: int  # photos
    shown: bool  # whether the loss's whole interval is within the tolerance; if not, a best guess
    # Samples to test for that, if the loss is as expected; may be infinite. It rests on an estimate
    # of the loss, so it has two digits.
    to_show: float


def find_enough(learning: Learning, tolerance: float) -> Enough:
    """Find the smallest subset whose expected metric is within `tolerance` of the largest's.

    The result is the smallest subset whose loss is within tolerance in half of the replicates.
    Each replicate also chooses its own subset; their photos give the interval. Assumes that the
    curve's form holds between the cells. Without a curve, measured values are compared, and the
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
        shown=lost.high <= tolerance + 1e-12,
        to_show=float(f"{to_show:.2g}"),
    )
