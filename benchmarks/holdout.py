"""Does half of the photos foretell what all of them reach? On real photos, split after split.

    python benchmarks/holdout.py PHOTOS PATTERN SIZE > docs/holdout.md

for example, for ETH-80 (Leibe and Schiele, CVPR 2003):

    pattern='(?P<label>[a-z]+)(?P<sample>\\d+)-(?P<angle>\\d+-\\d+)\\.jpg'
    python benchmarks/holdout.py eth80 "$pattern" 128 > docs/holdout.md

For each of 20 random splits by sample: heads on frozen features for a grid of subsets; the learning
curve fitted to those of up to half of the photos; its forecast for all of them, with its 80 %
interval, against what a head on all of them reached on the same test samples. Takes six minutes
for ETH-80's 1,640 photos on two cores.
"""

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.core.seeds import seed_for
from shotcount.findings import learning
from shotcount.findings.curves import FAMILIES
from shotcount.networks.backbones import build_backbone
from shotcount.networks.features import extract
from shotcount.networks.weights import fetch_weights
from shotcount.photos import finding, preparing
from shotcount.sampling import splits, subsets
from shotcount.training.loop import train_network
from shotcount.training.predicting import predict
from shotcount.training.settings import TrainingSettings
from shotcount.training.strategies import STRATEGIES, Examples, assemble
from shotcount.uncertainty.bootstrap import resample
from shotcount.uncertainty.intervals import interval

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Collection:
    manifest: pd.DataFrame
    features: np.ndarray  # (photos, features) float32, of the shipped backbone
    settings: TrainingSettings  # of the frozen strategy

    @property
    def classes(self) -> list[str]:
        return sorted(self.manifest["label"].unique())


def read_collection(root: Path, pattern: str, size: int) -> Collection:
    """Read every photo at `size` px and pass it through the frozen backbone."""
    found = finding.find_photos(root, pattern)
    backbone = build_backbone("tf_efficientnet_lite0")
    backbone.load_state_dict(fetch_weights("tf_efficientnet_lite0", "shipped", Path()))
    with TemporaryDirectory() as folder:
        work, made = Path(folder, "work"), Path(folder, "pixels")
        work.mkdir()
        manifest, _ = preparing.prepare(root, found, size, "error", work, made)
        params = load_params(ROOT / "params.yaml")
        features = np.concatenate(list(extract(backbone, Pixels.open(made), params.features, CPU)))
    return Collection(manifest, features, params.train.frozen)


def train_and_test(
    collection: Collection,
    train: pd.DataFrame,
    val: pd.DataFrame,
    test: pd.DataFrame,
    key: tuple[str | int, ...],
) -> np.ndarray:
    """Return whether a head trained on `train` gets each photo of `test` right."""
    classes, features = collection.classes, collection.features
    own, look, held_out = (Examples.of(table, classes) for table in (train, val, test))
    head, load = assemble(
        STRATEGIES["frozen"], "", len(classes), features, features, collection.settings, CPU
    )
    train_network(head, load, own, look, collection.settings, key)
    return np.asarray(predict(head, load, held_out.rows).argmax(axis=1) == held_out.targets)


def foretell(collection: Collection, seed: int, seeds: int = 5) -> dict[str, float | str | bool]:
    """Fit the curve of one split to half of its photos and compare its forecast for all."""
    parts = splits.split_samples(collection.manifest, val=0.2, test=0.2, seed=seed)
    train, test = parts["train"], parts["test"]
    samples, angles = train["sample"].nunique(), int(train.groupby("sample").size().min())
    subsets = subsets.nested_subsets(train, "spread", seeds, seed)
    counts = sorted({max(len(collection.classes), round(s * samples)) for s in SAMPLES})
    shots = sorted({max(1, round(a * angles)) for a in ANGLES})
    half = [size for size in product(counts, shots) if 2 * np.prod(size) <= samples * angles]
    hits = {}
    for size in [*half, (samples, angles)]:
        rows = subsets.take_subset(subsets, *size)
        hits["frozen", *size] = np.stack(
            [
                train_and_test(
                    collection, rows[rows["seed"] == s], parts["val"], test,
                    ("holdout", seed, *size, s),
                )
                for s in range(seeds)
            ]
        )  # fmt: skip
    cells = pd.DataFrame(half, columns=["samples", "angles"])
    cells = cells.assign(strategy="frozen", photos=cells["samples"] * cells["angles"])
    rng = np.random.default_rng(seed_for("holdout", seed))
    draws = resample(test["sample"].nunique(), [seeds], 1000, rng)[0]
    learning = learning.learn(cells, hits, test["sample"].to_numpy(), draws)
    assert learning.curves is not None

    reached = hits["frozen", samples, angles].mean()
    all_samples, all_angles = np.array([samples]), np.array([angles])
    forecast = 1 - learning.curves.error(all_samples, all_angles)[:, 0]
    low, high = interval(forecast[1:], draws, level=0.8)
    families = list(learning.curves.fits)
    shares = np.bincount(learning.curves.chosen[1:], minlength=len(families))
    by_family = {
        name: float(1 - curve.error(all_samples, all_angles)[0, 0])
        for name, curve in learning.curves.fits.items()
    }
    return {
        "split": seed,
        "reached": float(reached),
        "forecast": learning.expected(forecast, draws).value,
        "low": low,
        "high": high,
        "covered": bool(low <= reached <= high),
        "family": families[shares.argmax()],
        "at half": float(1 - learning.error[0, learning.largest]),
        **by_family,
    }


SAMPLES = (1 / 6, 1 / 3, 1 / 2, 2 / 3, 1)  # of the training samples
ANGLES = (0.02, 0.05, 0.12, 0.25, 0.5, 1)  # of their angles


def main(root: str, pattern: str, size: int, count: int = 20) -> None:
    collection = read_collection(Path(root), pattern, size)
    rows = []
    for seed in range(count):
        rows.append(foretell(collection, seed))
        print(f"split {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    print(
        "# Forecast from half of the photos\n\n"
        f"Made by `python benchmarks/holdout.py {Path(root).name} '{pattern}' {size}`; its "
        f"docstring says what is done. {collection.manifest['sample'].nunique()} samples, "
        f"{len(collection.manifest)} photos, {count} random splits by sample. In % of the test "
        "photos.\n\n"
        f"The 80 % interval held what all photos reached in {table['covered'].sum()} of {count} "
        "splits.\n\n"
        "| forecast by | mean absolute error | mean error |\n| --- | ---: | ---: |"
    )
    for name in ("forecast", *FAMILIES, "at half"):
        gap = 100 * (table[name] - table["reached"])
        title = {
            "forecast": "the curve: replicates choose their families by leave-largest-out",
            "at half": "no curve: the accuracy at half of the photos",
        }.get(name, f"always the {name}")
        print(f"| {title} | {gap.abs().mean():.1f} | {gap.mean():+.1f} |")
    print("\n| split | family most chosen | forecast (80 % interval) | reached |")
    print("| ---: | --- | --- | ---: |")
    for r in table.itertuples():
        print(
            f"| {r.split} | {r.family} | {100 * r.forecast:.1f} ({100 * r.low:.1f} to "
            f"{100 * r.high:.1f}) | {100 * r.reached:.1f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
