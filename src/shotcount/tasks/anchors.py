"""The anchors of a detector: boxes of fixed sizes and shapes all over the photo.

A detector names, for each of them, a class and how an object's box differs from it (Liu et al.,
"SSD: Single Shot MultiBox Detector", ECCV 2016).
"""

import math

import torch

SHAPES = (1 / 2, 1.0, 2.0)  # width for a height of 1
SCALES = (1.0, 2**0.5)  # of the sizes between one level and the next
SIZE = 2.5  # side of a level's smallest anchor, in strides of its map


def build_anchors(size: int, sides: list[int]) -> torch.Tensor:
    """Return the anchors of a square photo.

    Parameters
    ----------
    size : int
        Side of the photo, in px.
    sides : list of int
        Height and width of each map that the detector looks at.

    Returns
    -------
    Tensor of shape (anchors, 4), float32
        Centre (x, y), width and height in px: map by map, shape by shape, row by row.
    """
    levels = []
    for side in sides:
        stride = size / side
        centres = (torch.arange(side) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        shapes = torch.tensor(
            [
                (SIZE * stride * scale * math.sqrt(shape), SIZE * stride * scale / math.sqrt(shape))
                for scale in SCALES
                for shape in SHAPES
            ]
        )
        places = torch.stack([x, y], dim=-1).view(1, -1, 2).expand(len(shapes), -1, 2)
        sides_there = shapes[:, None].expand(-1, side**2, 2)
        levels.append(torch.cat([places, sides_there], dim=2).view(-1, 4))
    return torch.cat(levels)


def anchors_a_place() -> int:
    """Return how many anchors lie at each place of a map."""
    return len(SHAPES) * len(SCALES)


# Offsets are divided by their usual size, so that each counts about the same in the loss (SSD).
CENTRE_SPREAD, SIDE_SPREAD = 0.1, 0.2


def encode(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Return how boxes (..., 4), as corners, differ from their anchors (..., 4)."""
    centre, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    shift = (centre - anchors[..., :2]) / anchors[..., 2:] / CENTRE_SPREAD
    return torch.cat([shift, (sides / anchors[..., 2:]).log() / SIDE_SPREAD], dim=-1)


def decode(offsets: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Return the boxes (..., 4), as corners, that differ by `offsets` from `anchors`."""
    centre = anchors[..., :2] + CENTRE_SPREAD * offsets[..., :2] * anchors[..., 2:]
    # No object is 50 times as large as its anchor; without a limit, exp overflows.
    sides = anchors[..., 2:] * (SIDE_SPREAD * offsets[..., 2:]).clamp(max=4.0).exp()
    return torch.cat([centre - sides / 2, centre + sides / 2], dim=-1)
