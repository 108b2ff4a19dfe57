"""What networks learn: the class of a photo, or the objects in it and their boxes.

Everything that trains networks asks a `Task` where the two differ: `tasks.classes.ClassTask` and
`tasks.boxes.BoxTask`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn

from shotcount.core.errors import UserError
from shotcount.core.tables import CELL, of_seed
from shotcount.tasks.strategies import (
    STRATEGIES,
    Arrays,
    Augmentation,
    Examples,
    Load,
    Strategy,
)

if TYPE_CHECKING:  # timm takes seconds to import, more than a head takes to train
    from shotcount.networks.backbones import Backbone


@dataclass(frozen=True)
class Validated:
    """How well a network does on the validation split."""

    losses: np.ndarray  # (photos,) float64, after scaling the logits by `factor`
    loss: float
    accuracy: float  # of classes; of boxes, the share of the anchors on objects that name the class
    factor: float  # of the logits (see networks.heads.calibrate)


class Task(Protocol):
    """What a study is about."""

    classes: list[str]
    solves_heads: bool  # whether a head on cached features has a solution
    shares_batches: bool  # whether several processes can train a network together

    def examples(self, table: pd.DataFrame) -> Examples:
        """Take the photos of a table, which has the columns photo, label and sample."""

    def count(self, table: pd.DataFrame) -> dict[str, dict[str, int]]:
        """Count what the photos of a table show of each class: samples, photos and, with boxes,
        objects.
        """

    def assemble(
        self,
        strategy: Strategy,
        model_name: str,
        arrays: Arrays,
        device: torch.device,
        settings: Augmentation | None = None,
        pretrained: Mapping[str, torch.Tensor] | None = None,
    ) -> tuple[nn.Module, Load]:
        """Return the strategy's network, on `device`, and the loader of its inputs."""

    def cached(self, backbone: "Backbone") -> nn.Module:
        """Return the part of the network that frozen training computes once for each photo."""

    def targets(
        self,
        examples: Examples,
        chosen: np.ndarray,
        part: slice,
        seed: int,
        settings: Augmentation,
    ) -> torch.Tensor:
        """Return the targets of a batch, augmented as `Load` augments its photos.

        Parameters
        ----------
        examples : Examples
        chosen : ndarray of shape (batch,), int64
            Positions of the batch's photos in `examples`.
        part : slice
            The part of the batch that is wanted.
        seed : int
            Draws how the whole batch is augmented.
        settings : Augmentation
        """

    def loss(self, network: nn.Module, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of some photos, summed over them."""

    def validate(self, network: nn.Module, load: Load, val: Examples) -> Validated:
        """Measure how well a network does. Ranks that call it together share the work."""

    def scale(self, network: nn.Module, factor: float) -> None:
        """Multiply the network's logits by the factor that validation chose."""

    def predict(self, network: nn.Module, load: Load, rows: np.ndarray) -> Any:
        """Predict photos: probabilities (photos, classes), or a table of detections."""


def predict_cell(
    folder: Path,
    model: Mapping[str, Any],
    task: Task,
    arrays: Arrays,
    splits: Sequence[pd.DataFrame],
    device: torch.device,
    join: Callable[[pd.DataFrame, Any], pd.DataFrame],
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Let the network of each seed predict the photos that are its own in each split.

    Parameters
    ----------
    folder : Path
        Of the cell, with the networks' weights.
    model : mapping
        The content of its model.json.
    task : Task
    arrays : Arrays
    splits : sequence of DataFrame
        With the columns `SPLIT` of core.tables; the test split is the first.
    device : torch.device
    join : callable
        Of a seed's photos and what its network predicts of them: returns the table of predictions.

    Returns
    -------
    list of (DataFrame, DataFrame)
        For each split: the predictions of all seeds, and the rows of the split that they are of.

    Raises
    ------
    UserError
        If a network was trained or chosen on a sample that it would be tested on.
    """
    strategy, runs = STRATEGIES[model["strategy"]], []
    for seed in range(model["seeds"]):
        check_apart(model["samples_seen"][seed], of_seed(splits[0], seed), folder)
        network, load = task.assemble(strategy, model["network"], arrays, device)
        network.load_state_dict(load_file(folder / f"seed{seed}.safetensors"))
        own = [of_seed(split, seed) for split in splits]
        runs.append([join(t, task.predict(network, load, t["photo"].to_numpy())) for t in own])
    cell = {column: model[column] for column in CELL}
    return [
        (pd.concat(run, ignore_index=True).assign(**cell), split[split["seed"] < model["seeds"]])
        for run, split in zip(zip(*runs, strict=True), splits, strict=True)
    ]


def check_apart(seen: list[str], test: pd.DataFrame, model: Path) -> None:
    """Refuse to test a model on samples that it was trained or chosen on.

    Raises
    ------
    UserError
        If there are such samples; the message names the model and one of them.
    """
    if both := sorted(set(seen) & set(test["sample"])):
        raise UserError(
            f"{model} has seen {len(both)} sample(s) of the test split in training, {both[0]!r} "
            "first: train it again with `dvc repro --force` and the name of its stage"
        )
