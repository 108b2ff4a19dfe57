"""One training loop for every strategy. What differs is what goes in and what is trained.

strategy   weights at the start   the loop sees     and trains
scratch    random                 augmented photos  backbone and head
frozen     pretrained             cached features   the head
finetune   pretrained             augmented photos  backbone and head
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from shotcount import ranks, tables
from shotcount.augment import random_crop_flip
from shotcount.checkpoints import Checkpoint
from shotcount.devices import in_pieces, reseed
from shotcount.errors import UserError
from shotcount.heads import Classifier, build_head
from shotcount.params import PixelTraining, StepDecay, Training
from shotcount.pixels import Pixels
from shotcount.seeds import seed_for


@dataclass(frozen=True)
class Strategy:
    pretrained: bool
    cached: bool  # trained on the frozen backbone's features instead of the photos


STRATEGIES = {
    "scratch": Strategy(pretrained=False, cached=False),
    "frozen": Strategy(pretrained=True, cached=True),
    "finetune": Strategy(pretrained=True, cached=False),
}


class Load(Protocol):
    """Rows of the array → the network's input."""

    def __call__(
        self, rows: np.ndarray, seed: int | None, part: slice = slice(None)
    ) -> torch.Tensor:
        """Return those in `part` of the rows; `seed` draws the augmentation of all (None: none)."""


@dataclass(frozen=True)
class Photos:
    """Photos to learn from or to be judged by."""

    rows: np.ndarray  # (photos,) int64: rows of the pixel or feature array
    targets: np.ndarray  # (photos,) int64: class of each

    @classmethod
    def of(cls, table: pd.DataFrame, classes: list[str]) -> "Photos":
        """Take the columns photo and label of a table; a target is a place in `classes`."""
        return cls(table["photo"].to_numpy(), table["label"].map(classes.index).to_numpy())


# ---------------------------------------------------------------------------- what goes in


def load_features(features: np.ndarray, device: torch.device) -> Load:
    """Inputs of a head: rows of `features` (photos, 1 + views, features).

    Augmented: one of the augmented views of each photo. Unaltered, or where there are none: the
    photo's own features.
    """
    views = features.shape[1] - 1

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        view = np.zeros(len(rows), dtype=np.int64)
        if seed is not None and views:
            view = np.random.default_rng(seed).integers(1, views + 1, len(rows))
        return torch.from_numpy(features[rows[part], view[part]]).to(device)

    return load


def load_pixels(pixels: Pixels | np.ndarray, settings: PixelTraining, device: torch.device) -> Load:
    """Inputs of a whole network: rows of `pixels` (photos, H, W, 3) as (B, 3, H, W)."""

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        x = torch.from_numpy(pixels[rows[part]])
        if device.type == "cuda":  # the copy goes on while the GPU computes on the last batch
            x = x.pin_memory()
        x = x.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            start = part.indices(len(rows))[0]
            x = random_crop_flip(x, settings.crop_scale, settings.flip, generator, start, len(rows))
        return x

    return load


def assemble(
    strategy: Strategy,
    model_name: str,
    classes: int,
    pixels: Pixels | np.ndarray,
    features: np.ndarray,
    settings: Training,
    device: torch.device,
    pretrained: Mapping[str, torch.Tensor] | None = None,
) -> tuple[nn.Module, Load]:
    """Return the strategy's network, ready to train or to take trained weights; and its inputs.

    Parameters
    ----------
    strategy : Strategy
    model_name : str
        The backbone, by its torchvision or timm name.
    classes : int
    pixels : Pixels or ndarray of shape (photos, size, size, 3), uint8
    features : ndarray of shape (photos, 1 + views, features), float32
        Of the same photos and of augmented views of them, from the frozen backbone.
    settings : Training
    device : torch.device
    pretrained : mapping of str to Tensor or None
        Weights of the backbone; a strategy that starts from random ones draws them from torch's
        global generator.
    """
    if strategy.cached:
        head = build_head(features.shape[2], classes)
        return head.to(device), load_features(features, device)
    # Imported here: timm takes seconds to import, more than a head takes to train.
    from shotcount.backbones import build_backbone

    assert isinstance(settings, PixelTraining)
    backbone = build_backbone(model_name)
    if strategy.pretrained and pretrained is not None:
        backbone.load_state_dict(pretrained)
    network = Classifier(backbone, backbone.features, classes)
    return network.to(device), load_pixels(pixels, settings, device)


# ---------------------------------------------------------------------------- how much, how fast


