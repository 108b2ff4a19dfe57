"""The training loop, one for all strategies that train on photos."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.seeds import seed_for
from shotcount.networks.convolutions import FastConvolutions
from shotcount.networks.devices import reseed
from shotcount.networks.heads import add_to_average, recompute_statistics
from shotcount.parallel import ranks
from shotcount.tasks.classes import ClassTask
from shotcount.tasks.strategies import Examples, Load
from shotcount.tasks.task import Task, Validated
from shotcount.training import budgets
from shotcount.training.batches import draw_batch, some_batches
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.settings import TrainingSettings


class DivergedError(UserError):
    """The loss is not finite."""


class Decided(NamedTuple):
    """What validation decides in a run; another one that has nothing to validate with takes it."""

    steps: int
    factor: float  # of the logits (see heads.calibrate)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: what it learns from, and how."""

    key: tuple[str | int, ...]  # names the run: order, augmentation and dropout are drawn from it
    task: Task = field(default_factory=ClassTask)
    train: Examples
    val: Examples  # decides when to stop and which weights to keep; gives no accuracy to report
    # What validation decided in other runs, for a run on all photos; its own `val` is not used.
    decided: Decided | None = None
    settings: TrainingSettings
    rates: budgets.Rates
    # Photos to compute on at once; the gradient of a larger batch is summed over pieces. This
    # changes the result only for BatchNorm, which averages over a piece, and for dropout. None:
    # the whole batch.
    piece: int | None = None
    # Precision of the training steps. In bfloat16, weights, updates and the loss stay float32
    # (Micikevicius et al., "Mixed Precision Training", ICLR 2018), and so does validation.
    precision: torch.dtype = torch.float32
    compiled: bool = False  # whether torch.compile compiles the training step
    early: int = 0  # steps whose looks don't count
    on_the_way: bool = True  # validate on the way; False: only before the first and after the last

    @property
    def steps(self) -> int:
        """Steps to train; at most so many if it ends by itself."""
        if self.decided:
            return self.decided.steps
        own = self.settings
        photos = len(self.train.rows)
        return budgets.training_steps(photos, own.batch_size, own.epochs, own.min_steps)

    @property
    def averages(self) -> bool:
        """Whether the network kept is an average of those at a constant rate."""
        return self.settings.schedule == "auto"

    @property
    def ends_by_itself(self) -> bool:
        """Whether validation ends the training; if not, it takes all its steps."""
        return self.averages and self.decided is None


@dataclass
class RunState:
    """The progress of a run. A checkpoint adds the states of network and optimiser."""

    step: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)  # since the last look at validation
    history: list[dict[str, float]] = field(default_factory=list)  # rows of tables.LOOK
    # The look with the lowest validation loss, and the last one; each a dict of step, network,
    # factor (see heads.calibrate), loss and losses (of each validation photo).
    best: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)


def train_network(
    network: nn.Module,
    load: Load,
    run: Run,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[RunState, int], None] = lambda state, steps: None,
) -> pd.DataFrame:
    """Train `network` in place and leave it with the weights that validation chose.

    Validates before the first step, then at growing distances (`budgets.next_look`). With
    `schedule: auto`, it validates the average of the networks so far and ends when the validation
    loss has stopped improving, or after `run.steps`. Several ranks (`ranks.launch`) that call this
    with the same arguments train one network together. With `run.decided`, nothing is validated,
    and the weights are those of the last step.

    Parameters
    ----------
    network : nn.Module
        Maps what `load` returns to logits (B, classes). Dropout draws from torch's global
        generator, which is reseeded at every step.
    load : Load
    run : Run
    checkpoint : Checkpoint or None
        Where the run is saved now and then. A run that finds a checkpoint resumes from it; the
        result is bit-identical.
    on_step : callable
        Called with (state, steps) before the first step and after each step.

    Returns
    -------
    DataFrame
        One row per look at validation, with the columns of `core.tables.LOOK`.

    Raises
    ------
    DivergedError
        If the loss is not finite.
    """
    optimizer = budgets.build_optimizer(network, run.settings, run.rates)
    average = copy.deepcopy(network) if run.averages else network
    state = _resume(network, average, optimizer, checkpoint)
    replica = ranks.replicate(network)
    forward = torch.compile(replica) if run.compiled else replica
    if not state.history:
        _look(average, load, run, state)
    on_step(state, run.steps)
    averaged, trained = (tuple(each.parameters()) for each in (average, network))
    network.train()
    while state.step < run.steps and not (
        run.ends_by_itself and budgets.has_settled(state.last["step"], state.best["step"])
    ):
        x, target, factor = _draw(load, run, state.step)
        for group in optimizer.param_groups:
            group["lr"] = factor * group["full_lr"]
        state.losses.append(ranks.mean(_step(network, forward, optimizer, x, target, run)))
        state.step += 1
        if run.averages:
            add_to_average(averaged, trained, budgets.averaging_weight(state.step))
        next_look = budgets.next_look(int(state.history[-1]["step"]), run.early)
        if state.step == run.steps or (run.on_the_way and state.step == next_look):
            _look(average, load, run, state)
            network.train()
        on_step(state, run.steps)
        if checkpoint and ranks.rank_and_size()[0] == 0:
            checkpoint.offer(partial(_snapshot, network, average, optimizer, state))
    kept = _choose(state, run)
    network.load_state_dict(kept["network"])
    run.task.scale(network, kept["factor"])
    history = pd.DataFrame(state.history)
    return history.assign(kept=history["step"] == kept["step"])[list(tables.LOOK)]


