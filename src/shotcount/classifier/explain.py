"""LayerCAM: heat maps of the places in a photo that support a class."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image
from torch import nn

FINE = 7  # places a side of a feature map that shows where


def layer_cam(network: nn.Module, x: torch.Tensor, targets: torch.Tensor) -> np.ndarray | None:
    """Return how much each place in a photo supports a class.

    LayerCAM (Jiang et al., IEEE Transactions on Image Processing 2021): the sum of a feature map's
    channels, each place weighted by its own gradient of the class's logit where that is positive;
    negative values become 0. Unlike Grad-CAM it is meant for any layer, so it can use the last map
    that is fine enough: of `FINE` places a side, or the finest one if there is none. Works for any
    network, since hooks find its maps during the forward pass.

    Parameters
    ----------
    network : nn.Module
        Photos → logits, in eval mode.
    x : Tensor of shape (B, 3, H, H)
        Photos are square, so feature maps are square too; other outputs are not.
    targets : Tensor of shape (B,), int64
        The class to explain.

    Returns
    -------
    ndarray of shape (B, h, h), float32, from 0 to 1, or None
        At the resolution of the feature map. None if the network's last layers have no feature map:
        most transformers work on a list of patches.
    """
    last: list[torch.Tensor] = []  # output with several places
    fine: list[torch.Tensor] = []  # the last of these that shows where

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and _places(output.shape) > 1:
            last[:] = [output]
            if _space(output.shape) and (not fine or _places(output.shape) >= FINE**2):
                fine[:] = [output]

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(x.clone().requires_grad_())
            space = _space(fine[0].shape) if fine else None
            if space is None or _space(last[0].shape) is None:
                return None
            chosen = logits.gather(1, targets[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, fine[0])
    finally:
        for hook in hooks:
            hook.remove()
    (channels,) = {1, 2, 3} - set(space)
    cam = (gradient.relu() * fine[0]).sum(dim=channels).relu()  # (B, h, h)
    peak = cam.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(cam.dtype).tiny)
    return (cam / peak).detach().float().cpu().numpy()


def explain_mistakes(
    wrong: pd.DataFrame,
    photos: np.ndarray,
    classes: list[str],
    network_of: Callable[[int], nn.Module],
    device: torch.device,
) -> dict[int, np.ndarray]:
    """Explain each mistake by the network that made it.

    Parameters
    ----------
    wrong : DataFrame
        With the columns seed and predicted.
    photos : ndarray of shape (mistakes, H, H, 3), uint8
    classes : list of str
    network_of : callable
        Returns the network of a seed, in eval mode, on `device`.
    device : torch.device

    Returns
    -------
    dict of int to ndarray of shape (h, h)
        The heat map (see `layer_cam`) of each row of `wrong` by its position, if there is one.
    """
    heat: dict[int, np.ndarray] = {}
    for seed in sorted(wrong["seed"].unique()):
        own = np.flatnonzero(wrong["seed"] == seed)
        x = torch.from_numpy(photos[own]).to(device).permute(0, 3, 1, 2).float()
        asked = [classes.index(label) for label in wrong["predicted"].iloc[own]]
        maps = layer_cam(network_of(seed), x, torch.tensor(asked, device=device))
        if maps is not None:
            heat |= dict(zip(own.tolist(), maps, strict=True))
    return heat


def _space(shape: torch.Size) -> tuple[int, int] | None:
    """Return the spatial dimensions of a feature map (B, C, h, h) or (B, h, h, C), else None."""
    if len(shape) == 4 and shape[2] == shape[3]:
        return 2, 3
    if len(shape) == 4 and shape[1] == shape[2]:  # Swin, for example
        return 1, 2
    return None


def _places(shape: torch.Size) -> int:
    """Count the places in a feature map or in a list of patches; 0 for other outputs."""
    if len(shape) == 3:  # (B, patches, C) or (B, C, patches)
        return min(shape[1:])
    space = _space(shape)
    return int(shape[space[0]] ** 2) if space else 0


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Colour a photo (H, H, 3) uint8 by `heat` (h, h) from 0 to 1: higher values are brighter.

    The photo turns grey, so that all colour comes from the heat.
    """
    image = Image.fromarray(heat.astype(np.float32))
    fine = np.asarray(image.resize(photo.shape[1::-1], Image.Resampling.BICUBIC))
    colour = colormaps["inferno"](fine.clip(0, 1))[..., :3] * 255  # (H, H, 3)
    grey = np.asarray(Image.fromarray(photo).convert("L"))[..., None]
    return (0.5 * grey + 0.5 * colour).round().astype(np.uint8)
