"""One pass of a frozen backbone over all photos. Whoever trains a head on it reads the result."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from shotcount import files
from shotcount.backbones import Backbone
from shotcount.devices import in_pieces
from shotcount.pixels import Pixels

BATCH = 128


@torch.inference_mode()
def extract(
    backbone: Backbone, pixels: Pixels, device: torch.device, start: int = 0
) -> Iterator[np.ndarray]:
    """Yield the features of the photos from `start` on, BATCH at a time.

    Parameters
    ----------
    pixels : Pixels
        One batch at a time is read.
    start : int
        A multiple of BATCH: the last bits of a photo's features depend on its batch.

    Yields
    ------
    ndarray of shape (<= BATCH, features), float32
    """
    backbone = backbone.to(device).eval()  # BatchNorm keeps ImageNet's statistics

    def compute(photos: np.ndarray, piece: int) -> np.ndarray:
        parts = torch.tensor(photos).split(piece)  # (B, H, W, 3)
        return torch.cat(
            [backbone(x.to(device).permute(0, 3, 1, 2)).float().cpu() for x in parts]
        ).numpy()

    for first in range(start, len(pixels), BATCH):
        photos = pixels[first : first + BATCH]
        yield in_pieces(partial(compute, photos), BATCH, "computing the features")


def write(path: Path, backbone: Backbone, pixels: Pixels, device: torch.device) -> Iterator[int]:
    """Extract the features into a .npy file, going on where an interrupted call stopped.

    Yields how many photos are done.
    """
    header = files.npy_header("<f4", (len(pixels), backbone.features))
    batch_bytes = BATCH * backbone.features * 4
    path.touch()
    batches = max(0, path.stat().st_size - len(header)) // batch_bytes
    os.truncate(path, len(header) + batches * batch_bytes if batches else 0)
    if not batches:
        files.append(path, header)
    done = batches * BATCH
    yield done
    for batch in extract(backbone, pixels, device, start=done):
        files.append(path, batch.tobytes())
        done += len(batch)
        yield done
