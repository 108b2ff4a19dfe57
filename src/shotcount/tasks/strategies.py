"""The three strategies: what each starts from, what it sees, what it trains.

strategy   backbone's weights   sees              trains
scratch    random               augmented photos  backbone and head, step by step
frozen     pretrained           cached features   the head (for classes, it is solved)
finetune   pretrained           augmented photos  backbone and head, step by step
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn

from shotcount.core.errors import UserError
from shotcount.core.pixels import Pixels
from shotcount.networks.augment import random_crop_flip
from shotcount.networks.devices import in_pieces
from shotcount.networks.heads import Network, build_head

if TYPE_CHECKING:
    from shotcount.networks.backbones import Backbone


class Augmentation(Protocol):
    """How photos are augmented; the settings of a strategy have these fields."""

    crop_scale: float
    flip: bool


@dataclass(frozen=True)
class Strategy:
    pretrained: bool
    cached: bool  # the head learns from the frozen backbone's cached features


STRATEGIES = {
    "scratch": Strategy(pretrained=False, cached=False),
    "frozen": Strategy(pretrained=True, cached=True),
    "finetune": Strategy(pretrained=True, cached=False),
}


@dataclass(frozen=True)
class Arrays:
    """A collection as the network sees it."""

    pixels: Pixels | np.ndarray  # (photos, size, size, 3) uint8
    # From the frozen backbone: (photos, features) float32; for a detector (photos, 2, values)
    # float16, the maps of a photo and of its mirror image
    features: np.ndarray

    def __getstate__(self) -> dict[str, Any]:
        """Let another process map the features again, rather than copy them."""
        features: Any = self.features
        if isinstance(features, np.memmap):
            features = Path(str(features.filename))
        return {"pixels": self.pixels, "features": features}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["features"], Path):
            state["features"] = np.load(state["features"], mmap_mode="r")
        self.__dict__.update(state)


@dataclass(frozen=True)
class Examples:
    """Labelled photos, to train on or to validate with."""

    rows: np.ndarray  # (photos,) int64: rows of the arrays
    targets: np.ndarray  # (photos,) int64: class of each
    samples: np.ndarray  # (photos,) object: the sample that each shows

    @classmethod
    def of(cls, table: pd.DataFrame, classes: list[str]) -> "Examples":
        """Take photo, label and sample of a table; a target is an index into `classes`."""
        targets = table["label"].map(classes.index).to_numpy()
        return cls(table["photo"].to_numpy(), targets, table["sample"].to_numpy())


class Load(Protocol):
    """Rows of an array → the network's input."""

    def __call__(
        self, rows: np.ndarray, seed: int | None, part: slice = slice(None)
    ) -> torch.Tensor:
        """Return the rows in `part`. `seed` draws how all rows are augmented; None: not at all."""


def load_features(features: np.ndarray, device: torch.device) -> Load:
    """Return the loader of a head: rows of `features` (photos, features). None is augmented."""

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        return torch.from_numpy(features[rows[part]]).to(device)

    return load


def load_pixels(
    pixels: Pixels | np.ndarray, settings: Augmentation | None, device: torch.device
) -> Load:
    """Return the loader of a whole network: rows of `pixels` (photos, H, W, 3) as (B, 3, H, W)."""

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        x = torch.from_numpy(pixels[rows[part]])
        if device.type == "cuda":  # the copy runs while the GPU computes on the last batch
            x = x.pin_memory()
        x = x.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
        if seed is not None and settings is not None:
            generator = torch.Generator().manual_seed(seed)
            start = part.indices(len(rows))[0]
            x = random_crop_flip(x, settings.crop_scale, settings.flip, generator, start, len(rows))
        return x

    return load


def assemble(
    strategy: Strategy,
    model_name: str,
    classes: int,
    arrays: Arrays,
    device: torch.device,
    settings: Augmentation | None = None,
    pretrained: Mapping[str, torch.Tensor] | None = None,
) -> tuple[nn.Module, Load]:
    """Return the strategy's network, on `device`, and the loader of its inputs.

    Parameters
    ----------
    strategy : Strategy
    model_name : str
        The backbone, by its torchvision or timm name.
    classes : int
    arrays : Arrays
    device : torch.device
    settings : TrainingSettings or None
        How to augment. None: the network is not to be trained.
    pretrained : mapping of str to Tensor or None
        Weights of the backbone. Without them, they are drawn from torch's global generator.
    """
    if strategy.cached:
        head = build_head(arrays.features.shape[1], classes)
        return head.to(device), load_features(arrays.features, device)
    # Imported here: timm takes seconds to import, more than a head takes to train.
    from shotcount.networks.backbones import build_backbone

    backbone = check_classifies(build_backbone(model_name))
    if strategy.pretrained and pretrained is not None:
        backbone.load_state_dict(pretrained)
    network = Network(backbone, backbone.features, classes, keeps_statistics=strategy.pretrained)
    return network.to(device), load_pixels(arrays.pixels, settings, device)


def check_classifies(backbone: "Backbone") -> "Backbone":
    """Return the backbone, if it has features of whole photos.

    Raises
    ------
    UserError
        If it is a detector's.
    """
    if not backbone.features:
        raise UserError(
            "model.name: this network finds objects in photos, but the study is about the classes "
            "of whole photos: name a classification network, for example tf_efficientnet_lite0, or "
            "mark the objects with boxes (docs/boxes.md)"
        )
    return backbone


@torch.inference_mode()
def predict(
    network: nn.Module, load: Load, rows: np.ndarray, batch_size: int | None = None
) -> np.ndarray:
    """Return the probability of every class: ndarray of shape (len(rows), classes), float64."""
    network.eval()
    if batch_size is None:  # on a CPU, batches of 256 overflow the cache: 1.5 times the time
        batch_size = 64 if next(network.parameters()).device.type == "cpu" else 512

    def compute(piece: int) -> np.ndarray:
        parts = [
            network(load(rows[start : start + piece], None)).cpu().double().softmax(dim=1)
            for start in range(0, max(len(rows), 1), piece)  # no rows: an empty array
        ]
        return torch.cat(parts).numpy()

    return in_pieces(compute, batch_size, "predicting")
