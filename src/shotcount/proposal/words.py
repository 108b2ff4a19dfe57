"""What `shotcount init` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from shotcount.commands.listing import SHOWN, many, some
from shotcount.core.errors import printable
from shotcount.core.study import further_cells, sample_count
from shotcount.params import Params
from shotcount.proposal.minutes import in_words
from shotcount.proposal.reading import Reading

NAMES = {"scratch": "from scratch", "frozen": "frozen", "finetune": "fine-tuning"}


def counts(photos: pd.DataFrame) -> str:
    """Count what a layout reads: classes, samples, angles."""
    classes = sorted(photos["label"].unique())
    samples = photos["sample"].nunique()
    angles = photos.groupby("sample").size()
    low, high = angles.min(), angles.max()
    each = "one photo" if high == 1 else f"{low if low == high else f'{low} to {high}'} photos"
    return (
        f"{many(len(classes), 'class', 'classes')} ({some(classes)}), "
        f"{many(samples, 'sample')}, {each} of each"
    )


def example(row: Any) -> str:
    """Show how a path is read; `row` is one of the table of photos."""
    parts = [
        ("class", row.label),
        ("sample", row.sample.removeprefix(f"{row.label}/")),
        ("angle", row.angle),
        ("split", row.given_split),
    ]
    read = ", ".join(f"{name} {value}" for name, value in parts if value)
    return printable(f"{row.path} → {read}")


def scene(row: Any) -> str:
    """Show how the path of a photo with boxes is read."""
    return printable(f"{row.path} → scene {row.sample}, view {row.angle}")


def layouts(readings: Sequence[Reading], chosen: int) -> list[str]:
    """Show the layout that is taken, with examples, and the others that fit."""
    own = readings[chosen]
    photos = own.photos
    shown = pd.concat([photos.groupby("label").head(1), photos.iloc[1:2]]).drop_duplicates("path")
    number = f", layout {chosen + 1} of {len(readings)}" if len(readings) > 1 else ""
    lines = [f"read as {_title(own)}{number}:"]
    lines += [f"  {example(row)}" for row in shown.head(SHOWN).itertuples()]
    others = [(n, reading) for n, reading in enumerate(readings) if n != chosen]
    if others:
        lines += ["", "layouts that also fit; --layout N takes one:"]
    for n, reading in others:
        lines += [
            f"  {n + 1}: {_title(reading)}: {counts(reading.photos)}",
            f"     {example(next(reading.photos.itertuples()))}",
            f"     pattern: {printable(reading.pattern or 'null')}",
        ]
    return lines


def _title(reading: Reading) -> str:
    if reading.splits:
        test, val = reading.splits["test"], reading.splits["val"]
        own = f"{val} to validate" if isinstance(val, str) else f"{val:.0%} of train to validate"
        return f"{reading.words} (ready-made splits: {test} to test, {own})"
    return reading.words


def sizes(params: Params, available: int, size: str, sample: str) -> list[str]:
    """Say which sizes are chosen and why, a line each.

    Parameters
    ----------
    params : Params
    available : int
        Training samples of a seed.
    size : str
        What is said of data.size.
    sample : str
        What a sample is called: sample, or scene.
    """
    study, folds = params.study, params.split.folds
    seeds = ", ".join(
        f"{NAMES[name]} {getattr(params.train, name).seeds}" for name in study.strategies
    )
    frozen = len(further_cells(study)) if "frozen" in study.strategies else 0
    split = (
        f"{folds} folds: each {sample} is tested, by networks that are trained on others"
        if folds
        else f"ready-made: all seeds test the {sample}s of {params.split.test}"
    )
    shares = [f"{sample_count(share, available):,}" for share in sorted(study.samples)]
    samples = f"all {available:,} training {sample}s of a seed"
    if len(shares) > 1:
        samples = (
            f"{', '.join(shares)} of the {available:,} training {sample}s, for a learning curve"
        )
    angles = f"{', '.join(map(str, sorted(study.angles)))} of each {sample}"
    if study.angles == [1]:
        angles = f"1, since most {sample}s have one photo"
    return [
        f"  split: {split}",
        f"  seeds: {seeds}",
        f"  {sample}s: {samples}",
        f"  angles: {angles}",
        f"  frozen: {many(frozen, 'further size')} of {sample}s and angles for this strategy alone",
        f"  size: {size}",
    ]


def minutes(estimated: Mapping[str, float], at_once: int, device: str) -> list[str]:
    """Say how long each strategy takes."""
    lines = [
        f"  {NAMES.get(name, name)}: {many(round(own), 'minute') if own >= 1 else in_words(own)}"
        for name, own in estimated.items()
    ]
    total = in_words(sum(estimated.values()))
    networks = many(at_once, "network")
    return [f"the study takes {total} on this machine ({device}, {networks} at a time):", *lines]
