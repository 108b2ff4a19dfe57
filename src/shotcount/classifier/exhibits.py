"""What the report shows of the test photos: mistakes, and labels that may be wrong."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from shotcount.classifier import explain, gallery
from shotcount.core.pixels import Pixels
from shotcount.scoring.mistakes import find_mistakes
from shotcount.scoring.suspects import find_suspects, with_paths

See = Callable[[int], np.ndarray]  # a photo → its square (H, H, 3), uint8


@dataclass(frozen=True)
class Exhibits:
    """Tables and their pictures, ndarrays (H, W, 3), uint8."""

    mistakes: pd.DataFrame  # the columns `MISTAKES`
    pictures: list[np.ndarray]  # of each mistake
    suspects: pd.DataFrame  # the columns `SUSPECTS`
    doubted: list[np.ndarray]  # of each suspect that has a file


def exhibit(
    predictions: pd.DataFrame,
    classes: list[str],
    pixels: Pixels,
    paths: pd.Series,
    see: See,
    network_of: Callable[[int], nn.Module],
    device: torch.device,
) -> Exhibits:
    """Choose and draw what to show of predicted classes.

    Parameters
    ----------
    predictions : DataFrame
        The predictions of one cell, with the columns ``prediction_columns(classes)``.
    classes : list of str
    pixels : Pixels
        As the networks saw them.
    paths : Series of str
        The path of each photo.
    see : callable
        Of a photo: returns it as the report shows it (`gallery.look`).
    network_of, device
        As for `explain.explain_mistakes`.
    """
    wrong = find_mistakes(predictions, classes)
    photos = pixels[wrong["photo"].to_numpy()]  # (B, H, H, 3)
    heat = explain.explain_mistakes(wrong, photos, classes, network_of, device)
    pictures = []
    for n, photo in enumerate(map(see, wrong["photo"])):
        shown = [photo, explain.overlay(photo, heat[n])] if heat else [photo]
        pictures.append(gallery.side_by_side(shown))
    suspects = find_suspects(predictions, classes)
    table = with_paths(suspects, paths)
    doubted = []
    for own in suspects["photos"][(table["file"] != "").to_numpy()]:
        two = np.array(own)[gallery.spread(len(own), 2)]
        doubted.append(gallery.side_by_side([see(photo) for photo in two]))
    mistakes = numbered(wrong, paths, len(heat[0]) if heat else 0)
    return Exhibits(mistakes, pictures, table, doubted)


def thumbnail(see: See, photo: int) -> np.ndarray:
    """Scale a photo for the contact sheet."""
    return gallery.scaled(see(photo), gallery.THUMBNAIL)


def numbered(wrong: pd.DataFrame, paths: pd.Series, map_size: int = 0) -> pd.DataFrame:
    """Add paths and names of pictures to mistakes, for the table `MISTAKES`."""
    return wrong.assign(
        path=paths[wrong["photo"]].to_numpy(),
        map_size=map_size,
        file=[f"mistake{n}.webp" for n in range(len(wrong))],
    )
