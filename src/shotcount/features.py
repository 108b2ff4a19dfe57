"""One pass of a frozen backbone over all photos. Whoever trains a head on it reads the result."""

from collections.abc import Iterator

import numpy as np
import torch

from shotcount.backbones import Backbone


@torch.inference_mode()
def extract(
    backbone: Backbone, pixels: np.ndarray, device: torch.device, batch_size: int = 128
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the features of the photos, batch by batch.

    Parameters
    ----------
    pixels : ndarray of shape (photos, size, size, 3), uint8
        May be memory-mapped: one batch at a time is read.

    Yields
    ------
    rows : slice
        Which photos.
    features : ndarray of shape (<= batch_size, features), float32
    """
    backbone = backbone.to(device).eval()  # BatchNorm keeps ImageNet's statistics
    for start in range(0, len(pixels), batch_size):
        rows = slice(start, start + batch_size)
        x = torch.tensor(pixels[rows]).to(device)  # (B, H, W, 3)
        yield rows, backbone(x.permute(0, 3, 1, 2)).float().cpu().numpy()
