"""Train a cell: one strategy on one subset, all seeds."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch

from shotcount.core import files, tables
from shotcount.core.progress import Meter
from shotcount.core.seeds import seed_for
from shotcount.core.study import available_samples, sample_count, take_subset
from shotcount.networks.devices import (
    describe,
    gpu_count,
    in_pieces,
    seeded,
)
from shotcount.parallel import ranks
from shotcount.parallel.side_by_side import Report, network_count, run_side_by_side
from shotcount.tasks.strategies import STRATEGIES, Examples
from shotcount.training.batches import WINDOW
from shotcount.training.budgets import EARLY, training_steps
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.frozen import frozen_head, solve
from shotcount.training.loop import Run, RunState, train_network
from shotcount.training.settings import FrozenSettings, TrainingSettings
from shotcount.training.setup import Setup


def train_cell(
    setup: Setup, size: int | float, angles: int, folder: Path, checkpoints: Path
) -> None:
    """Train every seed of a cell; write weights, history and, last, model.json into `folder`.

    Resumes interrupted work: finished seeds are kept, and unfinished ones resume from their
    checkpoints in the folder `checkpoints`.
    """
    if (folder / "model.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    samples = sample_count(size, available_samples(setup.subsets))
    seeds, compute = setup.settings.seeds, setup.compute
    subset = take_subset(setup.subsets, samples, angles)
    subset = subset[subset["seed"] < seeds]
    photos = int((subset["seed"] == 0).sum())
    cell = {"strategy": setup.strategy, "samples": samples, "angles": angles, "photos": photos}
    most_steps = _most_steps(setup, photos)
    record = folder / "history.csv"
    done = [tables.read(record, tables.HISTORY)] if record.exists() else []
    ended = set(done[0]["seed"]) if done else set()
    waiting = [seed for seed in range(seeds) if seed not in ended]
    processes = process_count(setup, subset)
    at_once = 1 if processes > 1 else network_count(compute.parallel, compute.device)
    work = partial(_train_seed, setup, cell, subset, folder, checkpoints)
    if STRATEGIES[setup.strategy].pretrained:
        import_module("sklearn.linear_model")  # here, not in each forked process
    steps = dict.fromkeys(ended, most_steps) | dict.fromkeys(waiting, 0)
    title, most = f"{setup.strategy} {samples}x{angles}", seeds * most_steps
    with Meter(title, most, "step", at_most=True) as meter:

        def show(job: int, report: tuple[int, str]) -> None:
            steps[waiting[job]], note = report
            meter.show(sum(steps.values()), note=f"seed {waiting[job]}: {note}")

        for job, (history, seconds) in run_side_by_side(
            work, waiting, at_once, compute.parallel.threads, compute.device, show
        ):
            done.append(history.assign(seed=waiting[job], **cell))
            whole = pd.concat(done).sort_values("seed", kind="stable")
            tables.write(record, whole, tables.HISTORY)
            steps[waiting[job]] = most_steps
            if not meter.live and not isinstance(setup.settings, FrozenSettings):
                _tell(_key(setup, cell, waiting[job]), photos, history, seconds)
        kept = pd.concat(done).query("kept")
        meter.show(most, note=f"val_accuracy {kept['val_accuracy'].mean():.3f}")
    model = {
        "seeds": seeds,
        **facts(setup, processes),
        "most_steps": most_steps,
        "samples_seen": [_samples_seen(setup, subset, seed) for seed in range(seeds)],
    }
    files.write_json(folder / "model.json", cell | model)


def facts(setup: Setup, processes: int) -> dict[str, Any]:
    """Return what model.json says of every network of a strategy, however it is trained."""
    return {
        "network": setup.network,
        "size": setup.arrays.pixels.shape[1],
        "classes": setup.classes,
        "settings": setup.settings.model_dump() | (setup.rates._asdict() if setup.rates else {}),
        "device": describe(setup.compute.device),
        "precision": str(setup.compute.precision).removeprefix("torch."),
        "processes": processes,
    }


def build_run(setup: Setup, cell: Mapping[str, Any], subset: pd.DataFrame, seed: int) -> Run:
    """Return the run of one seed of a cell: `subset` has the photos of every seed."""
    assert isinstance(setup.settings, TrainingSettings) and setup.rates is not None
    pretrained = STRATEGIES[setup.strategy].pretrained
    return Run(
        key=_key(setup, cell, seed),
        task=setup.task,
        train=training_photos(setup, subset, seed),
        val=validation_photos(setup, seed),
        settings=setup.settings,
        rates=setup.rates,
        precision=setup.compute.precision,
        compiled=setup.compute.compiled,
        early=EARLY if setup.settings.schedule == "auto" and not pretrained else 0,
    )


def _key(setup: Setup, cell: Mapping[str, Any], seed: int) -> tuple[str | int, ...]:
    return (setup.study_seed, setup.strategy, cell["samples"], cell["angles"], seed)


def training_photos(setup: Setup, subset: pd.DataFrame, seed: int) -> Examples:
    """Return the photos of one seed of `subset`."""
    rows = tables.of_seed(subset, seed)
    if len(rows) > WINDOW:  # in the order of the array, so that a window holds neighbours
        rows = rows.sort_values("photo")
    return setup.task.examples(rows)


def _samples_seen(setup: Setup, subset: pd.DataFrame, seed: int) -> list[str]:
    own = (tables.of_seed(rows, seed)["sample"] for rows in (subset, setup.val))
    return sorted(set().union(*own))


def validation_photos(setup: Setup, seed: int) -> Examples:
    """Return the photos that one seed validates with."""
    return setup.task.examples(tables.of_seed(setup.val, seed))


def _most_steps(setup: Setup, photos: int) -> int:
    own = setup.settings
    if isinstance(own, FrozenSettings):
        return 1  # it is solved
    return training_steps(photos, own.batch_size, own.epochs, own.min_steps)


def process_count(setup: Setup, subset: pd.DataFrame) -> int:
    """Choose how many processes train each network of a subset."""
    settings, compute = setup.settings, setup.compute
    if isinstance(settings, FrozenSettings) or compute.compiled or not setup.task.shares_batches:
        return 1
    fewest = int(subset.groupby("seed").size().min())
    if fewest < settings.batch_size:
        return 1
    shown = _most_steps(setup, fewest) * settings.batch_size
    gpus = gpu_count(compute.device)
    return ranks.process_count(compute.parallel, gpus, settings.batch_size, shown)


def _train_seed(
    setup: Setup,
    cell: Mapping[str, Any],
    subset: pd.DataFrame,
    folder: Path,
    checkpoints: Path,
    seed: int,
    report: Report,
) -> tuple[pd.DataFrame, float]:
    """Train one seed, write its weights, return its history and the seconds it took."""
    start = time.perf_counter()
    weights = folder / f"seed{seed}.safetensors"
    if isinstance(setup.settings, FrozenSettings):
        solved = solve(setup, training_photos(setup, subset, seed), validation_photos(setup, seed))
        save_weights(weights, solved.state)
        return pd.DataFrame([solved.look()]), time.perf_counter() - start
    run = build_run(setup, cell, subset, seed)

    def show(state: RunState, steps: int) -> None:
        report((state.step, how_well(state)))

    state, history = fit(setup, run, checkpoints, process_count(setup, subset), show)
    save_weights(weights, state)
    return history, time.perf_counter() - start


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write the state of a network or of a head."""
    whole = {name: value.contiguous() for name, value in state.items()}
    files.write_bytes(path, safetensors.torch.save(whole))


