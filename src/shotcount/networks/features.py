"""Compute the frozen backbone's features of all photos, once for all heads."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from shotcount.core import files
from shotcount.core.pixels import Pixels
from shotcount.networks.devices import in_pieces

BATCH = 128


@torch.inference_mode()
def extract(
    network: nn.Module, pixels: Pixels | np.ndarray, device: torch.device, start: int = 0
) -> Iterator[np.ndarray]:
    """Yield what a frozen network, mostly a `Backbone`, returns for BATCH photos at a time.

    Parameters
    ----------
    pixels : Pixels
        Only one batch at a time is read into memory.
    start : int
        The photo to begin with: a multiple of BATCH, since the last bits of a photo's features
        depend on its batch.

    Yields
    ------
    ndarray of shape (<= BATCH, ...)
    """
    network = network.to(device).eval()  # BatchNorm uses ImageNet's statistics

    def compute(x: torch.Tensor, piece: int) -> np.ndarray:
        return torch.cat([network(part).cpu() for part in x.split(piece)]).numpy()

    for first in range(start, len(pixels), BATCH):
        x = torch.tensor(pixels[first : first + BATCH]).to(device).permute(0, 3, 1, 2).float()
        yield in_pieces(partial(compute, x), BATCH, "computing features")


def write_features(
    path: Path, network: nn.Module, pixels: Pixels, device: torch.device
) -> Iterator[int]:
    """Write what `network` returns into a .npy file, resuming after the last whole batch in it.

    Yields the number of photos done so far.
    """
    one = next(extract(network, pixels[:1], device))
    header = files.npy_header(one.dtype.str, (len(pixels), *one.shape[1:]))
    batch_bytes = BATCH * one.nbytes
    path.touch()
    batches = max(0, path.stat().st_size - len(header)) // batch_bytes
    os.truncate(path, len(header) + batches * batch_bytes if batches else 0)
    if not batches:
        files.append(path, header)
    done = batches * BATCH
    yield done
    for batch in extract(network, pixels, device, start=done):
        files.append(path, batch.tobytes())
        done += len(batch)
        yield done
