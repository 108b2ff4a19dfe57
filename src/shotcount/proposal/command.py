"""shotcount init: propose the params.yaml of a study of a folder of photos."""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from shotcount.boxes.finding import Files, collect, look_for
from shotcount.commands.listing import many, some
from shotcount.core import files
from shotcount.core.errors import UserError, printable
from shotcount.core.params import load_params
from shotcount.networks.devices import describe, pick_device
from shotcount.params import Params
from shotcount.photos.finding import find_photos
from shotcount.photos.walking import list_photos
from shotcount.proposal import boxes, measuring, words, writing
from shotcount.proposal.minutes import (
    LONGEST,
    SIZES,
    Amounts,
    Speed,
    estimate,
    in_words,
    size_in_time,
)
from shotcount.proposal.reading import read_folder
from shotcount.proposal.sizes import fit_sizes
from shotcount.sampling.sizes import check_sizes

LOOKED_AT = 100  # photos whose size is read
MEASURED = 40, 128  # px at which the machine's speed is measured


@dataclass(frozen=True)
class Collection:
    """What a study would be about.

    Attributes
    ----------
    photos : DataFrame
        Columns path, label, sample, angle, given_split; with boxes, the label is the stratum.
    lines : list of str
        What was found.
    settings : dict
        How it is read.
    splits : mapping
        Ready-made splits; see `reading.Reading`.
    side : int
        Shorter side of the photos in px, the median.
    marked : DataFrame or None
        The boxes, as of `boxes.pixels.place`; None if the study is about classes.
    """

    photos: pd.DataFrame
    lines: list[str]
    settings: dict[str, Any]
    splits: Mapping[str, Any]
    side: int
    marked: pd.DataFrame | None = None


def run(given: argparse.Namespace) -> int:
    """Print a proposal; write it if asked to."""
    file = Path("params.yaml")
    params = load_params(file, Params)
    old = file.read_text(encoding="utf-8")
    there = look_for(given.folder)
    if there.forms and params.data.task != "classify":
        if given.layout:
            raise UserError("--layout is for photos of one class each, and boxes lie among these")
        found = find_boxes(given.folder, there, params)
    else:
        found = find_classes(given.folder, given.layout or 1, params)
    print("\n".join([*found.lines, ""]), flush=True)  # measuring takes some seconds
    new, lines = propose(old, found, given.device, given.px)
    changed = writing.compare(old, new, "params.yaml")
    print("\n".join([*lines, "", *map(printable, changed or ["params.yaml has all this."])]))
    if changed and given.yes:
        files.write_text(file, new)
    if changed and not given.yes:
        print(f"\nNothing is written yet. To write params.yaml: {_again(given)} --yes")
    else:
        print("\nparams.yaml is ready. Next: make check-data, then make study")
    return 0


def propose(
    old: str, found: Collection, device: str | None, px: int | None
) -> tuple[str, list[str]]:
    """Return the text of a params.yaml that fits a collection, and say what is chosen and why.

    Parameters
    ----------
    old : str
        The text of the params.yaml that is there.
    found : Collection
    device : str or None
        None: as in `old`.
    px : int or None
        Size of the photos; None: chosen.

    Raises
    ------
    UserError
        If the collection is too small for a study.
    """
    changes = found.settings | ({"device": device} if device else {})
    detects = found.marked is not None
    sizes, parts = fit_sizes(found.photos, found.splits, writing.load_text(old), detects)
    text = writing.edit(old, changes | sizes)
    params = writing.load_text(text)
    check_sizes(parts["train"], params.study)
    amounts, at_once = Amounts.of(parts), measuring.networks_at_once(params)
    size, why, speed = _choose_size(params, found, amounts, at_once, px)
    text = writing.edit(text, {"data.size": size})
    params = writing.load_text(text)
    estimated = estimate(params, amounts, speed, at_once, detects)
    lines = [
        "chosen:",
        *words.sizes(params, len(amounts.angles), why, "scene" if detects else "sample"),
        "",
        *words.minutes(estimated, at_once, describe(pick_device(params.device))),
    ]
    return text, lines