def training_steps(photos: int, batch_size: int, epochs: float, min_steps: int) -> int:
    """Optimisation steps for a subset of `photos`: `epochs` passes, but at least `min_steps`.

    A few passes over a small subset would leave it undertrained, and the learning curve would
    show the budget instead of the data. The floor follows BiT's rule for small data sets
    (Kolesnikov et al., "Big Transfer", ECCV 2020).

    >>> training_steps(photos=1000, batch_size=4, epochs=10, min_steps=0)
    2500
    >>> training_steps(photos=60, batch_size=32, epochs=10, min_steps=100)
    100
    """
    return max(math.ceil(epochs * photos / min(batch_size, photos)), min_steps, 1)


def learning_rate(step: int, steps: int, epoch: float, settings: Training) -> float:
    """Learning rate of optimisation step `step` of `steps`, `epoch` passes into the subset."""
    if isinstance(settings.schedule, StepDecay):
        decays = math.floor(epoch / settings.schedule.every)
        return float(settings.learning_rate * settings.schedule.factor**decays)
    if settings.schedule == "cosine":
        return settings.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
    return settings.learning_rate


WINDOW = 2**14  # photos: 2.5 GB at 224 px
BLOCK = 64  # neighbours that come into a window together: 10 MB at 224 px


def batch(step: int, photos: int, batch_size: int, seed_key: tuple[str | int, ...]) -> np.ndarray:
    """Positions of the photos of step `step`: every photo once before any photo again.

    All batches are full: a ragged last batch would weigh its photos more, and BatchNorm needs more
    than one photo. A function of the step alone, so that a run can go on at any step. More than
    `WINDOW` photos are drawn from window by window, so that photos in the order of the array, of
    which memory can't hold all, aren't each sought on the disk.
    """
    batch_size = min(batch_size, photos)
    rounds, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), photos)
    return np.concatenate(
        [_shuffled(photos, int(r), seed_key)[places[rounds == r]] for r in np.unique(rounds)]
    )


