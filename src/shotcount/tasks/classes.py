"""Networks that name the class of a photo, and the choice between them and detectors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from shotcount.core.tables import is_detection
from shotcount.networks.heads import calibrate, photo_losses, scale_logits
from shotcount.parallel import ranks
from shotcount.tasks.strategies import (
    Arrays,
    Augmentation,
    Examples,
    Load,
    Strategy,
    assemble,
    check_classifies,
    predict,
)
from shotcount.tasks.task import Task, Validated

if TYPE_CHECKING:
    from shotcount.networks.backbones import Backbone


class ClassTask:
    """See `tasks.task.Task`."""

    solves_heads = True
    shares_batches = True

    def __init__(self, classes: Sequence[str] = ()) -> None:
        self.classes = list(classes)

    def examples(self, table: pd.DataFrame) -> Examples:
        return Examples.of(table, self.classes)

    def count(self, table: pd.DataFrame) -> dict[str, dict[str, int]]:
        return {
            str(label): {"samples": own["sample"].nunique(), "photos": len(own)}
            for label, own in table.groupby("label")
        }

    def assemble(
        self,
        strategy: Strategy,
        model_name: str,
        arrays: Arrays,
        device: torch.device,
        settings: Augmentation | None = None,
        pretrained: Mapping[str, torch.Tensor] | None = None,
    ) -> tuple[nn.Module, Load]:
        return assemble(
            strategy, model_name, len(self.classes), arrays, device, settings, pretrained
        )

    def cached(self, backbone: "Backbone") -> nn.Module:
        return check_classifies(backbone)

    def targets(
        self,
        examples: Examples,
        chosen: np.ndarray,
        part: slice,
        seed: int,
        settings: Augmentation,
    ) -> torch.Tensor:
        return torch.from_numpy(examples.targets[chosen[part]])  # a crop leaves the class as it is

    def loss(self, network: nn.Module, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs.float(), target, reduction="sum")

    def validate(self, network: nn.Module, load: Load, val: Examples) -> Validated:
        own = val.rows[ranks.own_share(len(val.rows))]
        probabilities = ranks.gather(predict(network, load, own))
        factor, loss = calibrate(probabilities, val.targets)
        right = probabilities.argmax(axis=1) == val.targets
        losses = photo_losses(probabilities, val.targets, factor)
        return Validated(losses, loss, float(np.mean(right)), factor)

    def scale(self, network: nn.Module, factor: float) -> None:
        scale_logits(network, factor)

    def predict(self, network: nn.Module, load: Load, rows: np.ndarray) -> np.ndarray:
        return predict(network, load, rows)


def open_task(boxes: pd.DataFrame, size: int, classes: Sequence[str] = ()) -> Task:
    """Return what the study is about: boxes if there are any, else classes.

    Parameters
    ----------
    boxes : DataFrame
        With the columns `BOXES` of core.tables.
    size : int
        Of the photos, in px.
    classes : sequence of str
        Of photos; those of boxes are in `boxes`.
    """
    if not is_detection(boxes):
        return ClassTask(classes)
    # Imported here: torchvision and timm take seconds to import, more than a head takes to solve.
    from shotcount.tasks.boxes import BoxTask

    return BoxTask(boxes, size)