def _choose_size(
    params: Params, found: Collection, amounts: Amounts, at_once: int, px: int | None
) -> tuple[int | str, str, Speed]:
    """Return data.size, the reason, and how fast this machine trains at that size."""
    on_cpu = pick_device(params.device).type == "cpu"
    if found.marked is not None or px or not on_cpu:
        return _given_size(params, found, px)
    ends = [measuring.measure(params, side, boxes=False) for side in MEASURED]

    def speed(side: int) -> Speed:
        return Speed.between(ends[0], ends[1], MEASURED, side)

    def minutes(side: int) -> float:
        return sum(estimate(params, amounts, speed(side), at_once).values())

    size = size_in_time(found.side, minutes)
    larger = next((side for side in SIZES if size < side <= found.side), None)
    why = f"{size} px: the photos have {found.side} px"
    if larger:
        most = f"the largest that takes under {LONGEST:g} minutes"
        if minutes(size) > LONGEST:
            most = "the smallest that is proposed"
        longer = in_words(minutes(larger))
        why = f"{size} px, {most} ({larger} px: {longer}); --px sets another"
    return size, why, speed(size)


def _given_size(params: Params, found: Collection, px: int | None) -> tuple[int | str, str, Speed]:
    detects = found.marked is not None
    size: int | str
    if px:
        size, why = px, f"{px} px, as asked"
    elif found.marked is not None:
        size = boxes.size_for(found.marked, found.side)
        why = (
            f"{size} px, so that nearly all objects are {boxes.OBJECT:g} px or larger, as far as "
            "the photos allow it; --px sets another"
        )
    else:
        size, why = "auto", "that of the pretrained weights"
    side = size if isinstance(size, int) else measuring.default_size(params)
    return size, why, measuring.measure(params, side, detects)


def _again(given: argparse.Namespace) -> str:
    parts = ["shotcount", "init", str(given.folder)]
    for option in ("layout", "px", "device"):
        if value := getattr(given, option):
            parts += [f"--{option}", str(value)]
    return printable(shlex.join(parts))


# ---------------------------------------------------------------------------- what is there


def find_classes(root: Path, number: int, params: Params) -> Collection:
    """Read photos of one class each by the layout of this number, counted from 1."""
    readings = read_folder(root)
    if number > len(readings):
        raise UserError(f"--layout {number}: there are {len(readings)} layouts that fit {root}")
    own = readings[number - 1]
    photos = find_photos(root, own.pattern, own.table)
    paths = list_photos(root)
    lines = [
        f"{printable(root)}: {many(len(photos), 'photo')}, {words.counts(photos)}",
        "",
        *words.layouts(readings, number - 1),
    ]
    if others := sorted(set(paths) - set(photos["path"])):
        lines += ["", f"not part of the collection: {some(others)}"]
    settings = _paths(root, own.pattern, own.table) | boxes.task_settings(params, boxes=False)
    return Collection(photos, lines, settings, own.splits, shorter_side(root, list(photos["path"])))


def _paths(root: Path, pattern: str | None, table: str | None = None) -> dict[str, Any]:
    return {"data.path": str(root), "data.pattern": pattern, "data.table": table}


def shorter_side(root: Path, paths: list[str]) -> int:
    """Return the median of the shorter sides of some photos in px.

    Raises
    ------
    UserError
        If none can be read.
    """
    sides = []
    for path in paths[:: max(1, len(paths) // LOOKED_AT)]:
        try:
            with Image.open(root / path) as photo:
                sides.append(min(photo.size))
        except Exception:  # check-data names each photo that can't be read, and why
            continue
    if not sides:
        raise UserError(
            f"{printable(root / paths[0])} and others can't be read as photos: save them as JPEG "
            "or PNG"
        )
    return int(np.median(sides))


def find_boxes(root: Path, there: Files, params: Params) -> Collection:
    """Read photos with boxes."""
    read = collect(root, there)
    pattern = boxes.view_pattern(read.photos)
    chosen = boxes.choose_photos(read, pattern, params)
    scenes = chosen.photos["sample"].nunique()
    each = chosen.boxes["label"].value_counts()
    lines = [
        f"{printable(root)}: {many(len(chosen.photos), 'photo')} with "
        f"{many(len(chosen.boxes), 'box')} ({read.found.form}), {many(scenes, 'scene')}: a study "
        "of boxes",
        f"boxes of each class: {some([f'{label} {count:,}' for label, count in each.items()])}",
    ]
    if pattern:
        lines += ["the names show several views of each scene:"]
        lines += [f"  {words.scene(row)}" for row in chosen.photos.head(3).itertuples()]
    else:
        lines += ["each photo is a scene of its own"]
    if left_out := len(chosen.left_out):
        lines += [
            f"{left_out:,} photos or boxes can't be used, which would stop the study: make "
            "check-data names them; data.on_bad_photo: skip leaves them out"
        ]
    sides = chosen.photos[["width", "height"]].min(axis=1)
    settings = _paths(root, pattern) | boxes.task_settings(params, boxes=True)
    return Collection(chosen.photos, lines, settings, {}, int(sides.median()), chosen.boxes)
