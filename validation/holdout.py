"""Does the curve of half of the photos predict what all of them reach? On real photos.

    python validation/holdout.py PHOTOS PATTERN SIZE > docs/holdout.md

for example, for ETH-80 (Leibe and Schiele, CVPR 2003):

    pattern='(?P<label>[a-z]+)(?P<sample>\\d+)-(?P<angle>\\d+-\\d+)\\.jpg'
    python validation/holdout.py eth80 "$pattern" 128 > docs/holdout.md

For each of 20 random splits by sample: solves heads on frozen features for a grid of subsets; fits
the learning curve to those of up to half of the photos; compares its forecast for all photos, with
its 80 % interval, with what a head on all of them reached on the same test samples. Takes six
minutes for ETH-80's 1,640 photos on two cores.
"""

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from calibration import tally_hits
from scipy.special import softmax

from shotcount.core import tables
from shotcount.core.pixels import Pixels
from shotcount.core.seeds import seed_for
from shotcount.core.study import take_subset
from shotcount.findings.curves import FAMILIES
from shotcount.findings.learning import Learning, expected, learn
from shotcount.networks.backbones import build_backbone
from shotcount.networks.features import extract
from shotcount.networks.heads import solve_head
from shotcount.networks.weights import fetch_weights
from shotcount.photos.decoding import decode
from shotcount.photos.finding import find_photos
from shotcount.photos.preparing import judge, write_pixels
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.splits import split_samples
from shotcount.sampling.subsets import nested_subsets
from shotcount.scoring.predictions import class_indices
from shotcount.tasks.strategies import Examples
from shotcount.uncertainty.bootstrap import resample
from shotcount.uncertainty.intervals import interval
from shotcount.uncertainty.metrics import METRICS
from shotcount.uncertainty.writing import markdown_table

CPU = torch.device("cpu")
NETWORK = "tf_efficientnet_lite0"
SAMPLES = (1 / 6, 1 / 3, 1 / 2, 2 / 3, 1)  # of the training samples
ANGLES = (0.02, 0.05, 0.12, 0.25, 0.5, 1)  # of the angles of each

Size = tuple[int, int]  # samples, angles


@dataclass(frozen=True)
class Collection:
    manifest: pd.DataFrame
    features: np.ndarray  # (photos, features) float32, of the shipped backbone

    @property
    def classes(self) -> list[str]:
        return sorted(self.manifest["label"].unique())


def read_collection(root: Path, pattern: str | None, size: int) -> Collection:
    """Read every photo at `size` px and compute its features."""
    backbone = build_backbone(NETWORK)
    backbone.load_state_dict(fetch_weights(NETWORK, "shipped", Path()))
    with TemporaryDirectory() as folder:
        work, made = Path(folder, "work"), Path(folder, "pixels")
        work.mkdir()
        found = find_photos(root, pattern)
        facts = decode(root, found, size, "crop", work)
        usable, _ = judge(found, list(facts), "skip")
        manifest = write_pixels(usable, size, work, made)
        features = np.concatenate(list(extract(backbone, Pixels.open(made), CPU)))
    return Collection(manifest, features)


def solve_and_predict(
    collection: Collection, train: pd.DataFrame, val: pd.DataFrame, test: pd.DataFrame
) -> np.ndarray:
    """Return the probabilities (photos of `test`, classes) by a head that is solved on `train`."""
    known, unseen, (x, _) = [
        (collection.features[part.rows], part.targets)
        for part in (Examples.of(own, collection.classes) for own in (train, val, test))
    ]
    head = solve_head(known, unseen, len(collection.classes)).state
    logits = x @ head["weight"].numpy().T + head["bias"].numpy()
    return np.asarray(softmax(logits.astype(np.float64), axis=1))


def solve_and_test(
    collection: Collection, train: pd.DataFrame, val: pd.DataFrame, test: pd.DataFrame
) -> np.ndarray:
    """Return which photos of `test` a head that is solved on `train` predicts correctly."""
    chosen = solve_and_predict(collection, train, val, test).argmax(axis=1)
    return np.asarray(chosen == class_indices(test["label"], collection.classes))


