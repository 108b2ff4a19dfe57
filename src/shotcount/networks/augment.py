"""Augment a batch of photos at once: random crops and mirroring."""

import torch
import torch.nn.functional as F


def random_crop_flip(
    x: torch.Tensor,
    crop_scale: float,
    flip: bool,
    generator: torch.Generator,
    start: int = 0,
    batch_size: int | None = None,
) -> torch.Tensor:
    """Crop a random square from each photo, scale it back to full size, mirror half of them.

    The distribution is that of torchvision's ``RandomResizedCrop(scale=(crop_scale, 1),
    ratio=(1, 1))`` and ``RandomHorizontalFlip``, drawn for each photo independently.

    Parameters
    ----------
    x : Tensor of shape (B, C, H, H), float
    crop_scale : float in (0, 1]
        Smallest share of the photo's area that a crop may keep; 1 keeps it all.
    generator : torch.Generator
        On the CPU, so that every device draws the same crops.
    start, batch_size : int
        `x` is the part of a batch of `batch_size` photos that begins at `start`. It is augmented as
        it would be within the whole batch. By default, `x` is the whole batch.

    Returns
    -------
    Tensor of shape (B, C, H, H), float
    """
    if crop_scale == 1 and not flip:
        return x
    theta = draw_crops(batch_size or len(x), crop_scale, flip, generator)[start : start + len(x)]
    grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
    # "reflection" matters only for the half pixel at the border.
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def draw_crops(
    photos: int, crop_scale: float, flip: bool, generator: torch.Generator
) -> torch.Tensor:
    """Draw a crop for each photo, mirrored or not.

    Returns
    -------
    Tensor of shape (photos, 2, 3), float32
        Maps places in the crop to places in the photo; both reach from -1 to 1.
    """
    scale, across, down, mirror = torch.rand(4, photos, generator=generator)
    side = (crop_scale + (1 - crop_scale) * scale).sqrt()  # of the crop, relative to the photo
    sign = torch.where(mirror < 0.5, -1.0, 1.0) if flip else torch.ones(photos)
    theta = torch.zeros(photos, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = sign * side, side
    theta[:, 0, 2], theta[:, 1, 2] = (1 - side) * (2 * across - 1), (1 - side) * (2 * down - 1)
    return theta
