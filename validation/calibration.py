"""Do the intervals cover the truth? Checked on simulated studies, where the truth is known.

    python validation/calibration.py > docs/calibration.md

Prints how often the 95 % intervals of a study cover the true accuracy, redundancy of angles, loss
at the subset named as enough, and gain of twice the samples; and the accuracy once more with an
interval that takes photos for independent observations. Takes twenty minutes on two cores.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from shotcount.core.seeds import seed_for
from shotcount.findings.curves import effective_photos
from shotcount.findings.learning import Learning, expected, learn, measured, redundancy
from shotcount.findings.plan import extrapolate, find_enough
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.bootstrap import bootstrap_mean, resample
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import METRICS
from shotcount.uncertainty.writing import markdown_table


@dataclass(frozen=True)
class Truth:
    """The true curve, error(m) = asymptote + amplitude · m^−exponent, and how alike photos are.

    m is the number of effective photos (`effective_photos`).
    """

    redundancy: float
    amplitude: float = 0.75
    exponent: float = 0.45
    asymptote: float = 0.08
    # Shares of the variance of a photo's latent difficulty; the rest is independent noise.
    of_sample: float = 0.6
    of_photo: float = 0.2
    of_seed: float = 0.01  # gives the accuracy a standard deviation of some two points
    of_cell: float = 0.01  # of a seed in one cell

    def error(self, samples: np.ndarray, angles: np.ndarray) -> np.ndarray:
        photos = effective_photos(samples, angles, np.array(self.redundancy))
        return self.asymptote + self.amplitude * photos**-self.exponent


@dataclass(frozen=True)
class Design:
    """The cells, seeds and test split of a simulated study."""

    samples: tuple[int, ...] = (15, 30, 60, 120)
    angles: tuple[int, ...] = (1, 2, 3, 5, 10)
    seeds: int = 10
    test_samples: int = 96
    test_angles: int = 10
    replicates: int = 600


def simulate(truth: Truth, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Draw whether each photo is right: ndarray (cells, seeds, test photos), bool.

    A photo is right if its latent difficulty, standard normal, is below a threshold of the cell.
    The threshold makes the expected error of a cell exactly the truth's (a Gaussian copula, as in
    probit models with random effects). The photos of a sample share a part of their difficulty,
    all cells see the same photos, and all cells of a seed share the seed's part.
    """
    sizes = np.array(list(product(design.samples, design.angles)))
    shape = (len(sizes), design.seeds, design.test_samples, design.test_angles)
    own = 1 - truth.of_sample - truth.of_photo - truth.of_seed - truth.of_cell
    parts = (
        (truth.of_sample, (1, 1, shape[2], 1)),
        (truth.of_photo, (1, 1, *shape[2:])),
        (truth.of_seed, (1, shape[1], 1, 1)),
        (truth.of_cell, (*shape[:2], 1, 1)),
        (own, shape),
    )
    difficulty = sum(np.sqrt(share) * rng.standard_normal(part) for share, part in parts)
    threshold = stats.norm.ppf(1 - truth.error(*sizes.T))
    right = difficulty < threshold[:, None, None, None]
    return np.asarray(right).reshape(*shape[:2], -1)


def tally_hits(right: np.ndarray, shown: np.ndarray) -> Tally:
    """Tally whether each seed was right (seeds, photos) on photos that show the samples `shown`.

    NaN where the seed didn't test the photo.
    """
    seed, photo = np.nonzero(~np.isnan(right))
    sample = np.unique(shown, return_inverse=True)[1][photo]
    ones = np.ones(len(seed), np.int64)
    return Tally(seed, sample, actual=ones, named=right[seed, photo] * 1, times=ones, classes=2)


def analyse(design: Design, right: np.ndarray, rng: np.random.Generator) -> Learning:
    """Analyse a simulated study as the pipeline analyses a real one."""
    sizes = list(product(design.samples, design.angles))
    cells = pd.DataFrame(sizes, columns=["samples", "angles"])
    cells = cells.assign(strategy="frozen", photos=cells["samples"] * cells["angles"])
    shown = np.repeat(np.arange(design.test_samples), design.test_angles)
    tallies = {
        ("frozen", *size): tally_hits(cell, shown) for size, cell in zip(sizes, right, strict=True)
    }
    resamples = resample(design.test_samples, [design.seeds], design.replicates, rng)[0]
    return learn(cells, tallies, METRICS["accuracy"], resamples)


def covered(truth: Truth, design: Design, simulation: int) -> dict[str, float]:
    """Simulate a study; return which of its intervals cover the truth, as 0 or 1."""
    rng = np.random.default_rng(seed_for("coverage", repr(truth), repr(design), simulation))
    right = simulate(truth, design, rng)
    study = analyse(design, right, rng)
    assert study.curves is not None
    n, k = max(design.samples), max(design.angles)
    full, twice = (truth.error(np.array(s), np.array(k)) for s in (n, 2 * n))

    photos = right.shape[2]
    naive = resample(photos, [design.seeds], design.replicates, rng)[0]
    by_photo = 1 - bootstrap_mean(right[-1:], np.arange(photos), naive)[0]
    enough = find_enough(study, tolerance=0.01)
    more = extrapolate(study, samples=2, angles=1)
    assert more is not None
    lost = truth.error(np.array(enough.samples), np.array(enough.angles)) - full
    checks = {
        "accuracy": (measured(study.error[:, -1], study.resamples), full),
        "accuracy, by photo": (measured(np.append(0, by_photo), naive), full),
        "redundancy": (expected(study.curves.redundancy, study.resamples), truth.redundancy),
        "loss at enough": (enough.loss, lost),
        "gain of twice the samples": (more.gain, full - twice),
    }
    result = {name: float(_covers(e, value)) for name, (e, value) in checks.items()}
    return result | {"identifiable": float(redundancy(study) is not None)}


def _covers(e: Estimate, value: float) -> bool:
    return bool(e.low - 1e-9 <= value <= e.high + 1e-9)


def coverage(truth: Truth, design: Design, simulations: Sequence[int]) -> dict[str, float]:
    """Return how often each interval covers, over independent simulations; uses all cores."""
    with ProcessPoolExecutor() as pool:
        runs = pool.map(partial(covered, truth, design), simulations, chunksize=4)
    return pd.DataFrame(list(runs)).mean().to_dict()


DESIGNS = {
    "as the default's frozen": Design(),
    "5 seeds": Design(seeds=5),
    "24 test samples": Design(test_samples=24),
    "6 cells, 3 seeds": Design((60, 120), (1, 2, 10), seeds=3),
    "6 cells, 2 seeds": Design((60, 120), (1, 2, 10), seeds=2),
}


def main(simulations: int = 300) -> None:
    rows = [
        {"study": name, "true redundancy": str(rho)}
        | {
            column: f"{100 * share:.0f} %"
            for column, share in coverage(Truth(redundancy=rho), design, range(simulations)).items()
        }
        for name, design in DESIGNS.items()
        for rho in (0.15, 0.5, 0.85)
    ]
    print(
        f"# Coverage of 95 % intervals, {simulations} simulated studies a row\n\n"
        "Made by `python validation/calibration.py > docs/calibration.md`; its docstrings say "
        "what is simulated.\n"
    )
    print(markdown_table(list(rows[0]), [list(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
