"""Train a cell: one strategy on one subset, all seeds."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import safetensors.torch
import torch

from shotcount.core import files, tables
from shotcount.core.progress import Meter
from shotcount.core.seeds import seed_for
from shotcount.core.study import available_samples, sample_count, take_subset
from shotcount.networks.devices import describe, in_pieces, seeded
from shotcount.parallel import ranks
from shotcount.parallel.side_by_side import Report, network_count, run_side_by_side
from shotcount.tasks.strategies import STRATEGIES, Examples
from shotcount.training.batches import WINDOW
from shotcount.training.budgets import EARLY
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.frozen import frozen_head, solve
from shotcount.training.loop import Run, RunState, train_network
from shotcount.training.settings import FrozenSettings, TrainingSettings
from shotcount.training.setup import Setup


class Cell(NamedTuple):
    """One strategy on one subset of the photos, and where it is trained."""

    size: dict[str, Any]  # strategy, samples, angles and photos of a seed
    subset: pd.DataFrame  # the photos of every seed
    folder: Path  # gets weights, history and, last, model.json
    checkpoints: Path  # folder of unfinished seeds

    @classmethod
    def of(
        cls, setup: Setup, size: int | float, angles: int, folder: Path, checkpoints: Path
    ) -> "Cell":
        samples = sample_count(size, available_samples(setup.subsets))
        subset = take_subset(setup.subsets, samples, angles)
        subset = subset[subset["seed"] < setup.settings.seeds]
        photos = int((subset["seed"] == 0).sum())
        named = {"strategy": setup.strategy, "samples": samples, "angles": angles}
        folder.mkdir(parents=True, exist_ok=True)
        return cls(named | {"photos": photos}, subset, folder, checkpoints)

    def history(self) -> pd.DataFrame:
        """Return the looks of the finished seeds."""
        record = self.folder / "history.csv"
        if record.exists():
            return tables.read(record, tables.HISTORY)
        return pd.DataFrame(columns=list(tables.HISTORY)).astype(tables.HISTORY)

    def waiting(self) -> list[int]:
        """List the seeds that have not finished."""
        return sorted(set(self.subset["seed"]) - set(self.history()["seed"]))

    def record(self, seed: int, looks: pd.DataFrame) -> None:
        """Add the looks of a seed that has finished."""
        whole = pd.concat([self.history(), looks.assign(seed=seed, **self.size)])
        whole = whole.sort_values("seed", kind="stable")
        tables.write(self.folder / "history.csv", whole, tables.HISTORY)


def train_cell(setup: Setup, cell: Cell, ahead: Sequence[Cell] = ()) -> None:
    """Train every seed of a cell; write weights, history and, last, model.json into its folder.

    Resumes interrupted work: finished seeds are kept, and unfinished ones resume from their
    checkpoints. Processes for which no seed of this cell is left begin with those of the cells
    `ahead`; they are stopped when this cell is finished.
    """
    if (cell.folder / "model.json").exists():
        return
    seeds, compute = setup.settings.seeds, setup.compute
    most_steps = setup.most_steps(cell.size["photos"])
    processes = setup.process_count(cell.subset)
    at_once = 1 if processes > 1 else network_count(compute.parallel, compute.device)
    if STRATEGIES[setup.strategy].pretrained:
        import_module("sklearn.linear_model")  # here, not in each forked process
    waiting = cell.waiting()
    steps = dict.fromkeys(range(seeds), most_steps) | dict.fromkeys(waiting, 0)
    # A network that several processes train has the machine for itself.
    alike = [own for own in ahead if setup.process_count(own.subset) == processes]
    jobs = [(own, seed) for own in (cell, *alike) for seed in own.waiting()]
    title = f"{setup.strategy} {cell.size['samples']}x{cell.size['angles']}"
    with Meter(title, seeds * most_steps, "step", at_most=True) as meter:

        def show(job: int, report: tuple[int, str]) -> None:
            own, seed = jobs[job]
            if own is cell:
                steps[seed], note = report
                meter.show(sum(steps.values()), note=f"seed {seed}: {note}")

        work = partial(_train_seed, setup)
        running = run_side_by_side(
            work, jobs, at_once, compute.parallel.threads, compute.device, show
        )
        with closing(running):
            while waiting:
                job, (looks, seconds) = next(running)
                own, seed = jobs[job]
                own.record(seed, looks)
                if own is cell:
                    waiting.remove(seed)
                    steps[seed] = most_steps
                if not meter.live and not isinstance(setup.settings, FrozenSettings):
                    _tell(_key(setup, own.size, seed), own.size["photos"], looks, seconds)
        kept = cell.history().query("kept")
        meter.show(seeds * most_steps, note=f"val_accuracy {kept['val_accuracy'].mean():.3f}")
    model = {
        "seeds": seeds,
        **facts(setup, processes),
        "most_steps": most_steps,
        "samples_seen": [_samples_seen(setup, cell.subset, seed) for seed in range(seeds)],
    }
    files.write_json(cell.folder / "model.json", cell.size | model)


def is_trained(setup: Setup, folder: Path) -> bool:
    """Return whether a folder has a cell that was trained with this strategy's settings."""
    made = folder / "model.json"
    model = files.read_json(made) if made.exists() else {}
    return bool(model) and model | facts(setup, model["processes"]) == model


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


def _train_seed(setup: Setup, job: tuple[Cell, int], report: Report) -> tuple[pd.DataFrame, float]:
    """Train one seed, write its weights, return its looks and the seconds it took."""
    cell, seed = job
    start = time.perf_counter()
    weights = cell.folder / f"seed{seed}.safetensors"
    if isinstance(setup.settings, FrozenSettings):
        photos = training_photos(setup, cell.subset, seed), validation_photos(setup, seed)
        solved = solve(setup, *photos)
        save_weights(weights, solved.state)
        return pd.DataFrame([solved.look()]), time.perf_counter() - start
    run = build_run(setup, cell.size, cell.subset, seed)

    def show(state: RunState, steps: int) -> None:
        report((state.step, how_well(state)))

    processes = setup.process_count(cell.subset)
    state, history = fit(setup, run, cell.checkpoints, processes, show)
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
