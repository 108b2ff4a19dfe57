"""Are wrong labels found? On real photos, some of whose labels are made wrong.

    python validation/suspects.py PHOTOS PATTERN SIZE >> docs/suspects.md

Reads the photos below PHOTOS at SIZE px (PATTERN as `data.pattern`). Three times, gives 5 % of the
samples the label of another class, drawn at random; solves heads on frozen features with 5 folds,
as the pipeline does; lists suspects. Prints how many of the wrong labels are found among as many
suspects as there are wrong labels, and among all suspects, with the accuracy on photos whose label
was left alone. A label that was wrong from the start counts as a mistake of the method. Samples
with several suspects count once.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from holdout import Collection, read_collection, solve_and_predict

from shotcount.core import tables
from shotcount.core.seeds import seed_for
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.splits import split_samples
from shotcount.scoring.predictions import predictions_table
from shotcount.scoring.scores import score
from shotcount.scoring.suspects import find_suspects
from shotcount.uncertainty.writing import markdown_table, percent

DRAWS, FOLDS, WRONG = 3, 5, 0.05


def plant(manifest: pd.DataFrame, draw: int) -> tuple[pd.DataFrame, set[str]]:
    """Return the manifest with wrong labels, and the samples that have them."""
    rng = np.random.default_rng(seed_for("suspects", draw))
    labels = manifest.groupby("sample")["label"].first()
    planted = rng.choice(labels.index.to_numpy(), max(1, round(WRONG * len(labels))), replace=False)
    for sample in planted:
        labels[sample] = rng.choice(sorted(set(manifest["label"]) - {labels[sample]}))
    return manifest.assign(label=manifest["sample"].map(labels)), set(planted)


def predict_all(collection: Collection, split: int) -> pd.DataFrame:
    """Predict every photo by a head that is solved on other samples."""
    wanted = SplitSettings(folds=FOLDS, test=None, val=0.15, seed=split)
    parts = split_samples(collection.manifest, wanted, FOLDS)
    runs = []
    for seed in range(FOLDS):
        train, val, test = (tables.of_seed(part, seed) for part in parts.values())
        p = solve_and_predict(collection, train, val, test)
        runs.append(predictions_table(test, p, collection.classes))
    return pd.concat(runs)


def row(collection: Collection, draw: int) -> list[str]:
    """Plant wrong labels once; return a row of the table."""
    manifest, planted = plant(collection.manifest, draw)
    shown = Collection(manifest, collection.features)
    predictions = predict_all(shown, draw)
    doubted = find_suspects(predictions, shown.classes)["sample"].drop_duplicates()
    kept = predictions[~predictions["sample"].isin(planted)]
    accuracy = score(kept, shown.classes)["accuracy"]
    cells = [str(draw), percent(accuracy), str(len(planted))]
    for listed in (doubted.head(len(planted)), doubted):
        found = listed.isin(planted).sum()
        precision = percent(found / len(listed)) if len(listed) else "–"
        cells += [str(len(listed)), str(found), precision, percent(found / len(planted))]
    return cells


def main(root: str, pattern: str, size: int) -> None:
    collection = read_collection(Path(root), pattern, size)
    rows = []
    for draw in range(DRAWS):
        rows.append(row(collection, draw))
        print(rows[-1], file=sys.stderr, flush=True)
    print(
        f"\n## {Path(root).name}: {collection.manifest['sample'].nunique():,} samples, "
        f"{len(collection.manifest):,} photos of {len(collection.classes)} classes, {size} px\n"
    )
    found = ["found", "precision", "recall"]
    print(markdown_table(["draw", "accuracy", "planted", "first", *found, "all", *found], rows))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
