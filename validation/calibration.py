"""Do the intervals cover the truth? Checked on simulated studies, where the truth is known.

    python validation/calibration.py > calibration.md

Prints how often the 95 % intervals of a study cover the true accuracy, redundancy of angles, loss
at the subset named as enough, and gain of twice the samples; and the accuracy once more with a
binomial interval, which takes photos for independent observations. Also how often a subset is said
to be shown to be enough, and how often that is wrong: it truly loses more than the tolerance. Takes
half an hour on two cores.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from shotcount.core.seeds import seed_for
from shotcount.findings.curves import effective_photos
from shotcount.findings.learning import Learning, expected, learn, redundancy
from shotcount.findings.plan import extrapolate, find_enough
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.bootstrap import resample
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import METRICS
from shotcount.uncertainty.writing import markdown_table

TOLERANCE = 0.01
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # effective photos → error
    "a power law": lambda m: 0.08 + 0.75 * m**-0.45,
    # Of forms that no fitted family has:
    "flat from 60 photos on": lambda m: 0.08 + 0.75 * np.minimum(m, 60.0) ** -0.45,
    "a bump at 40 photos": lambda m: (
        0.08 + 0.75 * m**-0.45 + 0.03 * np.exp(-2 * np.log(m / 40) ** 2)
    ),
    "two power laws": lambda m: 0.02 + 1.2 * m**-0.9 + 0.25 * m**-0.12,
}


@dataclass(frozen=True)
class Truth:
    """The true curve, and how alike photos are."""

    redundancy: float = 0.5
    form: str = "a power law"
    # Shares of the variance of a photo's latent difficulty; the rest is independent noise.
    of_sample: float = 0.6
    of_photo: float = 0.2
    of_seed: float = 0.01  # gives the accuracy a standard deviation of some two points
    of_cell: float = 0.01  # of a seed in one cell


@dataclass(frozen=True)
class Design:
    """The collection, the cells and the seeds of a simulated study."""

    collected: int = 240  # samples
    folds: int = 5  # 0: 40 % of the samples are held out
    seeds: int = 10
    shares: tuple[float, ...] = (0.125, 0.25, 0.5, 1)  # of the training samples
    angles: tuple[int, ...] = (1, 2, 3, 5, 10)
    few_angles: int | None = None  # so many photos of every second sample
    classes: int = 2
    imbalance: float = 1.0  # samples of the commonest class for one of the rarest
    metric: str = "accuracy"
    replicates: int = 600

    @property
    def tested(self) -> int:
        """Samples that are tested."""
        return self.collected if self.folds else round(0.4 * self.collected)

    @property
    def cells(self) -> np.ndarray:
        """Samples and angles of each cell: ndarray (cells, 2), int."""
        trained = self.collected * (1 - (1 / self.folds if self.folds else 0.4)) * 0.85
        samples = [max(2, round(share * trained)) for share in self.shares]
        return np.array(list(product(samples, self.angles)))

    def photos(self, angles: np.ndarray) -> list[np.ndarray]:
        """Return the photos of a sample of the one and of the other half, of `angles` asked."""
        return [angles, np.minimum(angles, self.few_angles or max(self.angles))]

    @property
    def labels(self) -> np.ndarray:
        """The class of each tested sample: ndarray (tested,), int."""
        share = np.geomspace(self.imbalance, 1, self.classes)
        ends = np.cumsum(share) / share.sum() * self.tested
        return np.searchsorted(ends, np.arange(self.tested) + 0.5)


def true_error(truth: Truth, design: Design, samples: float, angles: int) -> float:
    """Return the expected error of networks that are trained on a subset."""
    half, rho = np.array(samples / 2), np.array(truth.redundancy)
    photos = np.array([effective_photos(half, k, rho) for k in design.photos(np.array(angles))])
    return float(FORMS[truth.form](photos.sum()))


def simulate(truth: Truth, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Draw whether each photo is right: ndarray (cells, seeds, test photos), NaN if not tested.

    A photo is right if its latent difficulty, standard normal, is below a threshold of the cell.
    The threshold makes the expected error of a cell exactly the truth's (a Gaussian copula, as in
    probit models with random effects). The photos of a sample share a part of their difficulty,
    all cells see the same photos, and all cells of a seed share the seed's part.
    """
    cells, photos = design.cells, max(design.angles)
    shape = (len(cells), design.seeds, design.tested, photos)
    own = 1 - truth.of_sample - truth.of_photo - truth.of_seed - truth.of_cell
    parts = (
        (truth.of_sample, (1, 1, shape[2], 1)),
        (truth.of_photo, (1, 1, *shape[2:])),
        (truth.of_seed, (1, shape[1], 1, 1)),
        (truth.of_cell, (*shape[:2], 1, 1)),
        (own, shape),
    )
    difficulty = sum(np.sqrt(share) * rng.standard_normal(part) for share, part in parts)
    error = np.array([true_error(truth, design, *cell) for cell in cells])
    right = (difficulty < stats.norm.ppf(1 - error)[:, None, None, None]).astype(np.float32)
    if design.folds:
        right[:, ~in_folds(design.seeds, design.folds, design.tested, rng)] = np.nan
    taken = np.arange(photos) < np.array(design.photos(np.array(photos)))[:, None]
    right[:, :, ~taken[np.arange(design.tested) % 2]] = np.nan
    return right.reshape(*shape[:2], -1)


