"""Train a cell: one strategy on one subset, all seeds."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch

from shotcount.core import files, tables
from shotcount.core.progress import Meter
from shotcount.core.seeds import seed_for
from shotcount.core.study import sample_count, take_subset
from shotcount.networks.devices import (
    describe,
    exempt_depthwise,
    gpu_count,
    in_pieces,
    pick_precision,
    seeded,
)
from shotcount.networks.heads import Network, solve_head
from shotcount.training import ranks
from shotcount.training.batches import WINDOW
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.loop import Run, RunState, train_network
from shotcount.training.settings import FineTuningSettings, ParallelSettings, TrainingSettings
from shotcount.training.strategies import STRATEGIES, Arrays, Examples, assemble


@dataclass(frozen=True)
class Compute:
    """Where and how networks are trained."""

    device: torch.device
    precision: torch.dtype  # precision of the training steps of a network that sees photos
    compiled: bool  # whether torch.compile compiles these steps
    parallel: ParallelSettings

    @classmethod
    def of(
        cls,
        strategy: str,
        device: torch.device,
        precision: str,
        compiled: bool,
        parallel: ParallelSettings,
    ) -> "Compute":
        """Choose for a strategy: a head on cached features is small and is trained in float32."""
        cached = STRATEGIES[strategy].cached
        chosen = pick_precision("float32" if cached else precision, device)
        return cls(device, chosen, compiled and not cached, parallel)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all cells of a strategy have in common."""

    strategy: str
    settings: TrainingSettings
    study_seed: int
    network: str  # the backbone's torchvision or timm name
    compute: Compute
    arrays: Arrays
    pretrained: Mapping[str, torch.Tensor] | None  # weights of the backbone
    subsets: pd.DataFrame  # tables.SUBSETS
    val: pd.DataFrame  # tables.SPLIT

    @property
    def classes(self) -> list[str]:
        return sorted(self.val["label"].unique())


