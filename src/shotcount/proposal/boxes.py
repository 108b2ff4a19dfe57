"""A study of boxes: the settings in which it differs from one of classes, and the photos' size."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from shotcount.boxes import finding, pixels, preparing
from shotcount.core.params import resolve_fit
from shotcount.params import Params
from shotcount.photos.decoding import Facts
from shotcount.photos.finding import find_scenes
from shotcount.proposal.reading import has_views

# Values for classes and for boxes, those of params.yaml and of studies/detect.yaml. A value that is
# neither was chosen by the user, and stays.
SETTINGS = {
    "train.scratch.epochs": (100, 1),
    "train.scratch.min_steps": (4000, 600),
    "train.scratch.batch_size": (32, 8),
    "train.finetune.min_steps": (2000, 1000),
    "train.finetune.batch_size": (32, 8),
}
VIEWS = r"^(?P<sample>.+)[-_](?P<angle>\d+)\.\w+$"  # of a scene
SCENES = 10  # that several views of each must show, so that a pattern is proposed
SAME = 0.8  # of them must have the same number of views
OBJECT = 16.0  # px that the shorter side of a box should have in the square photo
NEARLY_ALL = 0.95  # of the boxes
STEP = 32  # px: sizes are multiples of it
SIDES = 64, 512  # px, at least and at most


def task_settings(params: Params, boxes: bool) -> dict[str, Any]:
    """Return the settings of training that suit the study, where they are those of the other."""
    changes: dict[str, Any] = {}
    for key, values in SETTINGS.items():
        _, strategy, name = key.split(".")
        if getattr(getattr(params.train, strategy), name) == values[not boxes]:
            changes[key] = values[boxes]
    if boxes and params.data.fit == "crop":
        changes["data.fit"] = "auto"
    if not boxes and params.data.task == "detect":
        changes["data.task"] = "auto"
    return changes


def view_pattern(paths: Sequence[str]) -> str | None:
    """Return the pattern of names that clearly show several views of each scene, else None."""
    matches = [match for path in paths if (match := re.search(VIEWS, path))]
    if len(matches) < len(paths):
        return None
    photos = pd.DataFrame([match.groupdict() | {"path": match.string} for match in matches])
    views = photos.groupby("sample").size()
    same = views.value_counts(normalize=True)
    clear = views.median() > 1 and len(views) >= SCENES and same.iloc[0] >= SAME
    return VIEWS if clear and has_views(photos) else None


def choose_photos(
    read: finding.Collection, pattern: str | None, params: Params
) -> preparing.Chosen:
    """Return the photos and boxes that a study uses, those with faults left out.

    Raises
    ------
    UserError
        If no study can be made of them.
    """
    scenes = find_scenes(read.root, pattern)
    fit = resolve_fit("auto" if params.data.fit == "crop" else params.data.fit, detection=True)
    source = preparing.Source(scenes, read.found, fit)
    known = {row[0]: Facts(*row[1:]) for row in read.facts.itertuples()}
    return preparing.choose(source, [known[path] for path in scenes["path"]], "skip")


def size_for(boxes: pd.DataFrame, side: int) -> int:
    """Return the size of photos in px at which nearly all boxes are large enough.

    Parameters
    ----------
    boxes : DataFrame
        As of `boxes.pixels.place`.
    side : int
        Shorter side of the photos in px, beyond which nothing is gained.
    """
    unit = 1000
    corners = pixels.to_square(boxes, unit, "stretch")
    shorter = (corners[:, 2:] - corners[:, :2]).min(axis=1) / unit
    needed = OBJECT / np.quantile(shorter, 1 - NEARLY_ALL)
    rounded = STEP * int(np.ceil(needed / STEP))
    return max(min(rounded, side // STEP * STEP, SIDES[1]), SIDES[0])
