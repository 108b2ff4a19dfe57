"""One pass of a frozen backbone over all photos. Whoever trains a head on it reads the result."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from shotcount import files
from shotcount.augment import random_crop_flip
from shotcount.backbones import Backbone
from shotcount.devices import in_pieces
from shotcount.params import Features
from shotcount.pixels import Pixels
from shotcount.seeds import seed_for

BATCH = 128


@torch.inference_mode()
def extract(
    backbone: Backbone, pixels: Pixels, own: Features, device: torch.device, start: int = 0
) -> Iterator[np.ndarray]:
    """Yield the features of the photos, and of augmented views, from `start` on, BATCH at a time.

    Parameters
    ----------
    pixels : Pixels
        One batch at a time is read.
    start : int
        A multiple of BATCH: the last bits of a photo's features depend on its batch.

    Yields
    ------
    ndarray of shape (<= BATCH, 1 + views, features), float32
        First those of the photo itself.
    """
    backbone = backbone.to(device).eval()  # BatchNorm keeps ImageNet's statistics

    def compute(x: torch.Tensor, piece: int) -> np.ndarray:
        return torch.cat([backbone(part).cpu() for part in x.split(piece)]).numpy()

    for first in range(start, len(pixels), BATCH):
        x = torch.tensor(pixels[first : first + BATCH]).to(device).permute(0, 3, 1, 2).float()
        views = [x]
        for view in range(own.views):
            generator = torch.Generator().manual_seed(seed_for("features", first, view))
            views.append(random_crop_flip(x, own.crop_scale, own.flip, generator))
        yield np.stack(
            [in_pieces(partial(compute, v), BATCH, "computing the features") for v in views], axis=1
        )


def write(
    path: Path, backbone: Backbone, pixels: Pixels, own: Features, device: torch.device
) -> Iterator[int]:
    """Extract the features into a .npy file, going on where an interrupted call stopped.

    Yields how many photos are done.
    """
    header = files.npy_header("<f4", (len(pixels), 1 + own.views, backbone.features))
    batch_bytes = BATCH * (1 + own.views) * backbone.features * 4
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
