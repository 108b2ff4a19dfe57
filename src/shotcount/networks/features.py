"""Compute the frozen backbone's features of all photos, once for all heads."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from shotcount.core import files
from shotcount.core.pixels import Pixels
from shotcount.core.seeds import seed_for
from shotcount.networks.augment import random_crop_flip
from shotcount.networks.backbones import Backbone
from shotcount.networks.devices import in_pieces
from shotcount.networks.settings import FeatureSettings

BATCH = 128


@torch.inference_mode()
def extract(
    backbone: Backbone, pixels: Pixels, own: FeatureSettings, device: torch.device, start: int = 0
) -> Iterator[np.ndarray]:
    """Yield the features of the photos and of their augmented copies, BATCH photos at a time.

    Parameters
    ----------
    pixels : Pixels
        Only one batch at a time is read into memory.
    start : int
        The photo to begin with: a multiple of BATCH, since the last bits of a photo's features
        depend on its batch.

    Yields
    ------
    ndarray of shape (<= BATCH, 1 + augmentations, features), float32
        The photo's own features come first.
    """
    backbone = backbone.to(device).eval()  # BatchNorm uses ImageNet's statistics

    def compute(x: torch.Tensor, piece: int) -> np.ndarray:
        return torch.cat([backbone(part).cpu() for part in x.split(piece)]).numpy()

    for first in range(start, len(pixels), BATCH):
        x = torch.tensor(pixels[first : first + BATCH]).to(device).permute(0, 3, 1, 2).float()
        inputs = [x]
        for copy in range(own.augmentations):
            generator = torch.Generator().manual_seed(seed_for("features", first, copy))
            inputs.append(random_crop_flip(x, own.crop_scale, own.flip, generator))
        computed = [in_pieces(partial(compute, y), BATCH, "computing features") for y in inputs]
        yield np.stack(computed, axis=1)


def write_features(
    path: Path, backbone: Backbone, pixels: Pixels, own: FeatureSettings, device: torch.device
) -> Iterator[int]:
    """Write the features into a .npy file, resuming after the last whole batch in it.

    Yields the number of photos done so far.
    """
    header = files.npy_header("<f4", (len(pixels), 1 + own.augmentations, backbone.features))
    batch_bytes = BATCH * (1 + own.augmentations) * backbone.features * 4
    path.touch()
    batches = max(0, path.stat().st_size - len(header)) // batch_bytes
    os.truncate(path, len(header) + batches * batch_bytes if batches else 0)
    if not batches:
        files.append(path, header)
    done = batches * BATCH
    yield done
    for batch in extract(backbone, pixels, own, device, start=done):
        files.append(path, batch.tobytes())
        done += len(batch)
        yield done
