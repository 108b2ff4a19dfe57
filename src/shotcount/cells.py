"""A cell of the study, one strategy on one subset: train every seed of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from shotcount import files, ranks, tables
from shotcount.checkpoints import Checkpoint
from shotcount.devices import describe, exempt_depthwise, gpu_count, in_pieces, seeded
from shotcount.heads import Classifier, solve_head
from shotcount.params import FineTuning, Parallel, Training
from shotcount.pixels import Pixels
from shotcount.progress import Meter
from shotcount.seeds import seed_for
from shotcount.splits import sample_count, take_subset
from shotcount.training import (
    STRATEGIES,
    WINDOW,
    Photos,
    Progress,
    assemble,
    fit,
    training_steps,
)


@dataclass(frozen=True)
class Study:
    """What every cell of a strategy is trained with."""

    strategy: str
    settings: Training
    seed: int
    network: str  # the backbone's torchvision or timm name
    device: torch.device
    precision: torch.dtype  # of the steps of a network that sees photos
    compiled: bool  # whether those steps are
    parallel: Parallel
    pixels: Pixels
    features: np.ndarray  # (photos, 1 + views, features) float32
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
    photos = int((subset["seed"] == 0).sum())
    cell = {
        "strategy": study.strategy,
        "samples": samples,
        "angles": angles,
        "photos": photos,
    }
    record, table = folder / "history.csv", tables.METRICS["history"]
    histories = [tables.read(record, table)] if record.exists() else []
    ended = list(histories[0].groupby("seed")["step"].max()) if histories else []  # last steps
    own, val = study.settings, Photos.of(study.val, classes)
    steps = training_steps(photos, own.batch_size, own.epochs, own.min_steps)
    processes = _processes(study, subset.groupby("seed").size().min(), steps)
    with Meter(f"{study.strategy} {samples}x{angles}", own.seeds * steps, "step") as meter:
        for seed in range(len(ended), own.seeds):
            start = time.perf_counter()
            rows = subset[subset["seed"] == seed]
            if len(rows) > WINDOW:  # in the order of the array, so that a window's are neighbours
                rows = rows.sort_values("photo")
            train = Photos.of(rows, classes)
            on_step = partial(_show, meter, tuple(ended), own.seeds)
            history = _train_seed(
                study, cell, seed, train, val, folder, checkpoints, processes, on_step
            )
            histories.append(history.assign(seed=seed, **cell))
            tables.write(record, pd.concat(histories), table)
            ended.append(history["step"].max())
            if not meter.live:
                _tell(_title(cell, seed), len(train.rows), history, time.perf_counter() - start)
        best = pd.concat(histories).sort_values("val_loss").drop_duplicates("seed")
        said = f"{own.seeds} seeds, val_accuracy {best['val_accuracy'].mean():.3f}"
        meter.show(sum(ended), sum(ended), said)
    model = {
        "seeds": study.settings.seeds,
        "network": study.network,
        "size": study.pixels.shape[1],
        "classes": classes,
        "device": describe(study.device),
        "precision": str(study.precision).removeprefix("torch."),
        "processes": processes,
        "samples_seen": sorted({*subset["sample"], *study.val["sample"]}),
    }
    files.write_json(folder / "model.json", cell | model)


def _processes(study: Study, fewest: int, steps: int) -> int:
    """Choose how many processes train each network of a cell, from so many photos or more."""
    batch_size = study.settings.batch_size
    if STRATEGIES[study.strategy].cached or study.compiled or fewest < batch_size:
        return 1
    shown = steps * batch_size
    return ranks.process_count(study.parallel, gpu_count(study.device), batch_size, shown)


def _train_seed(
    study: Study,
    cell: dict[str, Any],
    seed: int,
    train: Photos,
    val: Photos,
    folder: Path,
    checkpoints: Path,
    processes: int,
    on_step: Callable[[Progress, int], None],
) -> pd.DataFrame:
    own, key = study.settings, (study.seed, study.strategy, cell["samples"], cell["angles"], seed)
    head, classes = None, study.val["label"].nunique()
    if isinstance(own, FineTuning) and own.init_head == "frozen":
        known, unseen = ((study.features[p.rows, 0], p.targets) for p in (train, val))
        head = solve_head(known, unseen, classes)
    title, lean = _title(cell, seed), study
    if processes > 1:  # what other processes need no more of, they needn't be sent
        none = {"features": study.features[:0], "subsets": study.subsets[:0], "val": study.val[:0]}
        lean = replace(study, **none)

    def run(piece: int) -> tuple[pd.DataFrame, Checkpoint]:
        # One for each piece: what began in larger pieces is no start for smaller ones.
        name = "-".join(map(str, (*key, piece)))
        checkpoint = Checkpoint(checkpoints / f"{name}.pt")
        work = partial(
            _fit, lean, head, classes, key, train, val, checkpoint.path, piece,
            folder / f"seed{seed}.safetensors", on_step,
        )  # fmt: skip
        if processes == 1:
            return work(), checkpoint
        print(f"{title}: {processes} processes", flush=True)
        return ranks.launch(work, processes, study.device), checkpoint

    share = min(own.batch_size, len(train.rows)) // processes
    history, checkpoint = in_pieces(run, share, f"training {title}")
    checkpoint.clear()
    return history


def _fit(
    study: Study,
    head: Mapping[str, torch.Tensor] | None,
    classes: int,
    key: tuple[str | int, ...],
    train: Photos,
    val: Photos,
    checkpoint: Path,
    piece: int,
    weights: Path,
    on_step: Callable[[Progress, int], None],
) -> pd.DataFrame:
    """Train one network, alone or as a rank, and write its weights."""
    first = ranks.place()[0] == 0
    with seeded(seed_for("initialisation", *key)):
        network, load = assemble(
            STRATEGIES[study.strategy], study.network, classes, study.pixels,
            study.features, study.settings, study.device, study.pretrained,
        )  # fmt: skip
        if head is not None:
            assert isinstance(network, Classifier)
            network.head.load_state_dict(head)
        if study.precision != torch.float32:
            exempt_depthwise(network, study.device)
        history = fit(
            network, load, train, val, study.settings, key, Checkpoint(checkpoint), piece,
            study.precision, study.compiled, on_step if first else _say_nothing,
        )  # fmt: skip
    if first:
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        files.write_bytes(weights, safetensors.torch.save(state))
    return history


def _say_nothing(progress: Progress, steps: int) -> None:
    pass


def _title(cell: Mapping[str, Any], seed: int) -> str:
    return f"{cell['strategy']} {cell['samples']} samples x {cell['angles']} angles, seed {seed}"


def _tell(title: str, photos: int, history: pd.DataFrame, seconds: float) -> None:
    best = history.loc[history["val_loss"].idxmin()]
    accuracy = f"validation accuracy {best['val_accuracy']:.3f} at step {best['step']:.0f}"
    print(
        f"{title}: {photos} photos, {history['step'].iloc[-1]} steps, {accuracy}, {seconds:.1f} s",
        flush=True,
    )


def _show(meter: Meter, ended: Sequence[int], seeds: int, run: Progress, steps: int) -> None:
    """Show a seed's step as one of its cell, of which `ended` seeds have ended after so many.

    As training may stop early, the seeds to come are expected to take what those took.
    """
    to_come = round((seeds - len(ended) - 1) * (sum(ended) / len(ended) if ended else steps))

    def note() -> str:
        said = f"seed {len(ended) + 1}/{seeds}"
        losses: list[Any] = run.losses or [look["train_loss"] for look in run.history]
        if losses:
            said += f", loss {losses[-1]:.3f}"
        if run.history:
            said += f", val_accuracy {run.history[-1]['val_accuracy']:.3f}"
        return said

    meter.show(sum(ended) + run.step, sum(ended) + steps + to_come, note)
