"""The report's sections that run something whole: strategies and the frozen column."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from layout import duration, number, section, table
from measure import say
from rates import HONEST, JUDGING, OWN, PUBLISHED, WAYS, Rates, Way
from sides import Setting, WholeRun, recipe_run, shotcount_runs, take

from shotcount.core.seeds import seed_for
from shotcount.training.settings import TrainingSettings
from shotcount.uncertainty.bootstrap import bootstrap_mean, resample
from shotcount.uncertainty.intervals import accuracy_interval
from shotcount.uncertainty.writing import percent

SEEDS = 3  # of each size of the frozen column


def strategies(setting: Setting, rates: Rates, seeds: int, epochs: int) -> str:
    """Whole runs, from photos on the disk to the test accuracy, in turns."""
    runs: dict[Way, list[WholeRun]] = {way: [] for way in WAYS}
    for seed, way in product(range(seeds), WAYS):
        say(f"whole run, seed {seed}: {', '.join(way)}")
        runs[way].append(whole_run(setting, way, seed, epochs))
    seconds = {way: statistics.median(run.seconds for run in made) for way, made in runs.items()}
    test = setting.parts["test"]
    tested = f"accuracy on {len(test):,} test photos of {test['sample'].nunique():,} samples"
    rows = [
        {
            "strategy": way[0], "trained by": way[1], "photos": number(len(setting.parts["train"])),
            "network": setting.network, "px": str(setting.px), **rates.columns(way),
            "photos shown": number(made[0].shown or math.nan), "wall": duration(seconds[way]),
            "recipe's wall ÷ this": number(seconds[way[0], PUBLISHED] / seconds[way]),
            tested: accuracy(np.concatenate([run.right for run in made]), test["sample"]),
        }
        for way, made in runs.items()
    ]  # fmt: skip
    text = f"""Training rates (for Shotcount's frozen: photos of a head ÷ seconds to solve it), and
        whole runs of {epochs} epochs from photos on the disk to test accuracy: {seeds} seed(s),
        median time, mean accuracy with its 95 % interval."""
    return section("Strategies", text, table(rows))


def whole_run(setting: Setting, way: Way, seed: int, epochs: int) -> WholeRun:
    name, whose = way
    if way not in setting.settings:
        return recipe_run(setting, "honest frozen" if whose == HONEST else name, epochs, seed)
    own = setting.settings[way].model_copy(update={"seeds": 1})
    if isinstance(own, TrainingSettings):
        own = own.model_copy(update={"epochs": epochs})
    angles = int(setting.found.groupby("sample").size().max())
    once, [run] = shotcount_runs(setting, name, own, [(1.0, angles)], seed)
    return replace(run, seconds=once + run.seconds)


def accuracy(right: np.ndarray, samples: pd.Series) -> str:
    """Write the mean test accuracy and its 95 % interval; photos of a sample count as one."""
    rng = np.random.default_rng(seed_for("bench"))
    resamples = resample(samples.nunique(), [len(right)], 2000, rng)[0]
    replicates = bootstrap_mean(right[None], samples.to_numpy(), resamples)[0]
    low, high = accuracy_interval(replicates, resamples)
    return f"{percent(right.mean())} ({100 * low:.0f} to {100 * high:.0f})"


def frozen_column(
    setting: Setting, rates: Rates, sizes: Sequence[tuple[int, int]], epochs: int
) -> str:
    """Every size of the frozen strategy, three seeds each; the recipe runs at the smallest."""
    say(f"frozen column, Shotcount: {len(sizes)} sizes")
    own = setting.settings["frozen", OWN].model_copy(update={"seeds": SEEDS})
    once, runs = shotcount_runs(setting, "frozen", own, sizes, seed=0)
    judged = len(setting.parts["val"]) + len(setting.parts["test"])
    rows, sums = [], np.array([0.0, 0.0, once])  # the recipe, its honest variant, Shotcount

    def add(size: str, photos: str, how: str, times: Iterable[str]) -> None:
        published, honest, shotcount = times
        row = {"samples × angles": size, "photos": photos, "recipe": published}
        row |= {"the recipe's time is": how, "recipe, honest frozen (computed)": honest}
        rows.append(row | {"Shotcount (measured)": shotcount})

    for size, run in zip(sizes, runs, strict=True):
        subsets = [take(setting.parts["train"], *size, seed) for seed in range(SEEDS)]
        photos, how = len(subsets[0]), "computed"
        published, honest = (
            SEEDS * rates.recipe_seconds(("frozen", whose), photos, judged, epochs)
            for whose in (PUBLISHED, HONEST)
        )
        if not rows:
            say(f"frozen column, recipe: {size[0]} samples x {size[1]} angles")
            how, published = f"measured (by rates {duration(published)})", 0.0
            for seed, subset in enumerate(subsets):
                part = replace(setting, parts={**setting.parts, "train": subset})
                published += recipe_run(part, "frozen", epochs, seed).seconds
        times = (published, honest, run.seconds)
        sums += times
        add(f"{size[0]} × {size[1]}", number(photos), how, map(duration, times))
    add("decoding and features, once", "", "", ("", "", duration(once)))
    add("all", "", "", map(duration, sums))
    add("÷ Shotcount", "", "", map(number, sums / sums[-1]))
    text = f"""{SEEDS} seeds of {setting.network} at {setting.px} px, trained (by Shotcount:
        solved) and tested. Computed from the rates above, with
        {duration(rates.of[JUDGING].first)} to start workers."""
    return section("The frozen column", text, table(rows))