def train_cell(
    setup: Setup, size: int | float, angles: int, folder: Path, checkpoints: Path
) -> None:
    """Train every seed of a cell; write weights, history and, last, model.json into `folder`.

    Resumes interrupted work: finished seeds are kept, and the unfinished one resumes from its
    checkpoint in the folder `checkpoints`.
    """
    if (folder / "model.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    samples = sample_count(size, setup.subsets["sample"].nunique())
    subset = take_subset(setup.subsets, samples, angles)
    subset = subset[subset["seed"] < setup.settings.seeds]
    photos = int((subset["seed"] == 0).sum())
    cell = {"strategy": setup.strategy, "samples": samples, "angles": angles, "photos": photos}
    record, seeds = folder / "history.csv", setup.settings.seeds
    histories = [tables.read(record, tables.HISTORY)] if record.exists() else []
    ended = list(histories[0].groupby("seed")["step"].max()) if histories else []  # last steps
    runs = [_run(setup, cell, subset, seed) for seed in range(seeds)]
    processes = _processes(setup, runs)
    title = f"{setup.strategy} {samples}x{angles}"
    with Meter(title, seeds * runs[0].steps, "step") as meter:
        for seed in range(len(ended), seeds):
            start = time.perf_counter()
            on_step = partial(_show, meter, tuple(ended), seeds)
            history = _train_seed(setup, runs[seed], folder, checkpoints, processes, on_step)
            histories.append(history.assign(seed=seed, **cell))
            tables.write(record, pd.concat(histories), tables.HISTORY)
            ended.append(history["step"].max())
            if not meter.live:
                _tell(runs[seed], history, time.perf_counter() - start)
        best = pd.concat(histories).sort_values("val_loss").drop_duplicates("seed")
        note = f"{seeds} seeds, val_accuracy {best['val_accuracy'].mean():.3f}"
        meter.show(sum(ended), sum(ended), note)
    model = {
        "seeds": seeds,
        "network": setup.network,
        "size": setup.arrays.pixels.shape[1],
        "classes": setup.classes,
        "settings": setup.settings.model_dump(),
        "device": describe(setup.compute.device),
        "precision": str(setup.compute.precision).removeprefix("torch."),
        "processes": processes,
        "samples_seen": sorted({*subset["sample"], *setup.val["sample"]}),
    }
    files.write_json(folder / "model.json", cell | model)


def _run(setup: Setup, cell: Mapping[str, Any], subset: pd.DataFrame, seed: int) -> Run:
    rows = subset[subset["seed"] == seed]
    if len(rows) > WINDOW:  # in the order of the array, so that a window holds neighbours
        rows = rows.sort_values("photo")
    return Run(
        key=(setup.study_seed, setup.strategy, cell["samples"], cell["angles"], seed),
        train=Examples.of(rows, setup.classes),
        val=Examples.of(setup.val, setup.classes),
        settings=setup.settings,
        precision=setup.compute.precision,
        compiled=setup.compute.compiled,
    )


def _processes(setup: Setup, runs: Sequence[Run]) -> int:
    """Choose how many processes train each network of a cell."""
    batch_size, compute = setup.settings.batch_size, setup.compute
    fewest = min(len(run.train.rows) for run in runs)
    if STRATEGIES[setup.strategy].cached or compute.compiled or fewest < batch_size:
        return 1
    shown = runs[0].steps * batch_size
    return ranks.process_count(compute.parallel, gpu_count(compute.device), batch_size, shown)


def _train_seed(
    setup: Setup,
    run: Run,
    folder: Path,
    checkpoints: Path,
    processes: int,
    on_step: Callable[[RunState, int], None],
) -> pd.DataFrame:
    """Train one seed, in pieces that fit the memory; write its weights."""
    head = None
    if isinstance(run.settings, FineTuningSettings) and run.settings.init_head == "frozen":
        features = setup.arrays.features
        known, unseen = ((features[e.rows, 0], e.targets) for e in (run.train, run.val))
        head = solve_head(known, unseen, len(setup.classes))
    lean = setup
    if processes > 1:  # don't send processes data that they don't use
        arrays = replace(setup.arrays, features=setup.arrays.features[:0])
        lean = replace(setup, arrays=arrays, subsets=setup.subsets[:0])

    def train(piece: int) -> tuple[pd.DataFrame, Checkpoint]:
        # One checkpoint per piece size, since a run must not resume with smaller pieces.
        checkpoint = Checkpoint(checkpoints / f"{'-'.join(map(str, (*run.key, piece)))}.pt")
        weights = folder / f"seed{run.key[-1]}.safetensors"
        own = replace(run, piece=piece)
        work = partial(_train_rank, lean, head, own, checkpoint.path, weights, on_step)
        if processes == 1:
            return work(), checkpoint
        print(f"{_title(run)}: {processes} processes", flush=True)
        return ranks.launch(work, processes, setup.compute.device), checkpoint

    share = min(run.settings.batch_size, len(run.train.rows)) // processes
    history, checkpoint = in_pieces(train, share, f"training {_title(run)}")
    checkpoint.clear()
    return history


def _train_rank(
    setup: Setup,
    head: Mapping[str, torch.Tensor] | None,
    run: Run,
    checkpoint: Path,
    weights: Path,
    on_step: Callable[[RunState, int], None],
) -> pd.DataFrame:
    """Train one network, in this process alone or as one of several ranks; write its weights."""
    first = ranks.rank_and_size()[0] == 0
    with seeded(seed_for("initialisation", *run.key)):
        network, load = assemble(
            STRATEGIES[setup.strategy], setup.network, len(setup.classes), setup.arrays,
            setup.compute.device, run.settings, setup.pretrained,
        )  # fmt: skip
        if head is not None:
            assert isinstance(network, Network)
            network.head.load_state_dict(head)
        if run.precision != torch.float32:
            exempt_depthwise(network, setup.compute.device)
        show = on_step if first else _show_nothing
        history = train_network(network, load, run, Checkpoint(checkpoint), show)
    if first:
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        files.write_bytes(weights, safetensors.torch.save(state))
    return history


def _show_nothing(state: RunState, steps: int) -> None:
    pass


def _title(run: Run) -> str:
    _, strategy, samples, angles, seed = run.key
    return f"{strategy} {samples} samples x {angles} angles, seed {seed}"


def _tell(run: Run, history: pd.DataFrame, seconds: float) -> None:
    best = history.loc[history["val_loss"].idxmin()]
    accuracy = f"validation accuracy {best['val_accuracy']:.3f} at step {best['step']:.0f}"
    photos, steps = len(run.train.rows), history["step"].iloc[-1]
    print(f"{_title(run)}: {photos} photos, {steps} steps, {accuracy}, {seconds:.1f} s", flush=True)


def _show(meter: Meter, ended: Sequence[int], seeds: int, state: RunState, steps: int) -> None:
    """Show a seed's step as progress of its cell. `ended`: the steps of each finished seed.

    Training may stop early, so the seeds to come are expected to take the mean of `ended`.
    """
    to_come = round((seeds - len(ended) - 1) * (sum(ended) / len(ended) if ended else steps))

    def note() -> str:
        parts = [f"seed {len(ended) + 1}/{seeds}"]
        losses: list[Any] = state.losses or [look["train_loss"] for look in state.history]
        if losses:
            parts.append(f"loss {losses[-1]:.3f}")
        if state.history:
            parts.append(f"val_accuracy {state.history[-1]['val_accuracy']:.3f}")
        return ", ".join(parts)

    meter.show(sum(ended) + state.step, sum(ended) + steps + to_come, note)
