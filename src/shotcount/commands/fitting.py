"""Squares of photos, made by a network's own layers: for programs without Pillow."""

from typing import Any

import torch
from torch import nn

from shotcount.core.params import Fit
from shotcount.photos import reading


class FitSquare(nn.Module):
    """Make squares of photos of any size, like `reading.read_photo`.

    Takes a Tensor (B, H, W, 3), uint8; returns (B, 3, size, size), whole numbers from 0 to 255 as
    float32. Photos are cropped or padded, and scaled by antialiased bicubic interpolation. Each
    axis is a matrix product, since few ONNX runtimes have the antialiased Resize operator. As in
    Pillow, values are rounded to whole grey levels after each axis, so the result is that of
    training except for one level in a few pixels. (Tall photos of few pixels differ in more pixels,
    since Pillow scales their vertical axis first; and by more levels where clipping after that axis
    cuts overshoot at an edge between black and white.)
    """

    def __init__(self, size: int, fit: Fit) -> None:
        super().__init__()
        self.size, self.fit = size, fit

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        height, width = photos.shape[1], photos.shape[2]
        x = photos.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        if self.fit == "crop":
            side = torch.sym_min(height, width)
            across, down = (_bicubic(length, side, self.size) for length in (width, height))
            return _grey_levels(down @ _grey_levels(x @ across.T))  # (B, 3, size, size)
        if self.fit == "stretch":
            across, down = (_bicubic(length, length, self.size) for length in (width, height))
            return _grey_levels(down @ _grey_levels(x @ across.T))
        side = torch.sym_max(height, width)
        across, inside = _contain(width, side, self.size)
        down, below = _contain(height, side, self.size)
        x = _grey_levels(down @ _grey_levels(x @ across.T))
        return torch.where(below[:, None] & inside, x, float(reading.PADDING[0]))


def _grey_levels(x: torch.Tensor) -> torch.Tensor:
    return torch.floor(x + 0.5).clamp(0, 255)


def _contain(length: Any, longer: Any, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (size, length) that scale a side and put it in the middle, and where it is.

    The photo's longer side becomes `size`. As `reading.contained`.
    """
    scaled = contained(length, longer, size)
    place = torch.arange(size) - (size - scaled) // 2
    inside = (place >= 0) & (place < scaled)
    weight = _bicubic(length, length, scaled, place)
    return torch.where(inside[:, None], weight, 0.0), inside


def contained(length: Any, longer: Any, size: int) -> Any:
    """Return how long a side is in the square, whose size the longer one gets."""
    return torch.sym_max((2 * length * size + longer) // (2 * longer), 1)


def _bicubic(length: Any, side: Any, size: Any, place: torch.Tensor | None = None) -> torch.Tensor:
    """Return weights (size, length) that scale the middle `side` of `length` pixels to `size`.

    Keys' cubic convolution with a = -0.5 (IEEE Transactions on Acoustics, Speech, and Signal
    Processing 1981), stretched by the scale if that is above 1. `length` and `side` are ints,
    symbolic ones during export. `place` are the pixels that are wanted, by default all.
    """
    pixel = torch.arange(length)
    place = torch.arange(size) if place is None else place
    # Distances are integers, 2 · size per pixel: exact for photos of any size.
    centre = (2 * place + 1) * side + (length - side) * size
    distance = ((2 * pixel + 1) * size - centre[:, None]).abs()  # (size, length)
    t = distance.float() / (2 * torch.sym_max(side, size))
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    weight = torch.where(t < 1, near, torch.where(t < 2, far, 0.0))
    return weight / weight.sum(dim=1, keepdim=True)
