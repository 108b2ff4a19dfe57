"""Rates of all ways to train a network, and the report's sections that follow from them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import recipe
import sides
import torch
import torch.nn.functional as F
from layout import duration, number, section, table
from measure import Rate, alternate, batches_for, say, seconds_of
from sides import Setting, Settings
from torch.utils.flop_counter import FlopCounterMode

from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import pick_precision
from shotcount.tasks.strategies import STRATEGIES
from shotcount.training import tune
from shotcount.training.budgets import build_optimizer, next_look, training_steps
from shotcount.training.settings import FrozenSettings, TrainingSettings
from shotcount.training.setup import Setup
from shotcount.uncertainty.writing import percent

PUBLISHED, HONEST = "recipe", "recipe, honest frozen"
EQUAL, OWN = "Shotcount, the recipe's settings", "Shotcount"
Way = tuple[str, str]  # strategy, whose
WAYS: list[Way] = [
    (name, whose)
    for name, strategy in STRATEGIES.items()
    for whose in (PUBLISHED, HONEST if strategy.cached else EQUAL, OWN)
]
ALIKE = {HONEST: PUBLISHED, EQUAL: OWN}  # where a strategy has no such way
BARE, JUDGING = "bare loop", ("", PUBLISHED)  # further keys of `Rates.of`
BLOG_PHOTOS = (1000, 2000, 3000, 5000, 10_000)  # training photos of the blog-sized study
BLOG_JUDGED = 1000  # photos of its validation split, and of its test split


@dataclass(frozen=True)
class Rates:
    of: Mapping[Way, Rate]  # of training or solving; JUDGING: the recipe's validation and test
    preparing: float  # photos/s
    extracting: float

    def columns(self, way: Way) -> dict[str, str]:
        rate, base = self.of[way], self.of[way[0], PUBLISHED]
        solved = math.isnan(rate.waiting)
        return {
            "photos/s": number(rate.photos_per_second),
            "waiting for photos": "" if solved else f"{100 * rate.waiting:.0f} %",
            "× recipe": "" if solved else number(rate.photos_per_second / base.photos_per_second),
        }

    def recipe_seconds(self, way: Way, photos: int, judged: int, epochs: int) -> float:
        """Compute the seconds of a run of the recipe."""
        training, judging = self.of[way], self.of[JUDGING]
        starting = training.first + 2 * judging.first  # workers: to train, to validate, to test
        passes = photos / training.photos_per_second + judged / judging.photos_per_second
        return epochs * (starting + passes)

    def cell_seconds(self, way: Way, photos: int, judged: int, own: Settings) -> float:
        """Compute the seconds of one seed of a cell; so many photos validate, and as many test."""
        if isinstance(own, FrozenSettings):  # a head judges cached features in no time
            return photos / self.of[way].photos_per_second
        steps = training_steps(photos, own.batch_size, own.epochs, own.min_steps)
        batch_size = min(own.batch_size, photos)
        return self.training_seconds(way, steps, batch_size, judged) + judged / self.extracting

    def training_seconds(self, way: Way, steps: int, batch_size: int, judged: int) -> float:
        """Compute the seconds of so many steps, and of looks at so many validation photos."""
        training = steps * batch_size / self.of[way].photos_per_second
        return training + looks(steps) * judged / self.extracting


def looks(steps: int) -> int:
    """Count the looks at validation in so many steps."""
    at = [0]
    while at[-1] < steps:
        at.append(min(next_look(at[-1]), steps))
    return len(at)


def measure_rates(setting: Setting, photos: int, repeats: int) -> Rates:
    """Time all ways to train a network, in turns; each timing takes so many photos."""
    say(f"rates of {setting.network} at {setting.px} px")
    judging = partial(sides.recipe_rate, setting, "frozen", photos, "test")
    measures: dict[Way, Callable[[], Rate]] = {JUDGING: judging}
    with TemporaryDirectory() as folder:
        arrays, *once = sides.fill(setting, Path(folder))
        for way in WAYS:
            name, whose = way
            if way not in setting.settings:
                variant = "honest frozen" if whose == HONEST else name
                measures[way] = partial(sides.recipe_rate, setting, variant, photos)
                continue
            own = setting.settings[way]
            setup = sides.gather(setting, name, own, arrays)
            if isinstance(own, FrozenSettings):
                measures[way] = partial(sides.solving_rate, setup)
                continue
            measures[way] = partial(sides.shotcount_rate, setup, own, photos)
            if whose == OWN:
                measures[name, BARE] = partial(bare_rate, setup, own, photos)
        return Rates(alternate(measures, repeats), *once)


def bare_rate(setup: Setup, settings: TrainingSettings, timed: int) -> Rate:
    """Time forward, backward and step on one batch that never changes, and nothing else."""
    (network, load), train = sides.ready(setup, settings), sides.training_photos(setup)
    optimizer = build_optimizer(network.train(), settings, sides.RATES)
    device, precision = setup.compute.device, setup.compute.precision
    x = load(train.rows[: settings.batch_size], None)
    target = torch.tensor(train.targets[: len(x)]).to(device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = network(x)
        F.cross_entropy(logits.float(), target).backward()
        optimizer.step()

    return Rate(len(x) / seconds_of(step, batches_for(timed, len(x)), device))


def training_flops(network: str, px: int) -> float:
    """Count the floating-point operations of forward and backward, per photo.

    Backward takes twice what forward takes, since it computes the gradients of inputs and of
    weights. It is not counted: torch's counter overrates that of grouped convolutions.
    """
    backbone = build_backbone(network).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, 3, px, px))
    return 3.0 * counter.get_total_flops()


@torch.inference_mode()
def peak_flops(setting: Setting) -> dict[str, float]:
    """Return the operations a second of a large matrix product and a large convolution."""
    device, precision = setting.device, pick_precision(setting.precision, setting.device)
    # So large that a GPU takes milliseconds, so small that two CPU cores take a second at most.
    side, batch = (8192, 256) if device.type == "cuda" else (2048, 16)
    a = torch.rand(side, side, device=device).to(precision)
    x = torch.rand(batch, 256, 28, 28, device=device).to(precision)
    kernel = torch.rand(256, 256, 3, 3, device=device).to(precision)
    x, kernel = (t.contiguous(memory_format=torch.channels_last) for t in (x, kernel))
    # The best of three; a multiplication and an addition each count as one operation.
    matrix, convolution = (
        min(seconds_of(compute, 1, device) for _ in range(3))
        for compute in (lambda: a @ a, lambda: F.conv2d(x, kernel, padding=1))
    )
    return {
        "matrix product": 2 * side**3 / matrix,
        "convolution": 2 * x.numel() * kernel[0].numel() / convolution,
    }


def bare_loop(measured: Sequence[tuple[Setting, Rates]]) -> str:
    """Compare Shotcount's training step with what this machine could do."""
    say("the machine at best")
    precision, peaks = measured[0][0].precision, peak_flops(measured[0][0])
    most, rows = max(peaks.values()), []
    for setting, rates in measured:
        flops = training_flops(setting.network, setting.px)
        for name in [name for name, whose in rates.of if whose == BARE]:
            bare, ours = (rates.of[name, whose].photos_per_second for whose in (BARE, OWN))
            row = {
                "strategy": name, "network": setting.network, "px": str(setting.px),
                "GFLOP a photo": number(flops / 1e9), "bare loop, photos/s": number(bare),
                "Shotcount, photos/s": number(ours), "Shotcount ÷ bare": percent(ours / bare),
                "bare loop of peak": percent(flops * bare / most),
                "Shotcount of peak": percent(flops * ours / most),
            }  # fmt: skip
            rows.append(row)
    reached = [f"{number(peak / 1e9)} GFLOP/s in a large {name}" for name, peak in peaks.items()]
    text = f"""Forward, backward and step on one batch that never changes, against Shotcount's
        whole training step. This machine's peak: {", ".join(reached)}, {precision}."""
    return section("The bare loop", text, table(rows))