def learn_from_half(
    collection: Collection, split: int, seeds: int
) -> tuple[Learning, Size, np.ndarray]:
    """Solve heads on subsets of one split; analyse those of up to half of its training photos.

    Returns the analysis, the largest size (all samples, all angles that every one of them has), and
    which test photos its heads predict correctly: ndarray of shape (seeds, test photos), bool.
    """
    wanted = SplitSettings(folds=None, val=0.2, test=0.2, seed=split)
    parts = split_samples(collection.manifest, wanted, seeds)
    train, test = tables.of_seed(parts["train"], 0), tables.of_seed(parts["test"], 0)
    samples, angles = train["sample"].nunique(), int(train.groupby("sample").size().min())
    subsets = nested_subsets(parts["train"], "spread", split)
    counts = sorted({max(len(collection.classes), round(s * samples)) for s in SAMPLES})
    shots = sorted({max(1, round(a * angles)) for a in ANGLES})
    half = [size for size in product(counts, shots) if 2 * np.prod(size) <= samples * angles]
    hits = {}
    for size in [*half, (samples, angles)]:
        rows = take_subset(subsets, *size)
        right = []
        for seed in range(seeds):
            own, val = (tables.of_seed(every, seed) for every in (rows, parts["val"]))
            right.append(solve_and_test(collection, own, val, test))
        hits["frozen", *size] = np.stack(right)
    cells = pd.DataFrame(half, columns=["samples", "angles"])
    cells = cells.assign(strategy="frozen", photos=cells["samples"] * cells["angles"])
    rng = np.random.default_rng(seed_for("holdout", split))
    resamples = resample(test["sample"].nunique(), [seeds], 1000, rng)[0]
    shown = test["sample"].to_numpy()
    tallies = {cell: tally_hits(right, shown) for cell, right in hits.items()}
    learning = learn(cells, tallies, METRICS["accuracy"], resamples)
    return learning, (samples, angles), hits["frozen", samples, angles]


def forecast(collection: Collection, split: int, seeds: int = 5) -> dict[str, object]:
    """Compare the forecast from half of one split's photos with what all of them reach."""
    learning, size, right = learn_from_half(collection, split, seeds)
    curves, (samples, angles) = learning.curves, np.array(size)[:, None]
    assert curves is not None
    reached = float(right.mean())
    rows = 1 - curves.error(samples, angles)[:, 0]
    low, high = interval(rows[1:], learning.resamples, level=0.8)
    families = list(curves.fits)
    shares = np.bincount(curves.chosen[1:], minlength=len(families))
    return {
        "split": split,
        "reached": reached,
        "forecast": expected(rows, learning.resamples).value,
        "low": low,
        "high": high,
        "covered": bool(low <= reached <= high),
        "family": families[shares.argmax()],
        "at half": float(1 - learning.error[0, learning.largest]),
    } | {name: float(1 - curve.error(samples, angles)[0, 0]) for name, curve in curves.fits.items()}


def errors(table: pd.DataFrame) -> str:
    """Lay out the errors of each forecast, in points of accuracy, averaged over the splits."""
    titles = {
        "forecast": "the curve: replicates choose their families by leave-largest-out",
        **{name: f"always the {name}" for name in FAMILIES},
        "at half": "no curve: the accuracy at half of the photos",
    }
    gaps = {title: 100 * (table[name] - table["reached"]) for name, title in titles.items()}
    rows = [(title, f"{g.abs().mean():.1f}", f"{g.mean():+.1f}") for title, g in gaps.items()]
    return markdown_table(["forecast by", "mean absolute error", "mean error"], rows)


def main(root: str, pattern: str | None, size: int, count: int = 20) -> None:
    collection = read_collection(Path(root), pattern, size)
    rows = []
    for split in range(count):
        rows.append(forecast(collection, split))
        print(f"split {split}: {rows[-1]}", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    heads = ["split", "family most chosen", "forecast (80 % interval)", "reached"]
    splits = [
        (str(r.split), r.family, f"{100 * r.forecast:.1f} ({100 * r.low:.1f} to "
         f"{100 * r.high:.1f})", f"{100 * r.reached:.1f}")
        for r in table.itertuples()
    ]  # fmt: skip
    print(
        "# Forecast from half of the photos\n\n"
        f"Made by `python validation/holdout.py {Path(root).name} '{pattern}' {size}`; its "
        f"docstring says what is done. {collection.manifest['sample'].nunique()} samples, "
        f"{len(collection.manifest)} photos, {count} random splits by sample. In % of the test "
        "photos.\n\n"
        f"The 80 % interval held what all photos reached in {table['covered'].sum()} of {count} "
        f"splits.\n\n{errors(table)}\n\n{markdown_table(heads, splits)}"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
