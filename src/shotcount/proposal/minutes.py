"""Estimate how long a study takes, from how fast this machine trains."""

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from itertools import product

import pandas as pd

from shotcount.core.study import (
    StrategyName,
    further_cells,
    sample_count,
    stage_runs,
)
from shotcount.params import Params
from shotcount.training.budgets import next_look, training_steps
from shotcount.training.frozen import STEPS as HEAD_STEPS
from shotcount.training.settings import FrozenSettings, TrainingSettings, settings_for
from shotcount.training.tune import PROMOTED, STEPS, TRIALS, trial_seeds

# Steps after which `schedule: auto` ends: a little more than the mean of four studies, so that few
# take far longer than was said. From scratch, the demo takes 1,910, ETH-80 2,130, hymenoptera 2,250
# and TrashNet 2,970; fine-tuning takes 350, 410, 190 and 770.
EXPECTED = {"scratch": 2500, "finetune": 450}
# Of detectors the steps were not counted. These give studies/detect.yaml 37 minutes on two cores,
# where it takes some 47 without the rendering.
EXPECTED_OF_BOXES = {"scratch": 730, "finetune": 1000, "frozen": 1000}
STAGE = 5.0  # s that a stage takes to start, record and cache
SOLVED = 1.0  # s for the heads of a cell that are solved
DECODED = 0.02  # s a photo
SIZES = (40, 64, 96, 128, 160, 224)  # px that are proposed for a CPU
LONGEST = 55.0  # minutes that a proposed study may take there
GALLERY = 30.0  # s for the exhibits, the bootstrap and the charts


@dataclass(frozen=True)
class Speed:
    """How fast one network trains on this machine, in seconds."""

    step: float  # a training step
    photo: float  # a photo, forwards
    head: float = 0.0  # a step of a detector's head on cached maps

    @classmethod
    def between(cls, small: "Speed", large: "Speed", sides: tuple[int, int], px: int) -> "Speed":
        """Return the speed at `px` × `px`, from those at two other sizes: linear in the area."""
        share = (px**2 - sides[0] ** 2) / (sides[1] ** 2 - sides[0] ** 2)
        pairs = zip(astuple(small), astuple(large), strict=True)
        return cls(*(a + share * (b - a) for a, b in pairs))


@dataclass(frozen=True)
class Amounts:
    """How many photos a study has."""

    photos: int
    angles: tuple[int, ...]  # of each training sample of one seed
    val: int  # photos of one seed
    test: int

    @classmethod
    def of(cls, parts: Mapping[str, pd.DataFrame]) -> "Amounts":
        """Count what `sampling.splits.split_samples` returns."""
        own = {name: part[part["seed"] == 0] for name, part in parts.items()}
        angles = own["train"].groupby("sample").size()
        return cls(sum(map(len, own.values())), tuple(angles), len(own["val"]), len(own["test"]))

    def in_cell(self, size: int | float, angles: int) -> int:
        """Return the photos of a cell, on average over the draws of its samples."""
        share = sample_count(size, len(self.angles)) / len(self.angles)
        return max(1, round(share * sum(min(angles, own) for own in self.angles)))


def estimate(
    params: Params, amounts: Amounts, speed: Speed, at_once: int, boxes: bool = False
) -> dict[str, float]:
    """Return the minutes of each strategy, and of all else under "the other stages".

    Parameters
    ----------
    params : Params
    amounts : Amounts
    speed : Speed
    at_once : int
        Networks that train at a time.
    boxes : bool
        Whether the study is about boxes.
    """
    study, expected = params.study, EXPECTED_OF_BOXES if boxes else EXPECTED
    seconds: dict[str, float] = {
        name: _strategy(name, params, amounts, speed, at_once, boxes) for name in study.strategies
    }
    trained = [name for name in study.strategies if name != "frozen"]
    tests = sum(getattr(params.train, name).seeds for name in trained)
    tested = tests * len(study.samples) * len(study.angles) * amounts.test
    views = 2 if boxes else 1  # a detector's backbone sees each photo and its mirror image
    seen = views * amounts.photos
    seconds["the other stages"] = (
        STAGE * len(stage_runs(study))
        + amounts.photos * DECODED
        + (seen + tested) * speed.photo
        + max((expected[name] for name in trained), default=0) * speed.step  # the network to keep
        + GALLERY
    )
    return {name: own / 60 for name, own in seconds.items()}


def size_in_time(side: int, minutes: Callable[[int], float]) -> int:
    """Return the largest of `SIZES` that the photos have and at which a study stays short.

    Parameters
    ----------
    side : int
        Shorter side of the photos in px.
    minutes : callable
        How long the study takes with photos of so many px.
    """
    chosen = min(SIZES[0], side)
    for px in SIZES:
        if px <= side and minutes(px) <= LONGEST:
            chosen = px
    return chosen


def _strategy(
    name: StrategyName, params: Params, amounts: Amounts, speed: Speed, at_once: int, boxes: bool
) -> float:
    """Return the seconds of all cells of a strategy, and of the choice of its rates."""
    study = params.study
    settings = settings_for(params.train, name, solves_heads=not boxes)
    cells: list[tuple[int | float, int]] = list(product(study.samples, study.angles))
    if name == "frozen":
        cells += further_cells(study)
    if isinstance(settings, FrozenSettings):
        return SOLVED * len(cells)
    cached = name == "frozen"
    expected = (EXPECTED_OF_BOXES if boxes else EXPECTED)[name]
    step = speed.head if cached else speed.step
    look = amounts.val * (speed.head / settings.batch_size if cached else speed.photo)
    # A detector's fine-tuning starts from a head that is trained on cached maps.
    start = HEAD_STEPS * speed.head if name == "finetune" else 0.0
    runs = [start + _run(settings, amounts.in_cell(*cell), expected, step, look) for cell in cells]
    # Processes without a network of one cell begin with those of the next.
    total = max(settings.seeds * sum(runs) / at_once, *runs)
    if settings.learning_rate == "auto":
        trials = [
            math.ceil(trial_seeds(settings) * tried / at_once) for tried in (TRIALS, PROMOTED)
        ]
        for count, steps in zip(trials, STEPS, strict=True):
            total += count * (start + steps * step + 2 * look)
    return total


def _run(settings: TrainingSettings, photos: int, expected: int, step: float, look: float) -> float:
    """Return the seconds of one run on so many photos, with its looks at validation."""
    steps = training_steps(photos, settings.batch_size, settings.epochs, settings.min_steps)
    if settings.schedule == "auto":
        steps = min(expected, steps)
    share = min(photos, settings.batch_size) / settings.batch_size  # the batch is the whole subset
    looks, place = 1, 0
    while place < steps:
        place, looks = next_look(place), looks + 1
    return steps * step * share + looks * look


def in_words(minutes: float) -> str:
    """Write a duration as the rough number that it is.

    >>> in_words(0.4), in_words(3.2), in_words(26.8), in_words(114), in_words(190)
    ('less than a minute', 'some 3 minutes', 'some 25 minutes', 'some 115 minutes', 'some 3 hours')
    """
    if minutes < 1:
        return "less than a minute"
    if minutes >= 120:
        return f"some {minutes / 60:.0f} hours"
    rounded = round(minutes) if minutes < 10 else 5 * round(minutes / 5)
    return f"some {rounded} minute{'s' if rounded > 1 else ''}"