def blog_study(setting: Setting, rates: Rates) -> str:
    """Compute from rates what a study of the blog's size takes."""

    def seconds(name: str, photos: int, whose: str) -> float:
        # Only frozen has an honest variant; only the others have settings of the recipe.
        way = (name, whose) if (name, whose) in WAYS else (name, ALIKE[whose])
        if way in setting.settings:
            return rates.cell_seconds(way, photos, BLOG_JUDGED, setting.settings[way])
        return rates.recipe_seconds(way, photos, 2 * BLOG_JUDGED, recipe.EPOCHS)

    times = {
        (name, f"{photos:,}"): [seconds(name, photos, w) for w in (PUBLISHED, HONEST, EQUAL, OWN)]
        for name, photos in product(STRATEGIES, BLOG_PHOTOS)
    }
    all_photos = max(BLOG_PHOTOS) + 2 * BLOG_JUDGED
    for what, rate in (("decoding", rates.preparing), ("features", rates.extracting)):
        times[f"{what}, once", ""] = [math.nan, math.nan, all_photos / rate, all_photos / rate]
    for (name, whose), own in setting.settings.items():
        if whose == OWN and isinstance(own, TrainingSettings):
            short, long = (
                rates.training_seconds((name, whose), steps, own.batch_size, BLOG_JUDGED)
                for steps in tune.STEPS
            )
            most = tune.SEEDS * (tune.TRIALS * short + (tune.PROMOTED + tune.FURTHER) * long)
            times[f"learning rates of {name}, once", ""] = [math.nan] * 3 + [most]
    times["all", ""] = list(np.nansum(list(times.values()), axis=0))
    rows = [
        {
            "strategy": title, "photos": photos, PUBLISHED: duration(published),
            HONEST: duration(honest), EQUAL: duration(equal),
            "recipe ÷ Shotcount at its settings": number(published / equal),
            OWN: duration(own), "recipe ÷ Shotcount": number(published / own),
        }
        for (title, photos), (published, honest, equal, own) in times.items()
    ]  # fmt: skip
    judging = rates.of[JUDGING]
    text = f"""Computed from the rates below, not run: {setting.network} at {setting.px} px, one
        seed, {recipe.EPOCHS} epochs, {BLOG_JUDGED:,} photos to validate on and as many to test on.
        Learning rates: the most that choosing them takes. A head takes a time that is proportional
        to its photos. Besides: the recipe judges {number(judging.photos_per_second)} photos/s and
        starts its workers in {duration(judging.first)}; Shotcount decodes
        {number(rates.preparing)} photos/s, and extracts features of, or judges,
        {number(rates.extracting)} photos/s."""
    measured = [{"strategy": way[0], "trained by": way[1]} | rates.columns(way) for way in WAYS]
    return section("A study of the blog's size", text, table(rows), table(measured))
