"""What networks learn: the class of a photo, or the objects in it and their boxes.

Everything that trains networks asks a `Task` where the two differ: `tasks.classes.ClassTask` and
`tasks.boxes.BoxTask`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn

from shotcount.tasks.strategies import Arrays, Augmentation, Examples, Load, Strategy

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
