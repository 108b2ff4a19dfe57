"""The training loop, one for all strategies."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.seeds import seed_for
from shotcount.networks.devices import reseed
from shotcount.training import ranks
from shotcount.training.batches import draw_batch
from shotcount.training.budgets import build_optimizer, learning_rate, training_steps
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.predicting import cross_entropy, predict
from shotcount.training.settings import TrainingSettings
from shotcount.training.strategies import Examples, Load


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: what it learns from, and how."""

    key: tuple[str | int, ...]  # names the run: order, augmentation and dropout are drawn from it
    train: Examples
    val: Examples  # decides when to stop and which weights to keep; gives no accuracy to report
    settings: TrainingSettings
    # Photos to compute on at once; the gradient of a larger batch is summed over pieces. This
    # changes the result only for BatchNorm, which averages over a piece, and for dropout. None:
    # the whole batch.
    piece: int | None = None
    # Precision of the training steps. In bfloat16, weights, updates and the loss stay float32
    # (Micikevicius et al., "Mixed Precision Training", ICLR 2018), and so does validation.
    precision: torch.dtype = torch.float32
    compiled: bool = False  # whether torch.compile compiles the training step

    @property
    def steps(self) -> int:
        """Steps to train, unless training stops early."""
        own = self.settings
        return training_steps(len(self.train.rows), own.batch_size, own.epochs, own.min_steps)


@dataclass
class RunState:
    """The progress of a run. A checkpoint adds the states of network and optimiser."""

    step: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)  # since the last look at validation
    history: list[dict[str, float]] = field(default_factory=list)  # rows of tables.LOOK
    best_loss: float = math.inf  # on validation
    best_network: dict[str, torch.Tensor] = field(default_factory=dict)
    looks_since_best: int = 0


def train_network(
    network: nn.Module,
    load: Load,
    run: Run,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[RunState, int], None] = lambda state, steps: None,
) -> pd.DataFrame:
    """Train `network` in place and leave it with the weights of the lowest validation loss.

    Looks at validation `settings.validations` times, evenly spread over the steps, and stops after
    `settings.patience` looks in a row without a new lowest loss. Several ranks (`ranks.launch`)
    that call this with the same arguments train one network together.

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
    UserError
        If the loss is not finite.
    """
    optimizer, steps = build_optimizer(network, run.settings), run.steps
    look_every = math.ceil(steps / run.settings.validations)
    state = _resume(network, optimizer, checkpoint)
    replica = ranks.replicate(network)
    forward = torch.compile(replica) if run.compiled else replica
    on_step(state, steps)
    while state.step < steps and state.looks_since_best < run.settings.patience:
        x, target, rate = _draw(load, run, state.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        state.losses.append(ranks.mean(_step(forward, optimizer, x, target, run)))
        state.step += 1
        if state.step % look_every == 0 or state.step == steps:
            _look(network, load, run, state, rate)
        on_step(state, steps)
        if checkpoint and ranks.rank_and_size()[0] == 0:
            checkpoint.offer(partial(_snapshot, network, optimizer, state))
    network.load_state_dict(state.best_network)
    return pd.DataFrame(state.history)[list(tables.LOOK)]


def _resume(
    network: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint | None
) -> RunState:
    saved = checkpoint.load() if checkpoint else None
    if saved is None:
        return RunState()
    network.load_state_dict(saved.pop("network"))
    optimizer.load_state_dict(saved.pop("optimizer"))
    return RunState(**saved)


def _draw(load: Load, run: Run, step: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return this rank's share of the step's batch, its targets, and the learning rate."""
    photos = len(run.train.rows)
    chosen = draw_batch(step, photos, run.settings.batch_size, run.key)
    own = ranks.own_share(len(chosen))
    x = load(run.train.rows[chosen], seed_for("augmentation", *run.key, step), own)
    target = torch.from_numpy(run.train.targets[chosen[own]]).to(x.device)
    reseed(seed_for("dropout", *run.key, step) + ranks.rank_and_size()[0], x.device)
    rate = learning_rate(step, run.steps, step * len(chosen) / photos, run.settings)
    return x, target, rate


def _step(
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
        with torch.autocast(x.device.type, run.precision, enabled=run.precision != torch.float32):
            logits = forward(part)
        loss = F.cross_entropy(logits.float(), true, reduction="sum") / len(x)
        loss.backward()
        total += loss.detach()
    optimizer.step()
    return total


def _look(network: nn.Module, load: Load, run: Run, state: RunState, rate: float) -> None:
    """Validate: add a row to the history, and keep the weights if they are the best so far."""
    ranks.share_statistics(network)
    val = run.val
    own = val.rows[ranks.own_share(len(val.rows))]
    probabilities = ranks.gather(predict(network, load, own))
    val_loss = cross_entropy(probabilities, val.targets)
    last = state.losses[-1].item()
    if not math.isfinite(last + val_loss):
        raise UserError(
            f"training diverged: the loss at step {state.step} is {last:.4f}: lower "
            f"learning_rate ({run.settings.learning_rate}) of this strategy in params.yaml"
        )
    photos = len(run.train.rows)
    # Losses that come from a checkpoint are on the CPU.
    losses = torch.stack([loss.cpu() for loss in state.losses])
    state.history.append(
        {
            "step": state.step,
            "epoch": state.step * min(run.settings.batch_size, photos) / photos,
            "learning_rate": rate,
            "train_loss": losses.double().mean().item(),
            "val_loss": val_loss,
            "val_accuracy": float(np.mean(probabilities.argmax(axis=1) == val.targets)),
        }
    )
    state.losses = []
    state.looks_since_best += 1
    if val_loss < state.best_loss:
        state.best_loss, state.looks_since_best = val_loss, 0
        state.best_network = copy.deepcopy(network.state_dict())


def _snapshot(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: RunState
) -> dict[str, Any]:
    states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    return states | vars(state)
