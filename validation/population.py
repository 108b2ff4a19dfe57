"""Do the intervals of folds cover the truth on real photos?

    python validation/population.py FOLDER PATTERN PX >> docs/calibration.md

Takes the samples below FOLDER (one photo of each, read at PX px with PATTERN, as `data.pattern`)
for a population. Draws many small collections from it and studies each with folds, as the pipeline
does: heads on frozen features, on half and on all of the training samples, and on fewer features as
a second strategy. The truth is the mean accuracy, over all studies, on the samples of the
population that a study did not draw. Prints how often 95 % intervals cover it, and how wide they
are, beside those of studies of the same collections that hold out 40 % of the samples.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from holdout import Collection, read_collection
from sklearn.linear_model import LogisticRegression

from shotcount.core import tables
from shotcount.core.seeds import seed_for
from shotcount.core.study import available_samples, take_subset
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.splits import split_samples
from shotcount.sampling.subsets import nested_subsets
from shotcount.uncertainty.bootstrap import bootstrap_mean, difference, resample
from shotcount.uncertainty.intervals import interval
from shotcount.uncertainty.writing import markdown_table

STUDIES = 100
SAMPLES = (60, 120)
STRATEGIES = {"all": (64, 0.02), "fewer": (12, 0.5)}  # principal components, 1 / penalty
RESULTS = ("accuracy", "gain of twice the samples", "lead of a strategy")


@dataclass(frozen=True)
class Design:
    samples: int
    folds: int | None  # None: 40 % are held out
    seeds: int

    @property
    def name(self) -> str:
        tested = f"{self.folds} folds" if self.folds else "40 % held out"
        return f"{self.samples} samples, {tested}, {self.seeds} seeds"


def components(features: np.ndarray) -> np.ndarray:
    """Return the principal components of standardised features, each with variance 1."""
    x = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    return np.linalg.svd(x, full_matrices=False)[0] * np.sqrt(len(x))


def study(
    drawn: pd.DataFrame, rest: pd.DataFrame, x: np.ndarray, design: Design, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Study a collection.

    Returns
    -------
    right : ndarray of shape (strategies, 2 sizes, seeds, photos)
        Whether each test photo is predicted correctly; NaN where a seed doesn't test it.
    truth : ndarray of shape (strategies, 2 sizes)
        Accuracy on the rest of the population.
    """
    held_out = None if design.folds else 0.4
    wanted = SplitSettings(folds=design.folds, test=held_out, val=0.1, seed=number)
    parts = split_samples(drawn, wanted, design.seeds)
    subsets = nested_subsets(parts["train"], "spread", number)
    full = available_samples(subsets)
    right = np.full((len(STRATEGIES), 2, design.seeds, len(drawn)), np.nan)
    truth = np.empty(right.shape[:3])
    for seed in range(design.seeds):
        test = tables.of_seed(parts["test"], seed)
        for j, count in enumerate((full // 2, full)):
            train = tables.of_seed(take_subset(subsets, count, 1), seed)
            for i, (width, strength) in enumerate(STRATEGIES.values()):
                head = LogisticRegression(C=strength, max_iter=500)
                head.fit(x[train["photo"], :width], train["label"])
                for rows, places in ((test, drawn.index.get_indexer(test["photo"])), (rest, None)):
                    hit = head.predict(x[rows["photo"], :width]) == rows["label"]
                    if places is None:
                        truth[i, j, seed] = hit.mean()
                    else:
                        right[i, j, seed, places] = hit
    return right, truth.mean(axis=2)


def results(values: np.ndarray) -> np.ndarray:
    """Return accuracy, gain and lead from values (strategies, 2 sizes, ...)."""
    return np.stack([values[0, 1], values[0, 1] - values[0, 0], values[0, 1] - values[1, 1]])


def intervals(right: np.ndarray, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Return the ends of the intervals of `RESULTS`: ndarray (results, 2)."""
    tested = ~np.isnan(right[0, 0]).all(axis=0)
    right, shown = right[..., tested], np.arange(tested.sum())
    drawn = resample(len(shown), [design.seeds] * 2, 1000, rng, folds=design.folds or 1)
    replicates = np.stack(
        [bootstrap_mean(own, shown, each) for own, each in zip(right, drawn, strict=True)]
    )
    behind = [drawn[0], drawn[0], difference(*drawn)]
    return np.array([interval(r, d) for r, d in zip(results(replicates), behind, strict=True)])


def coverage(population: Collection, design: Design) -> list[str]:
    """Return a row of the table."""
    x, manifest = components(population.features), population.manifest
    ends, truths = [], []
    for number in range(STUDIES):
        rng = np.random.default_rng(seed_for("population", design.name, number))
        chosen = rng.permutation(len(manifest))[: design.samples]
        drawn = manifest.iloc[np.sort(chosen)].set_index("photo", drop=False)
        rest = manifest[~manifest["photo"].isin(drawn["photo"])]
        right, truth = study(drawn.rename_axis(None), rest, x, design, number)
        ends.append(intervals(right, design, rng))
        truths.append(results(truth))
    low, high = np.moveaxis(np.array(ends), 2, 0)  # (studies, results)
    truth = np.mean(truths, axis=0)
    covered = ((low <= truth) & (truth <= high)).mean(axis=0)
    half = ((high - low) / 2).mean(axis=0)
    cells = [f"{100 * c:.0f} % (± {100 * h:.1f})" for c, h in zip(covered, half, strict=True)]
    return [design.name, *cells]


def main() -> None:
    folder, pattern, size = sys.argv[1:]
    population = read_collection(Path(folder), pattern, int(size))
    rows = []
    for samples in SAMPLES:
        if samples <= len(population.manifest) // 2:
            for folds, seeds in ((None, 5), (5, 5), (5, 10)):
                rows.append(coverage(population, Design(samples, folds, seeds)))
                print(rows[-1], file=sys.stderr, flush=True)
    print(
        f"\n## {Path(folder).name}, {len(population.manifest):,} photos of "
        f"{len(population.classes)} classes, {size} px\n\n{STUDIES} collections a row. In "
        "brackets: half of the mean width, in points.\n"
    )
    print(markdown_table(["study", *RESULTS], rows))


if __name__ == "__main__":
    main()
