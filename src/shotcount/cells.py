"""A cell of the study, one strategy on one subset: train every seed of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from shotcount import files, tables
from shotcount.devices import seeded
from shotcount.params import Training
from shotcount.seeds import seed_for
from shotcount.splits import sample_count, take_subset
from shotcount.training import STRATEGIES, Photos, assemble, fit


@dataclass(frozen=True)
class Study:
    """What every cell of a strategy is trained with."""

    strategy: str
    settings: Training
    seed: int
    network: str  # the backbone's torchvision or timm name
    device: torch.device
    pixels: np.ndarray  # (photos, size, size, 3) uint8
    features: np.ndarray  # (photos, features) float32
    pretrained: Mapping[str, torch.Tensor] | None
    subsets: pd.DataFrame  # tables.SUBSETS
    val: pd.DataFrame  # tables.SPLIT


def train_cell(study: Study, size: int | float, angles: int, folder: Path) -> None:
    """Train every seed of a cell; write weights, history and model.json into a new `folder`."""
    folder.mkdir()
    classes = sorted(study.val["label"].unique())
    samples = sample_count(size, study.subsets["sample"].nunique())
    subset = take_subset(study.subsets, samples, angles)
    val = Photos.of(study.val, classes)
    histories = []
    for seed in range(study.settings.seeds):
        start = time.perf_counter()
        key = (study.seed, study.strategy, samples, angles, seed)
        train = Photos.of(subset[subset["seed"] == seed], classes)
        with seeded(seed_for("initialisation", *key)):
            network, load = assemble(
                STRATEGIES[study.strategy], study.network, len(classes), study.pixels,
                study.features, study.settings, study.device, study.pretrained,
            )  # fmt: skip
        title = f"{study.strategy} {samples} samples x {angles} angles, seed {seed}"
        with tqdm(desc=title, unit="step", disable=None) as bar:
            history = fit(network, load, train, val, study.settings, key, partial(_advance, bar))
        best = history.loc[history["val_loss"].idxmin()]
        print(
            f"{title}: {len(train.rows)} photos, {history['step'].iloc[-1]} steps, "
            f"validation accuracy {best['val_accuracy']:.3f} at step {best['step']:.0f}, "
            f"{time.perf_counter() - start:.1f} s",
            flush=True,
        )
        histories.append(history.assign(seed=seed))
        weights = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(weights, folder / f"seed{seed}.safetensors")
    cell = {
        "strategy": study.strategy,
        "samples": samples,
        "angles": angles,
        "photos": len(train.rows),
    }
    history = pd.concat(histories).assign(**cell)
    tables.write(folder / "history.csv", history, tables.METRICS["history"])
    model = {
        "seeds": study.settings.seeds,
        "network": study.network,
        "size": study.pixels.shape[1],
        "classes": classes,
    }
    files.write_json(folder / "model.json", cell | model)


def _advance(bar: Any, step: int, steps: int, loss: float) -> None:
    bar.total = steps
    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
    bar.update()