def fit(
    setup: Setup,
    run: Run,
    checkpoints: Path,
    processes: int,
    on_step: Callable[[RunState, int], None],
    head: Mapping[str, torch.Tensor] | None = None,
) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """Train one network, in pieces that fit the memory; return its state and its history.

    It starts with `head`; if that is None, with the one that the settings ask for.
    """
    if head is None and setup.starts_with_frozen_head:
        head = frozen_head(setup, run)
    lean = setup
    if processes > 1:  # don't send processes data that they don't use
        lean = replace(setup, subsets=setup.subsets[:0])

    def train(piece: int) -> tuple[dict[str, torch.Tensor], pd.DataFrame, Checkpoint]:
        # One checkpoint per piece size, since a run must not resume with smaller pieces.
        checkpoint = Checkpoint(checkpoints / f"{'-'.join(map(str, (*run.key, piece)))}.pt")
        own = replace(run, piece=piece)
        work = partial(_train_rank, lean, head, own, checkpoint.path)
        if processes == 1:
            return *work(on_step), checkpoint
        print(f"{_title(run.key)}: {processes} processes", flush=True)
        # `on_step` belongs to this process; the first rank shows its progress itself.
        work = partial(
            work,
            partial(_show, Meter(_title(run.key), run.steps, "step", at_most=run.ends_by_itself)),
        )
        return *ranks.launch(work, processes, setup.compute.device), checkpoint

    share = min(run.settings.batch_size, len(run.train.rows)) // processes
    state, history, checkpoint = in_pieces(train, share, f"training {_title(run.key)}")
    checkpoint.clear()
    return state, history


def _train_rank(
    setup: Setup,
    head: Mapping[str, torch.Tensor] | None,
    run: Run,
    checkpoint: Path,
    on_step: Callable[[RunState, int], None],
) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """Train one network, in this process alone or as one of several ranks."""
    first = ranks.rank_and_size()[0] == 0
    with seeded(seed_for("initialisation", *run.key)):
        network, load = setup.task.assemble(
            STRATEGIES[setup.strategy], setup.network, setup.arrays, setup.compute.device,
            run.settings, setup.pretrained,
        )  # fmt: skip
        if head is not None:
            network.get_submodule("head").load_state_dict(head)
        show = on_step if first else _show_nothing
        history = train_network(network, load, run, Checkpoint(checkpoint), show)
    return {name: value.cpu() for name, value in network.state_dict().items()}, history


def how_well(state: RunState) -> str:
    """Tell how well a network in training does: in validation or, without it, in training."""
    look = state.history[-1]
    name = "train_loss" if math.isnan(look["val_accuracy"]) else "val_accuracy"
    return f"{name} {look[name]:.3f}"


def _show(meter: Meter, state: RunState, steps: int) -> None:
    meter.show(state.step, steps, partial(how_well, state))


def _show_nothing(state: RunState, steps: int) -> None:
    pass


def _title(key: tuple[str | int, ...]) -> str:
    _, strategy, samples, angles, seed = key[:5]
    return f"{strategy} {samples} samples x {angles} angles, seed {seed}"


def _tell(key: tuple[str | int, ...], photos: int, history: pd.DataFrame, seconds: float) -> None:
    kept = history[history["kept"]].iloc[0]
    accuracy = f"validation accuracy {kept['val_accuracy']:.3f} at step {kept['step']}"
    steps = history["step"].iloc[-1]
    print(f"{_title(key)}: {photos} photos, {steps} steps, {accuracy}, {seconds:.1f} s", flush=True)