def _resume(
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoint: Checkpoint | None,
) -> RunState:
    saved = checkpoint.load() if checkpoint else None
    if saved is None:
        return RunState()
    network.load_state_dict(saved.pop("network"))
    average.load_state_dict(saved.pop("average"))
    optimizer.load_state_dict(saved.pop("optimizer"))
    return RunState(**saved)


def _draw(load: Load, run: Run, step: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return this rank's share of the step's batch, its targets, and the rates' factor."""
    photos = len(run.train.rows)
    chosen = draw_batch(step, photos, run.settings.batch_size, run.key)
    own = ranks.own_share(len(chosen))
    seed = seed_for("augmentation", *run.key, step)
    x = load(run.train.rows[chosen], seed, own)
    target = run.task.targets(run.train, chosen, own, seed, run.settings).to(x.device)
    reseed(seed_for("dropout", *run.key, step) + ranks.rank_and_size()[0], x.device)
    epoch = step * len(chosen) / photos
    return x, target, budgets.schedule_factor(step, run.steps, epoch, run.settings)


def _step(
    network: nn.Module,
    forward: Callable[[torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    x: torch.Tensor,
    target: torch.Tensor,
    run: Run,
) -> torch.Tensor:
    """Take one optimisation step on a batch; return its mean loss, still on the device.

    Reading its value here would delay the next step until the GPU has finished this one.
    """
    optimizer.zero_grad()
    total = torch.zeros((), device=x.device)
    # Pieces of equal size, since BatchNorm needs more than one photo in each.
    pieces = math.ceil(len(x) / (run.piece or len(x)))
    for part, true in zip(x.tensor_split(pieces), target.tensor_split(pieces), strict=True):
        mixed = torch.autocast(x.device.type, run.precision, enabled=run.precision != torch.float32)
        with FastConvolutions(), mixed:
            outputs = forward(part)
        loss = run.task.loss(network, outputs, true) / len(x)
        loss.backward()
        total += loss.detach()
    optimizer.step()
    return total


def _look(network: nn.Module, load: Load, run: Run, state: RunState) -> None:
    """Validate: add a row to the history, and keep the weights as the last and perhaps the best.

    A run that has nothing to validate with only adds the row and keeps the weights as the last.
    """
    if run.averages:
        size = run.piece or run.settings.batch_size
        some = some_batches(len(run.train.rows), size, ("statistics", *run.key))
        recompute_statistics(network, (load(run.train.rows[chosen], None) for chosen in some))
    else:
        ranks.share_statistics(network)
    if run.decided:
        found = Validated(np.empty(0), math.nan, math.nan, run.decided.factor)
    else:
        found = run.task.validate(network, load, run.val)
    # Losses that come from a checkpoint are on the CPU.
    losses = [loss.double().item() for loss in state.losses]
    if not math.isfinite(sum(losses) + found.losses.sum()):
        raise DivergedError(
            f"training diverged by step {state.step}: lower learning_rate "
            f"({run.rates.learning_rate:g}) of this strategy in params.yaml"
        )
    if len(state.history) == 1:  # the first batch met the weights of the first look
        state.history[0]["train_loss"] = losses[0]
    photos = len(run.train.rows)
    epoch = state.step * min(run.settings.batch_size, photos) / photos
    scheduled = budgets.schedule_factor(max(state.step - 1, 0), run.steps, epoch, run.settings)
    state.history.append(
        {
            "step": state.step,
            "epoch": epoch,
            "learning_rate": scheduled * run.rates.learning_rate,
            "train_loss": float(np.mean(losses)) if losses else math.nan,
            "val_loss": found.loss,
            "val_accuracy": found.accuracy,
            "factor": found.factor,
        }
    )
    state.losses = []
    state.last = {
        "step": state.step,
        "network": copy.deepcopy(network.state_dict()),
        "factor": found.factor,
        "loss": found.loss,
        "losses": torch.from_numpy(found.losses),
    }
    if not state.best or state.best["step"] < run.early or found.loss < state.best["loss"]:
        state.best = state.last


def _choose(state: RunState, run: Run) -> dict[str, Any]:
    """Return the last look, unless the best one is better by more than one standard error.

    The lowest of many losses on few photos is low by luck more often than by skill, and comes too
    early (one-standard-error rule: Breiman et al., "Classification and Regression Trees", 1984).
    """
    if run.decided:
        return state.last
    gap = (state.last["losses"] - state.best["losses"]).numpy()
    by_sample = pd.Series(gap).groupby(run.val.samples).sum()  # photos of a sample are alike
    error = math.sqrt(len(by_sample)) * by_sample.std() / len(gap)
    return state.best if gap.mean() > error else state.last


def _snapshot(
    network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, state: RunState
) -> dict[str, Any]:
    parts: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer}
    return {name: part.state_dict() for name, part in parts.items()} | vars(state)
