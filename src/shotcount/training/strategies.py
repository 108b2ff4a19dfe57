"""The three strategies: what each starts from, what it sees, what it trains.

strategy   weights at the start   the loop sees     and trains
scratch    random                 augmented photos  backbone and head
frozen     pretrained             cached features   the head
finetune   pretrained             augmented photos  backbone and head
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn

from shotcount.core.pixels import Pixels
from shotcount.networks.augment import random_crop_flip
from shotcount.networks.heads import Network, build_head
from shotcount.training.settings import PixelTrainingSettings, TrainingSettings


@dataclass(frozen=True)
class Strategy:
    pretrained: bool
    cached: bool  # trained on the frozen backbone's cached features instead of the photos


STRATEGIES = {
    "scratch": Strategy(pretrained=False, cached=False),
    "frozen": Strategy(pretrained=True, cached=True),
    "finetune": Strategy(pretrained=True, cached=False),
}


@dataclass(frozen=True)
class Arrays:
    """A collection as the network sees it."""

    pixels: Pixels | np.ndarray  # (photos, size, size, 3) uint8
    features: np.ndarray  # (photos, 1 + augmentations, features) float32, from the frozen backbone


@dataclass(frozen=True)
class Examples:
    """Labelled photos, to train on or to validate with."""

    rows: np.ndarray  # (photos,) int64: rows of the arrays
    targets: np.ndarray  # (photos,) int64: class of each

    @classmethod
    def of(cls, table: pd.DataFrame, classes: list[str]) -> "Examples":
        """Take the columns photo and label of a table; a target is an index into `classes`."""
        return cls(table["photo"].to_numpy(), table["label"].map(classes.index).to_numpy())


class Load(Protocol):
    """Rows of an array → the network's input."""

    def __call__(
        self, rows: np.ndarray, seed: int | None, part: slice = slice(None)
    ) -> torch.Tensor:
        """Return the rows in `part`. `seed` draws how all rows are augmented; None: not at all."""


def load_features(features: np.ndarray, device: torch.device) -> Load:
    """Return the loader of a head: rows of `features` (photos, 1 + augmentations, features).

    With a seed, it takes one of each photo's augmented copies. Without a seed, or where there are
    no copies, it takes the photo's own features.
    """
    copies = features.shape[1] - 1

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        copy = np.zeros(len(rows), dtype=np.int64)
        if seed is not None and copies:
            copy = np.random.default_rng(seed).integers(1, copies + 1, len(rows))
        return torch.from_numpy(features[rows[part], copy[part]]).to(device)

    return load


def load_pixels(
    pixels: Pixels | np.ndarray, settings: PixelTrainingSettings | None, device: torch.device
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
    settings: TrainingSettings | None = None,
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
        head = build_head(arrays.features.shape[2], classes)
        return head.to(device), load_features(arrays.features, device)
    # Imported here: timm takes seconds to import, more than a head takes to train.
    from shotcount.networks.backbones import build_backbone

    backbone = build_backbone(model_name)
    if strategy.pretrained and pretrained is not None:
        backbone.load_state_dict(pretrained)
    network = Network(backbone, backbone.features, classes)
    assert settings is None or isinstance(settings, PixelTrainingSettings)
    return network.to(device), load_pixels(arrays.pixels, settings, device)
