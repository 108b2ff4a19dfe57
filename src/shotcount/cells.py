"""A cell of the study, one strategy on one subset: train every seed of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from tqdm import tqdm

from shotcount import files, tables
from shotcount.checkpoints import Checkpoint
from shotcount.devices import in_pieces, seeded
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


def train_cell(
    study: Study, size: int | float, angles: int, folder: Path, checkpoints: Path
) -> None:
    """Train every seed of a cell into `folder`: weights, history and, last of all, model.json.

    What an interrupted call left is gone on with: finished seeds are kept, and the unfinished one
    continues from its state in the folder `checkpoints`.
    """
    if (folder / "model.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    classes = sorted(study.val["label"].unique())
    samples = sample_count(size, study.subsets["sample"].nunique())
    subset = take_subset(study.subsets, samples, angles)
    subset = subset[subset["seed"] < study.settings.seeds]
    cell = {
        "strategy": study.strategy,
        "samples": samples,
        "angles": angles,
        "photos": int((subset["seed"] == 0).sum()),
    }
    record, table = folder / "history.csv", tables.METRICS["history"]
    histories = [tables.read(record, table)] if record.exists() else []
    done = histories[0]["seed"].nunique() if histories else 0
    for seed in range(done, study.settings.seeds):
        train = Photos.of(subset[subset["seed"] == seed], classes)
        val = Photos.of(study.val, classes)
        history = _train_seed(study, cell, seed, train, val, folder, checkpoints)
        histories.append(history.assign(seed=seed, **cell))
        tables.write(record, pd.concat(histories), table)
    model = {
        "seeds": study.settings.seeds,
        "network": study.network,
        "size": study.pixels.shape[1],
        "classes": classes,
        "samples_seen": sorted({*subset["sample"], *study.val["sample"]}),
    }
    files.write_json(folder / "model.json", cell | model)


def _train_seed(
    study: Study,
    cell: dict[str, Any],
    seed: int,
    train: Photos,
    val: Photos,
    folder: Path,
    checkpoints: Path,
) -> pd.DataFrame:
    start = time.perf_counter()
    key = (study.seed, study.strategy, cell["samples"], cell["angles"], seed)
    title = f"{study.strategy} {cell['samples']} samples x {cell['angles']} angles, seed {seed}"
    classes = study.val["label"].nunique()

    def run(piece: int) -> tuple[torch.nn.Module, pd.DataFrame, Checkpoint]:
        # One for each piece: what began in larger pieces is no start for smaller ones.
        name = "-".join(map(str, (*key, piece)))
        checkpoint = Checkpoint(checkpoints / f"{name}.pt")
        with (
            seeded(seed_for("initialisation", *key)),
            tqdm(desc=title, unit="step", disable=None) as bar,
        ):
            network, load = assemble(
                STRATEGIES[study.strategy], study.network, classes, study.pixels,
                study.features, study.settings, study.device, study.pretrained,
            )  # fmt: skip
            history = fit(
                network, load, train, val, study.settings, key,
                checkpoint, piece, partial(_advance, bar),
            )  # fmt: skip
        return network, history, checkpoint

    batch_size = min(study.settings.batch_size, len(train.rows))
    network, history, checkpoint = in_pieces(run, batch_size, f"training {title}")
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    files.write_bytes(folder / f"seed{seed}.safetensors", safetensors.torch.save(weights))
    checkpoint.clear()
    best = history.loc[history["val_loss"].idxmin()]
    print(
        f"{title}: {len(train.rows)} photos, {history['step'].iloc[-1]} steps, "
        f"validation accuracy {best['val_accuracy']:.3f} at step {best['step']:.0f}, "
        f"{time.perf_counter() - start:.1f} s",
        flush=True,
    )
    return history


def _advance(bar: Any, step: int, steps: int, loss: float) -> None:
    bar.total = steps
    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
    bar.update(step - bar.n)
