"""Pictures for the report: what the classifier gets wrong, where it looked, what it was taught."""

import io

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from PIL import Image
from torch import nn

from shotcount.tables import probability

MISTAKES = 12  # shown, of different samples
SHEET = (6, 10)  # samples of a class, angles of each
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
    p = predictions[[probability(label) for label in classes]].to_numpy()
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


def grad_cam(network: nn.Module, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    """Return how much each place of a photo speaks for a class.

    Grad-CAM (Selvaraju et al., ICCV 2017) on the last feature map of more than one position: its
    channels, weighted by the mean gradient of the class's logit, summed; what speaks against the
    class is cut off.

    Parameters
    ----------
    network : nn.Module
        Photos → logits, in eval mode.
    x : Tensor of shape (B, 3, H, W)
    targets : Tensor of shape (B,), int64
        The class that is asked for.

    Returns
    -------
    Tensor of shape (B, H, W), float32, from 0 to 1, or None
        None where the network's last layers hold no feature map, as in transformers, which work on
        a list of patches.
    """
    last: list[torch.Tensor] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim >= 3 and output.shape[2:].numel() > 1:
            last[:] = [output]

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        with torch.enable_grad():
            logits = network(x.clone().requires_grad_())
            # Photos are square, so a map is too; (B, H, W, C), as some transformers have, is not.
            if not last or last[0].ndim != 4 or last[0].shape[2] != last[0].shape[3]:
                return None
            chosen = logits.gather(1, targets[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, last[0])
    finally:
        for hook in hooks:
            hook.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    cam = (weights * last[0]).sum(dim=1, keepdim=True).relu()  # (B, 1, h, w)
    cam = F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    peak = cam.amax(dim=(1, 2), keepdim=True)
    return (cam / peak.clamp_min(torch.finfo(cam.dtype).tiny)).detach()


def overlay(photo: np.ndarray, heat: np.ndarray | None) -> np.ndarray:
    """Return the photo (H, W, 3) uint8 and, right of it, what `heat` (H, W) lights up in it."""
    if heat is None:
        return photo
    colour = colormaps["inferno"](heat)[..., :3] * 255  # (H, W, 3)
    lit = 0.45 * photo + 0.55 * colour
    return np.concatenate([photo, lit.round().astype(np.uint8)], axis=1)


# ---------------------------------------------------------------------------- training photos


def contact_sheet(photos: pd.DataFrame, pixels: np.ndarray) -> np.ndarray:
    """Lay out photos of one class: a row a sample, its angles from left to right.

    Parameters
    ----------
    photos : DataFrame
        As in `tables.SPLIT`, of one class.
    pixels : ndarray of shape (photos, size, size, 3), uint8

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        White where a sample has fewer angles than another.
    """
    samples = list(photos.groupby("sample", sort=False))[: SHEET[0]]
    columns = min(SHEET[1], max(len(views) for _, views in samples))
    cell = THUMBNAIL + 2
    sheet = np.full((len(samples) * cell, columns * cell, 3), 255, np.uint8)
    for row, (_, views) in enumerate(samples):
        # Evenly spread over those there are.
        places = np.linspace(0, len(views), min(columns, len(views)), endpoint=False).astype(int)
        for column, photo in enumerate(views["photo"].iloc[places]):
            small = Image.fromarray(pixels[photo]).resize((THUMBNAIL, THUMBNAIL))
            top, left = row * cell, column * cell
            sheet[top : top + THUMBNAIL, left : left + THUMBNAIL] = np.asarray(small)
    return sheet


def jpeg(picture: np.ndarray) -> bytes:
    """Encode an (H, W, 3) uint8 array."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "JPEG", quality=88)
    return encoded.getvalue()
