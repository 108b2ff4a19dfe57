"""Train the chosen strategy anew, on all samples of the study."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from shotcount.core import files
from shotcount.core.progress import Meter
from shotcount.core.study import available_samples, take_subset
from shotcount.networks.heads import solve_head_as
from shotcount.parallel.side_by_side import Report, run_side_by_side
from shotcount.refit.choice import decide, decide_strength
from shotcount.tasks.strategies import Examples
from shotcount.training.cells import (
    build_run,
    facts,
    fit,
    how_well,
    save_weights,
    training_photos,
)
from shotcount.training.loop import Run, RunState
from shotcount.training.settings import FrozenSettings
from shotcount.training.setup import Setup

WEIGHTS, MODEL = "weights.safetensors", "model.json"


def refit(
    setup: Setup, whole: pd.DataFrame, kept: pd.DataFrame, folder: Path, checkpoints: Path
) -> None:
    """Train a strategy on all samples; write its weights and, last, model.json into `folder`.

    Each network of the study has seen a part of the samples. This one sees all of them, so none is
    left to validate or to test with: what validation would decide is taken from the study's
    networks of the largest cell (`choice`), and so is the accuracy to tell.

    Parameters
    ----------
    setup : Setup
        Of the chosen strategy.
    whole : DataFrame
        All photos of the study: the columns `SUBSETS` of core.tables, all of seed 0.
    kept : DataFrame
        The looks of the strategy's largest cell whose weights were kept: the columns `HISTORY` of
        core.tables, and `folder`, that of the cell in data/models.
    folder, checkpoints : Path
        An interrupted training resumes from the folder `checkpoints`.

    Raises
    ------
    DivergedError
        If the loss is not finite.
    """
    start = time.perf_counter()
    tested = {name: int(kept[name].iloc[0]) for name in ("samples", "angles", "photos")}
    photos = take_subset(whole, available_samples(whole), tested["angles"])
    samples = sorted(photos["sample"].unique())
    cell: dict[str, str | int] = {
        "strategy": setup.strategy, "samples": len(samples), "angles": tested["angles"],
        "photos": len(photos),
    }  # fmt: skip
    processes, compute = setup.process_count(photos), setup.compute

    def train(_: None, report: Report) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        head, taken = _solve(setup, photos, tested)
        if isinstance(setup.settings, FrozenSettings):
            return head, taken
        decided = decide(setup, len(photos), kept)
        run = replace(build_run(setup, cell, photos, 0), decided=decided)
        taken |= {"steps": decided.steps, "factor": float(f"{decided.factor:.4g}")}
        return _train(setup, run, checkpoints, processes, head), taken

    threads = compute.parallel.threads  # as in the folds
    ((_, (state, taken)),) = run_side_by_side(train, [None], 1, threads, compute.device)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, state)
    model = {
        **cell,
        **facts(setup, processes),
        "from_folds": taken,
        "tested": {**tested, "seeds": len(kept), "folder": kept["folder"].iloc[0]},
        "trained_on": setup.task.count(photos),
        "samples_seen": samples,
    }
    files.write_json(folder / MODEL, model)
    took = time.perf_counter() - start
    print(f"{setup.strategy} on all {len(photos):,} photos: {took:.1f} s", flush=True)


def _solve(
    setup: Setup, photos: pd.DataFrame, tested: Mapping[str, int]
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Return a solved head and what it took from the folds; nothing if none is needed."""
    starts = isinstance(setup.settings, FrozenSettings) or setup.starts_with_frozen_head
    if not (starts and setup.task.solves_heads):
        return {}, {}
    folds = take_subset(setup.subsets, tested["samples"], tested["angles"])
    strength = decide_strength(setup, folds)
    train = training_photos(setup, photos, 0)
    features = setup.arrays.features[train.rows]
    head = solve_head_as((features, train.targets), strength, len(setup.classes))
    penalty, factor = (float(f"{value:.4g}") for value in strength)
    return head, {"penalty": penalty, "head_factor": factor}


def _train(
    setup: Setup,
    run: Run,
    checkpoints: Path,
    processes: int,
    head: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Train a network without validation, starting with `head` if it is not empty."""
    nothing = Examples(run.val.rows[:0], run.val.targets[:0], run.val.samples[:0])
    run = replace(run, key=(*run.key, "refit"), val=nothing)
    with Meter(f"{setup.strategy} on all samples", run.steps, "step") as meter:

        def show(state: RunState, steps: int) -> None:
            meter.show(state.step, steps, lambda: how_well(state))

        return fit(setup, run, checkpoints, processes, show, head or None)[0]