@lru_cache(maxsize=2)  # a batch touches two rounds at most
def _shuffled(photos: int, round_: int, seed_key: tuple[str | int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed_for("order", *seed_key, round_))
    if photos <= WINDOW:
        return rng.permutation(photos)
    # Blocks, and not whole shards, since neighbours are alike: a window of few long runs would
    # hold few classes (Xu et al., "In-database machine learning with CorgiPile", SIGMOD 2022).
    blocks = np.array_split(np.arange(photos), math.ceil(photos / BLOCK))
    order = np.concatenate([blocks[place] for place in rng.permutation(len(blocks))])
    for start in range(0, photos, WINDOW):
        rng.shuffle(order[start : start + WINDOW])  # in place
    return order


def build_optimizer(network: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """Weight decay is for weights: norms and biases go without (He et al., CVPR 2019)."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


# ---------------------------------------------------------------------------- the loop


@dataclass
class Progress:
    """Where a run stands. With the states of network and optimiser, all that it takes to go on."""

    step: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)  # since the last look at validation
    history: list[dict[str, float]] = field(default_factory=list)
    best_loss: float = math.inf  # on validation
    best_network: dict[str, torch.Tensor] = field(default_factory=dict)
    looks_since_best: int = 0


def fit(
    network: nn.Module,
    load: Load,
    train: Photos,
    val: Photos,
    settings: Training,
    seed_key: tuple[str | int, ...],
    checkpoint: Checkpoint | None = None,
    piece: int | None = None,
    precision: torch.dtype = torch.float32,
    compiled: bool = False,
    on_step: Callable[[Progress, int], None] = lambda progress, steps: None,
) -> pd.DataFrame:
    """Train `network` in place and leave it with the weights of the lowest validation loss.

    Several ranks (`ranks.launch`) that call this with the same arguments train it together.
    Validation is looked at `settings.validations` times, evenly spread over the steps; after
    `settings.patience` looks in a row without a new best, training stops.

    Parameters
    ----------
    network : nn.Module
        Maps what `load` returns to logits (B, classes).
    train, val : Photos
        `val` is looked at to stop and to choose weights: no accuracy to report.
    seed_key : tuple
        Names the run; order, augmentation and dropout of each step are drawn from it, dropout
        through torch's global generator.
    checkpoint : Checkpoint or None
        Where the run is saved now and then; what is found there is gone on with, to the same
        weights as if nothing had stopped it.
    piece : int or None
        Photos to compute on at once: a larger batch's gradient is summed over pieces. Only
        BatchNorm, which averages over a piece, and dropout can tell. None: the batch.
    precision : {torch.float32, torch.bfloat16}
        Of the training steps. In bfloat16, weights, their updates and the loss stay in float32
        (Micikevicius et al., "Mixed Precision Training", ICLR 2018), and so does validation.
    compiled : bool
        Whether torch compiles the training step.
    on_step : callable
        Told (progress, steps) before the first step and after each, for a display: where the run
        stands, and where it will end if it is not stopped before.

    Returns
    -------
    DataFrame
        One row a look at validation, as in `tables.HISTORY` without the seed.

    Raises
    ------
    UserError
        If the loss is no longer a number.
    """
    photos = len(train.rows)
    optimizer = build_optimizer(network, settings)
    steps = training_steps(photos, settings.batch_size, settings.epochs, settings.min_steps)
    look_every = math.ceil(steps / settings.validations)
    progress = Progress()
    if checkpoint and (saved := checkpoint.load()):
        network.load_state_dict(saved.pop("network"))
        optimizer.load_state_dict(saved.pop("optimizer"))
        progress = Progress(**saved)

    together = ranks.spread(network)
    forward = torch.compile(together) if compiled else together
    on_step(progress, steps)
    while progress.step < steps and progress.looks_since_best < settings.patience:
        chosen = batch(progress.step, photos, settings.batch_size, seed_key)
        epoch = progress.step * len(chosen) / photos
        rate = learning_rate(progress.step, steps, epoch, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        own = ranks.share(len(chosen))
        x = load(train.rows[chosen], seed_for("augmentation", *seed_key, progress.step), own)
        target = torch.from_numpy(train.targets[chosen[own]]).to(x.device)
        reseed(seed_for("dropout", *seed_key, progress.step) + ranks.place()[0], x.device)
        network.train()
        loss = ranks.mean(_step(forward, optimizer, x, target, piece or len(x), precision))
        progress.step += 1
        progress.losses.append(loss)

        if progress.step % look_every == 0 or progress.step == steps:
            # Those from before a checkpoint are on the CPU.
            losses = torch.stack([loss.cpu() for loss in progress.losses])
            mine = val.rows[ranks.share(len(val.rows))]
            probabilities = ranks.gather(predict(network, load, mine))
            val_loss = cross_entropy(probabilities, val.targets)
            if not math.isfinite(loss.item() + val_loss):
                raise UserError(
                    f"training ran away: the loss at step {progress.step} is {loss}: lower "
                    f"learning_rate ({settings.learning_rate}) of this strategy in params.yaml"
                )
            progress.history.append(
                {
                    "step": progress.step,
                    "epoch": progress.step * len(chosen) / photos,
                    "learning_rate": rate,
                    "train_loss": losses.double().mean().item(),
                    "val_loss": val_loss,
                    "val_accuracy": float(np.mean(probabilities.argmax(axis=1) == val.targets)),
                }
            )
            progress.losses = []
            progress.looks_since_best += 1
            if val_loss < progress.best_loss:
                progress.best_loss, progress.looks_since_best = val_loss, 0
                progress.best_network = copy.deepcopy(network.state_dict())
        on_step(progress, steps)
        if checkpoint and ranks.place()[0] == 0:
            checkpoint.offer(partial(_state, network, optimizer, progress))
    network.load_state_dict(progress.best_network)
    columns = [column for column in tables.HISTORY if column != "seed"]
    return pd.DataFrame(progress.history)[columns]


def _step(
    forward: Callable[[torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    x: torch.Tensor,
    target: torch.Tensor,
    piece: int,
    precision: torch.dtype,
) -> torch.Tensor:
    """Take one step down the mean loss of a batch; return that loss, left on the device.

    Asking for its value would make a GPU wait for the step to end before the next is prepared.
    """
    optimizer.zero_grad()
    total = torch.zeros((), device=x.device)
    pieces = math.ceil(len(x) / piece)  # of equal size: BatchNorm needs more than one photo
    for part, true in zip(x.tensor_split(pieces), target.tensor_split(pieces), strict=True):
        with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
            logits = forward(part)
        loss = F.cross_entropy(logits.float(), true, reduction="sum") / len(x)
        loss.backward()
        total += loss.detach()
    optimizer.step()
    return total


def _state(
    network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> dict[str, Any]:
    states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    return states | vars(progress)


@torch.inference_mode()
def predict(
    network: nn.Module, load: Load, rows: np.ndarray, batch_size: int | None = None
) -> np.ndarray:
    """Return the probability of every class: ndarray of shape (len(rows), classes), float64."""
    network.eval()
    if batch_size is None:  # activations overflow a CPU's cache: of 256 photos, by half of the time
        batch_size = 64 if next(network.parameters()).device.type == "cpu" else 512

    def compute(piece: int) -> np.ndarray:
        parts = [
            network(load(rows[start : start + piece], None)).cpu().double().softmax(dim=1)
            for start in range(0, max(len(rows), 1), piece)  # none: a table without rows
        ]
        return torch.cat(parts).numpy()

    return in_pieces(compute, batch_size, "predicting")


def cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; probabilities below 1e-15 count as that."""
    true = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.clip(true, 1e-15, None)).mean())
