"""Train one cell, every seed of it: train.py STRATEGY SAMPLES ANGLES → data/models/…"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from shotcount import files, splits, tables
from shotcount.devices import pick_device, seeded
from shotcount.errors import run_stage
from shotcount.params import load_params
from shotcount.seeds import seed_for
from shotcount.training import STRATEGIES, Photos, assemble, fit


def main() -> None:
    name, size, angles = sys.argv[1], yaml.safe_load(sys.argv[2]), int(sys.argv[3])
    params = load_params(Path("params.yaml"))
    strategy, settings = STRATEGIES[name], getattr(params.train, name)
    device = pick_device(params.device)
    pixels = np.load("data/pixels.npy", mmap_mode="r")
    features = np.load("data/features.npy", mmap_mode="r")
    pretrained = load_file("data/backbone.safetensors")
    subsets = tables.read(Path("data/subsets.csv"), tables.SUBSETS)
    val = tables.read(Path("data/splits/val.csv"), tables.SPLIT)
    classes = sorted(val["label"].unique())
    samples = splits.sample_count(size, subsets["sample"].nunique())
    subset = splits.take_subset(subsets, samples, angles)
    cell = {"strategy": name, "samples": samples, "angles": angles}

    with files.atomic(Path(f"data/models/{name}/{size}x{angles}")) as folder:
        folder.mkdir()
        histories = []
        for seed in range(settings.seeds):
            start, key = time.perf_counter(), (params.study.seed, name, samples, angles, seed)
            train = Photos.of(subset[subset["seed"] == seed], classes)
            with seeded(seed_for("initialisation", *key)):
                network, load = assemble(
                    strategy, params.model.name, len(classes), pixels, features, settings, device,
                    pretrained,
                )  # fmt: skip
            title = f"{name} {samples} samples x {angles} angles, seed {seed}"
            with tqdm(desc=title, unit="step", disable=None) as bar:
                history = fit(
                    network, load, train, Photos.of(val, classes), settings, key,
                    partial(advance, bar),
                )  # fmt: skip
            best = history.loc[history["val_loss"].idxmin()]
            print(
                f"{title}: {len(train.rows)} photos, {history['step'].iloc[-1]} steps, "
                f"validation accuracy {best['val_accuracy']:.3f} at step {best['step']:.0f}, "
                f"{time.perf_counter() - start:.1f} s",
                flush=True,
            )
            histories.append(history.assign(seed=seed))
            weights = {key: value.contiguous() for key, value in network.state_dict().items()}
            save_file(weights, folder / f"seed{seed}.safetensors")
        tables.write(folder / "history.csv", pd.concat(histories), tables.HISTORY)
        model = {"network": params.model.name, "size": pixels.shape[1], "classes": classes}
        counts = {"photos": len(train.rows), "seeds": settings.seeds}
        files.write_json(folder / "model.json", {**cell, **counts, **model})


def advance(bar: Any, step: int, steps: int, loss: float) -> None:
    bar.total = steps
    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
    bar.update()


if __name__ == "__main__":
    run_stage(main)