def in_folds(seeds: int, folds: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return which samples each seed tests, as sampling.splits does: (seeds, samples) bool."""
    partitions = [rng.permutation(samples) % folds for _ in range(0, seeds, folds)]
    return np.array([partitions[seed // folds] == seed % folds for seed in range(seeds)])


def tally_hits(right: np.ndarray, shown: np.ndarray, labels: np.ndarray | None = None) -> Tally:
    """Tally whether each seed was right (seeds, photos) on photos that show the samples `shown`.

    NaN where the seed didn't test the photo. `labels` (samples,) are their classes, 0 and 1 or
    more; without, all are of class 1.
    """
    seed, photo = np.nonzero(~np.isnan(right))
    sample = np.unique(shown, return_inverse=True)[1][photo]
    actual = np.ones(len(seed), np.int64) if labels is None else labels[sample]
    classes = 2 if labels is None else int(labels.max()) + 1
    hit = right[seed, photo].astype(bool)
    named = np.where(hit, actual, (actual + 1) % classes if labels is not None else 0)
    return Tally(seed, sample, actual, named, np.ones(len(seed), np.int64), classes)


def analyse(design: Design, right: np.ndarray, rng: np.random.Generator) -> Learning:
    """Analyse a simulated study as the pipeline analyses a real one."""
    cells = pd.DataFrame(design.cells, columns=["samples", "angles"])
    each = sum(design.photos(cells["angles"].to_numpy())) / 2
    photos = (cells["samples"] * each).round().astype(int)
    cells = cells.assign(strategy="frozen", photos=photos)
    shown = np.repeat(np.arange(design.tested), max(design.angles))
    tallies = {
        ("frozen", *size): tally_hits(cell, shown, design.labels)
        for size, cell in zip(design.cells.tolist(), right, strict=True)
    }
    folds = design.folds or 1
    resamples = resample(design.tested, [design.seeds], design.replicates, rng, folds)[0]
    return learn(cells, tallies, METRICS[design.metric], resamples)


def covered(truth: Truth, design: Design, simulation: int) -> dict[str, float]:
    """Simulate a study; return which of its intervals cover the truth, as 0 or 1."""
    rng = np.random.default_rng(seed_for("coverage", repr(truth), repr(design), simulation))
    right = simulate(truth, design, rng)
    study = analyse(design, right, rng)
    n, k = map(int, design.cells[-1])
    full, twice = (true_error(truth, design, samples, k) for samples in (n, 2 * n))
    tested = ~np.isnan(right[-1])
    share, photos = float(np.nanmean(right[-1])), int(tested.any(axis=0).sum())
    half = 1.96 * np.sqrt(share * (1 - share) / photos)
    enough = find_enough(study, TOLERANCE)
    lost = true_error(truth, design, enough.samples, enough.angles) - full
    checks = {
        "accuracy": (study.judge(1 - study.error[:, study.largest]), 1 - full),
        "accuracy, by photo": (Estimate(share, share - half, share + half), 1 - full),
        "loss at enough": (enough.loss, lost),
    }
    if study.curves is not None:
        checks["redundancy"] = expected(study.curves.redundancy, study.resamples), truth.redundancy
        if (more := extrapolate(study, samples=2, angles=1)) is not None:
            checks["gain of twice the samples"] = more.gain, full - twice
    found = {name: float(_covers(e, value)) for name, (e, value) in checks.items()}
    wrongly = enough.shown and lost > TOLERANCE + 1e-9
    accuracy = checks["accuracy"][0]
    return {
        **found,
        "identifiable": float(redundancy(study) is not None),
        "shown": float(enough.shown),
        "wrongly shown": float(wrongly),
        "half": 100 * (accuracy.high - accuracy.low) / 2,
    }


def _covers(e: Estimate, value: float) -> bool:
    return bool(e.low - 1e-9 <= value <= e.high + 1e-9)


def coverage(truth: Truth, design: Design, simulations: Sequence[int]) -> dict[str, float]:
    """Return how often each interval covers, over independent simulations; uses all cores."""
    with ProcessPoolExecutor() as pool:
        runs = pool.map(partial(covered, truth, design), simulations, chunksize=4)
    return pd.DataFrame(list(runs)).mean().to_dict()


STUDIES = {
    **{f"redundancy {rho}": (Truth(rho), Design()) for rho in (0.15, 0.5, 0.85)},
    **{form: (Truth(form=form), Design()) for form in list(FORMS)[1:]},
    **{f"{n} samples": (Truth(), Design(n)) for n in (20, 40, 100, 300)},
    "5 seeds": (Truth(), Design(seeds=5)),
    "40 % held out": (Truth(), Design(folds=0)),
    "6 cells, 5 seeds": (Truth(), Design(shares=(0.5, 1), angles=(1, 2, 10), seeds=5)),
    "one angle": (Truth(), Design(shares=(0.1, 0.2, 0.35, 0.5, 0.7, 1), angles=(1,))),
    "every second sample from 3 angles": (Truth(), Design(few_angles=3)),
    "12 classes": (Truth(), Design(classes=12)),
    "4 classes, 8 : 1, balanced accuracy": (
        Truth(), Design(classes=4, imbalance=8, metric="balanced_accuracy"),
    ),
}  # fmt: skip
COLUMNS = ("accuracy", "accuracy, by photo", "redundancy", "loss at enough",
           "gain of twice the samples", "identifiable", "shown", "wrongly shown")  # fmt: skip


def main(simulations: int = 300) -> None:
    rows = []
    for name, (truth, design) in STUDIES.items():
        means = coverage(truth, design, range(simulations))
        shares = {column: f"{100 * means.get(column, np.nan):.0f} %" for column in COLUMNS}
        shares["accuracy"] += f" (± {means['half']:.1f})"
        rows.append({"study": name} | shares)
    print(
        f"# Coverage of 95 % intervals, {simulations} simulated studies a row\n\n"
        "Made by `python validation/calibration.py`; its docstrings say what is simulated. Where a "
        "row says nothing else: 240 samples × 10 angles, 5 folds, 10 seeds, 20 cells, redundancy "
        "0.5, the error a power law. In brackets: half of the mean width, in points.\n"
    )
    print(markdown_table(list(rows[0]), [list(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
