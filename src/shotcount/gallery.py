"""Pictures for the report: what the classifier gets wrong, where it looked, what it was taught."""

import io

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image
from torch import nn

from shotcount import scoring

MISTAKES = 12  # shown, of different samples
LARGEST = 224  # px of a mistake's picture
SHEET_CLASSES, SHEET_ROWS, SHEET_ANGLES = 8, 24, 10  # on the contact sheet, at most
THUMBNAIL = 64  # px

# ---------------------------------------------------------------------------- mistakes


def mistakes(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Choose the test photos that a classifier gets wrong most confidently, one a sample.

    Parameters
    ----------
    predictions : DataFrame
        Of one seed of a cell, as in ``tables.predictions(classes)``.

    Returns
    -------
    DataFrame
        photo, actual, predicted, confidence (the probability of `predicted`): most confident first.
    """
    p = scoring.probabilities(predictions, classes)
    table = pd.DataFrame(
        {
            "photo": predictions["photo"].to_numpy(),
            "sample": predictions["sample"].to_numpy(),
            "actual": predictions["label"].to_numpy(),
            "predicted": np.array(classes)[p.argmax(axis=1)],
            "confidence": p.max(axis=1),
        }
    )
    wrong = table[table["actual"] != table["predicted"]]
    wrong = wrong.sort_values(["confidence", "photo"], ascending=[False, True], kind="stable")
    return wrong.drop_duplicates("sample").head(MISTAKES).drop(columns="sample")


def grad_cam(network: nn.Module, x: torch.Tensor, targets: torch.Tensor) -> np.ndarray | None:
    """Return how much each place of a photo speaks for a class.

    Grad-CAM (Selvaraju et al., ICCV 2017) on the last feature map of more than one place: its
    channels, weighted by the mean gradient of the class's logit, summed; what speaks against the
    class is cut off. Of any network: which map is the last one shows while it computes.

    Parameters
    ----------
    network : nn.Module
        Photos → logits, in eval mode.
    x : Tensor of shape (B, 3, H, H)
        Photos are square, and so are feature maps: that tells them from other outputs.
    targets : Tensor of shape (B,), int64
        The class that is asked for.

    Returns
    -------
    ndarray of shape (B, h, h), float32, from 0 to 1, or None
        As fine as the feature map. None where the network ends in no feature map, as most
        transformers, which work on a list of patches.
    """
    last: list[torch.Tensor] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and _places(output.shape) > 1:
            last[:] = [output]

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(x.clone().requires_grad_())
            space = _space(last[0].shape) if last else None
            if space is None:
                return None
            chosen = logits.gather(1, targets[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, last[0])
    finally:
        for hook in hooks:
            hook.remove()
    (channels,) = {1, 2, 3} - set(space)
    weights = gradient.mean(dim=space, keepdim=True)
    cam = (weights * last[0]).sum(dim=channels).relu()  # (B, h, h)
    peak = cam.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(cam.dtype).tiny)
    return (cam / peak).detach().float().cpu().numpy()


def _space(shape: torch.Size) -> tuple[int, int] | None:
    """Return which dimensions of a feature map are places: of (B, C, h, h) or (B, h, h, C)."""
    if len(shape) == 4 and shape[2] == shape[3]:
        return 2, 3
    if len(shape) == 4 and shape[1] == shape[2]:  # Swin, for example
        return 1, 2
    return None


def _places(shape: torch.Size) -> int:
    """Count the places that an output tells apart, in a feature map or in a list of patches."""
    if len(shape) == 3:  # (B, patches, C) or (B, C, patches)
        return min(shape[1:])
    space = _space(shape)
    return int(shape[space[0]] ** 2) if space else 0


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Colour a photo (H, H, 3) uint8 by `heat` (h, h), from 0 to 1: the more, the brighter.

    The photo itself turns grey, so that all colour is the heat's.
    """
    image = Image.fromarray(heat.astype(np.float32))
    fine = np.asarray(image.resize(photo.shape[1::-1], Image.Resampling.BICUBIC))
    colour = colormaps["inferno"](fine.clip(0, 1))[..., :3] * 255  # (H, H, 3)
    grey = np.asarray(Image.fromarray(photo).convert("L"))[..., None]
    return (0.5 * grey + 0.5 * colour).round().astype(np.uint8)


# ---------------------------------------------------------------------------- training photos


def contact_sheet(train: pd.DataFrame) -> list[pd.DataFrame]:
    """Choose some samples of each class, more where there are fewer classes, and some angles.

    Parameters
    ----------
    train : DataFrame
        As in `tables.SPLIT`.

    Returns
    -------
    list of DataFrame
        Rows of `train`, a table a sample, by class: evenly spread over what there is.
    """
    classes = sorted(train["label"].unique())[:SHEET_CLASSES]
    most = min(6, SHEET_ROWS // len(classes))
    chosen = []
    for label in classes:
        own = train[train["label"] == label]
        samples = [views for _, views in own.groupby("sample", sort=False)]
        for n in _spread(len(samples), most):
            chosen.append(samples[n].iloc[_spread(len(samples[n]), SHEET_ANGLES)])
    return chosen


def _spread(available: int, wanted: int) -> np.ndarray:
    """Return `wanted` places evenly spread over the available ones, or all of those."""
    count = min(available, wanted)
    return np.arange(count) * available // count


def side_by_side(photos: list[np.ndarray], gap: int = 2) -> np.ndarray:
    """Join photos (H, H, 3) uint8 of one size into one picture, white between them."""
    height = photos[0].shape[0]
    between = np.full((height, gap, 3), 255, np.uint8)
    parts = [part for photo in photos for part in (photo, between)]
    return np.concatenate(parts[:-1], axis=1)


def scaled(photo: np.ndarray, size: int) -> np.ndarray:
    """Return a square photo (H, H, 3) uint8 at `size` px."""
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))


def encode(picture: np.ndarray) -> bytes:
    """Encode an (H, W, 3) uint8 array as WebP."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "WEBP", quality=80, method=6)
    return encoded.getvalue()
