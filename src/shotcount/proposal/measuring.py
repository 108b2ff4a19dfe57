"""Measure how fast this machine trains a network: a few steps on random pixels."""

import time
from functools import partial

import numpy as np
import pandas as pd
import torch

from shotcount.core.study import StrategyName
from shotcount.core.tables import BOXES
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import pick_device, pick_precision, seeded
from shotcount.networks.features import extract, last_layer
from shotcount.networks.settings import full_name
from shotcount.parallel.side_by_side import Report, network_count, run_side_by_side
from shotcount.params import Params
from shotcount.proposal.minutes import Speed
from shotcount.tasks.classes import open_task
from shotcount.tasks.strategies import STRATEGIES, Arrays
from shotcount.tasks.task import Task
from shotcount.training.budgets import Rates
from shotcount.training.loop import Run, RunState, train_network
from shotcount.training.settings import TrainingSettings, settings_for

PHOTOS, CLASSES = 64, ["0", "1"]
STEPS = 2, 12  # that count, at least and at most
SECONDS = 3.0  # that they take, about
STEP = 0.5 / 128**2  # s a pixel of a photo, roughly, that a step takes on one core
LOOKS = 2  # at validation


def measure(params: Params, px: int, boxes: bool) -> Speed:
    """Return how fast this machine trains the study's network on photos of `px` × `px`.

    Parameters
    ----------
    params : Params
    px : int
    boxes : bool
        Whether the network is a detector.
    """
    device = pick_device(params.device)
    steps = STEPS[1]
    if device.type == "cpu":
        steps = int(min(STEPS[1], max(STEPS[0], SECONDS / (STEP * px**2))))
    work = partial(_measure, params, px, boxes, device)
    ((_, speed),) = run_side_by_side(work, [steps], 1, params.parallel.threads, device)
    return speed


def networks_at_once(params: Params) -> int:
    """Return how many networks a study trains at a time on this machine."""
    return network_count(params.parallel, pick_device(params.device))


def default_size(params: Params) -> int:
    """Return the size in px that `data.size: auto` means."""
    return build_backbone(params.model.name).size


def _measure(
    params: Params, px: int, boxes: bool, device: torch.device, steps: int, report: Report
) -> Speed:
    pixels = np.random.default_rng(0).integers(0, 256, (PHOTOS, px, px, 3), np.uint8)
    marked = _one_box_each(px) if boxes else pd.DataFrame(columns=list(BOXES))
    task = open_task(marked, px, CLASSES)
    network = full_name(params.model.name, last_layer(params.model, px))
    with seeded(0):
        time_steps = partial(_time_steps, task, params, network, device)
        step, photo = time_steps(Arrays(pixels, np.empty((0, 0))), "scratch", steps)
        if not boxes:
            return Speed(step, photo)
        maps = task.cached(build_backbone(network))
        features = np.concatenate(list(extract(maps, pixels, device)))
        head, _ = time_steps(Arrays(pixels, features), "frozen", STEPS[1])
        return Speed(step, photo, head)


def _one_box_each(px: int) -> pd.DataFrame:
    quarter = px / 4
    return pd.DataFrame(
        {
            "photo": range(PHOTOS),
            "label": CLASSES * (PHOTOS // len(CLASSES)),
            "left": quarter,
            "top": quarter,
            "right": 3 * quarter,
            "bottom": 3 * quarter,
            "ignored": False,
        }
    )


def _time_steps(
    task: Task,
    params: Params,
    name: str,
    device: torch.device,
    arrays: Arrays,
    strategy: StrategyName,
    steps: int,
) -> tuple[float, float]:
    """Return the seconds of a training step and those of a photo in validation."""
    settings = settings_for(params.train, strategy, solves_heads=False)
    assert isinstance(settings, TrainingSettings)
    short = {"epochs": 1e-9, "min_steps": steps + 1, "schedule": "auto"}
    settings = settings.model_copy(update=short)
    labels = CLASSES * (PHOTOS // len(CLASSES))
    photos = pd.DataFrame({"photo": range(PHOTOS), "sample": range(PHOTOS), "label": labels})
    examples = task.examples(photos)
    run = Run(
        key=("speed",),
        task=task,
        train=examples,
        val=examples,
        settings=settings,
        rates=Rates(1e-3, 1.0),
        precision=pick_precision("float32" if STRATEGIES[strategy].cached else params.precision,
                                 device),
        on_the_way=False,
    )  # fmt: skip
    network, load = task.assemble(STRATEGIES[strategy], name, arrays, device, settings)
    ended: list[float] = []

    def note(state: RunState, total: int) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        if state.step <= steps:  # behind the last step comes a look at validation
            ended.append(time.perf_counter())

    train_network(network, load, run, on_step=note)
    looks = [time.perf_counter()]
    for _ in range(LOOKS):
        task.validate(network, load, examples)
        looks.append(time.perf_counter())
    # The first step warms up. The fastest of the others counts, since other work on the machine
    # slows some of them.
    return float(np.diff(ended)[1:].min()), float(np.diff(looks).min()) / PHOTOS
