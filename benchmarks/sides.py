"""The two sides of the comparison, the recipe and Shotcount: rates and whole runs of each.

Both train on the same photos and splits, each network on all cores.
"""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pandas as pd
import recipe
import torch
from measure import ROOT, Rate, Stopwatch, batches_for, now, seconds_of
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Subset

from shotcount.core import tables
from shotcount.core.pixels import Pixels
from shotcount.core.study import take_subset
from shotcount.networks import backbones, features, weights
from shotcount.networks.devices import seeded
from shotcount.parallel.settings import ParallelSettings
from shotcount.photos import preparing
from shotcount.photos.decoding import decode
from shotcount.sampling.subsets import nested_subsets
from shotcount.tasks.classes import ClassTask
from shotcount.tasks.strategies import STRATEGIES, Arrays, Examples, Load, assemble, predict
from shotcount.training import budgets, cells, frozen, loop
from shotcount.training.settings import FrozenSettings, TrainingSettings
from shotcount.training.setup import Compute, Setup

RATES = budgets.Rates(learning_rate=0.001, backbone_rate=1.0)  # of every training of Shotcount
Settings = TrainingSettings | FrozenSettings
Size = tuple[int | float, int]  # training samples (a fraction: of all), angles


@dataclass(frozen=True)
class Setting:
    """A network, the photos that both sides train it on, and how Shotcount trains it."""

    network: str
    px: int
    device: torch.device
    precision: str  # of Shotcount's training on photos; the recipe's is float32
    pretrained: Mapping[str, torch.Tensor]  # the backbone's state
    root: Path
    found: pd.DataFrame  # as from find_photos; its column photo is a row of Shotcount's arrays
    parts: Mapping[str, pd.DataFrame]  # train, val, test: the rows of each, for all seeds
    settings: Mapping[tuple[str, str], Settings]  # by strategy and whose they are
    parallel: ParallelSettings  # of the heads that are solved side by side

    @property
    def classes(self) -> list[str]:
        return sorted(self.found["label"].unique())


def take(photos: pd.DataFrame, samples: int, angles: int, seed: int = 0) -> pd.DataFrame:
    """Return the photos of so many samples, stratified by class, and so many angles, spread."""
    rows = take_subset(nested_subsets(photos.assign(seed=seed), "spread", 0), samples, angles)
    return photos[photos["photo"].isin(rows["photo"])]


def for_seeds(rows: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """Give each of so many seeds the same rows."""
    return pd.concat([rows.assign(seed=seed) for seed in range(seeds)])


def read_weights(network: str, source: str) -> dict[str, torch.Tensor]:
    if source != "random":
        return weights.fetch_weights(network, source, ROOT)
    with seeded(0):
        state = backbones.build_backbone(network).state_dict()
    return {name: tensor.contiguous() for name, tensor in state.items()}


@dataclass(frozen=True)
class WholeRun:
    seconds: float  # from the photos on the disk to the test accuracy
    shown: int  # photos that training saw, each as often as it did; 0: the head was solved
    right: np.ndarray  # (seeds, test photos) bool: predicted correctly


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Let torch choose algorithms by its own defaults: Shotcount asks for deterministic ones."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


def recipe_network(setting: Setting, variant: recipe.Variant) -> recipe.RecipeNetwork:
    classes = len(setting.classes)
    return recipe.RecipeNetwork(variant, setting.network, classes, setting.pretrained)


def recipe_files(setting: Setting, network: recipe.RecipeNetwork) -> dict[str, recipe.PhotoFiles]:
    files, normal = {}, (network.input_mean, network.input_std)
    for part, rows in setting.parts.items():
        transform = recipe.train_transform if part == "train" else recipe.eval_transform
        paths = [setting.root / path for path in rows["path"]]
        targets = Examples.of(rows, setting.classes).targets.tolist()
        files[part] = recipe.PhotoFiles(paths, targets, transform(setting.px, *normal))
    return files


def recipe_rate(setting: Setting, name: str, timed: int, part: str = "train") -> Rate:
    """Time training steps of a variant of the recipe, or how it judges another part than train."""
    variant, count, device = recipe.VARIANTS[name], batches_for(timed, recipe.BATCH), setting.device
    with torch_defaults(), seeded(0):
        network = recipe_network(setting, variant).to(device)
        optimizer, _ = recipe.build_optimizer(network, variant)
        files = recipe_files(setting, network)[part]
        # More photos than are timed, since steps are faster once the workers have decoded all.
        rows = np.resize(np.arange(len(files)), (count + 2 * recipe.WORKERS) * recipe.BATCH)
        # chain starts the loader's workers when the first batch is asked for, so they are timed.
        loader, watch = chain(recipe.build_loader(Subset(files, rows.tolist()))), Stopwatch(device)
        batches = (watch.wait_for(partial(next, loader)) for _ in range(count))
        if part == "train":
            recipe.train_epoch(network, batches, optimizer, device)
        else:
            recipe.count_right(network, batches, device)
    return watch.rate(recipe.BATCH)


def recipe_run(setting: Setting, name: str, epochs: int, seed: int) -> WholeRun:
    """Run a variant of the recipe from beginning to end."""
    variant = recipe.VARIANTS[name]
    with torch_defaults(), seeded(seed):
        start = time.perf_counter()
        network = recipe_network(setting, variant)
        files = recipe_files(setting, network)
        recipe.fit(network, variant, files, setting.device, epochs)
        seconds = now(setting.device) - start
        chosen = recipe.predict(network, files["test"], setting.device)
    right = chosen == np.array(files["test"].targets)
    return WholeRun(seconds, epochs * len(files["train"]), right[None])


def fill(setting: Setting, folder: Path, needed: bool = True) -> tuple[Arrays, float, float]:
    """Decode all photos, compute features if needed; also return the photos/s of both steps."""
    start = time.perf_counter()
    facts = decode(setting.root, setting.found, setting.px, "crop", folder)
    usable, _ = preparing.judge(setting.found, list(facts), "error")
    preparing.write_pixels(usable, setting.px, folder, folder / "shards")
    pixels, decoded = Pixels.open(folder / "shards"), time.perf_counter()
    computed = np.empty((len(pixels), 0), np.float32)
    if needed:
        backbone = backbones.build_backbone(setting.network)
        backbone.load_state_dict(setting.pretrained)
        computed = np.concatenate(list(features.extract(backbone, pixels, setting.device)))
    ended, count = time.perf_counter(), len(pixels)
    return Arrays(pixels, computed), count / (decoded - start), count / (ended - decoded)


def gather(
    setting: Setting, strategy: str, settings: Settings, arrays: Arrays, seed: int = 0
) -> Setup:
    """Gather what `train_cell` needs, for photos in memory."""
    cached, parallel = STRATEGIES[strategy].cached, setting.parallel
    if not cached:  # a single network, on as many cores as the recipe's
        alone = {"threads": torch.get_num_threads(), "networks": 1, "processes": 1}
        parallel = parallel.model_copy(update=alone)
    return Setup(
        strategy=strategy, task=ClassTask(setting.classes), settings=settings,
        rates=None if cached else RATES, study_seed=seed,
        network=setting.network, arrays=arrays,
        val=for_seeds(setting.parts["val"], settings.seeds),
        compute=Compute.of(strategy, setting.device, setting.precision, False, parallel),
        pretrained=setting.pretrained if STRATEGIES[strategy].pretrained else None,
        subsets=nested_subsets(
            for_seeds(setting.parts["train"], settings.seeds), "spread", seed
        ),
    )  # fmt: skip


def training_photos(setup: Setup) -> Examples:
    return Examples.of(tables.of_seed(setup.subsets, 0), setup.classes)


def ready(setup: Setup, settings: TrainingSettings) -> tuple[nn.Module, Load]:
    """Return the network, and the loader of its inputs."""
    own, device = STRATEGIES[setup.strategy], setup.compute.device
    with seeded(0):
        return assemble(
            own, setup.network, len(setup.classes), setup.arrays, device, settings,
            setup.pretrained,
        )  # fmt: skip


def solving_rate(setup: Setup) -> Rate:
    """Time how a head is solved on all photos; it waits for none."""
    train = training_photos(setup)
    val = Examples.of(tables.of_seed(setup.val, 0), setup.classes)
    seconds = seconds_of(lambda: frozen.solve(setup, train, val), 1, setup.compute.device)
    return Rate(len(train.rows) / seconds, waiting=math.nan)


def shotcount_rate(setup: Setup, settings: TrainingSettings, timed: int) -> Rate:
    """Time training steps of `train_network`, between its looks at validation."""
    (network, load), train = ready(setup, settings), training_photos(setup)
    batch_size = min(settings.batch_size, len(train.rows))
    # The last step is followed by validation, so it only ends the one before.
    few = {"epochs": 1e-9, "min_steps": batches_for(timed, batch_size)}
    watch = Stopwatch(setup.compute.device)

    def watched(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        if seed is None:  # validation
            return load(rows, seed, part)
        return watch.wait_for(lambda: load(rows, seed, part))

    run = loop.Run(
        key=("bench",), train=train, val=Examples(train.rows[:2], train.targets[:2], np.arange(2)),
        settings=settings.model_copy(update=few), rates=RATES, precision=setup.compute.precision,
    )  # fmt: skip
    with seeded(0), patch.object(budgets, "next_look", lambda *_: sys.maxsize):
        loop.train_network(network, watched, run)
    return watch.rate(batch_size)


def shotcount_runs(
    setting: Setting, strategy: str, settings: Settings, sizes: Sequence[Size], seed: int
) -> tuple[float, list[WholeRun]]:
    """Do what the stages do: prepare, features if needed, then train and test every size.

    Returns the seconds of what all sizes share, and a run for each size, with all seeds.
    """
    needed = STRATEGIES[strategy].cached or getattr(settings, "init_head", "") == "frozen"
    test, runs = setting.parts["test"], []
    with TemporaryDirectory() as name:
        start = time.perf_counter()
        arrays, *_ = fill(setting, Path(name), needed)
        setup = gather(setting, strategy, settings, arrays, seed)
        once = time.perf_counter() - start
        for size in sizes:
            start, cell = time.perf_counter(), Path(name, "x".join(map(str, size)))
            with redirect_stdout(sys.stderr):
                cells.train_cell(setup, cells.Cell.of(setup, *size, cell, Path(name)))
            right = [read_and_test(setup, cell, test, seed) for seed in range(settings.seeds)]
            seconds = time.perf_counter() - start
            shown = 0
            if isinstance(settings, TrainingSettings):
                last = tables.read(cell / "history.csv", tables.HISTORY).iloc[-1]
                shown = int(last["step"]) * min(settings.batch_size, int(last["photos"]))
            runs.append(WholeRun(seconds, shown, np.stack(right)))
    return once, runs


def read_and_test(setup: Setup, cell: Path, test: pd.DataFrame, seed: int) -> np.ndarray:
    """Return which test photos a trained network predicts correctly: ndarray (photos,), bool."""
    own, device = STRATEGIES[setup.strategy], setup.compute.device
    network, load = assemble(own, setup.network, len(setup.classes), setup.arrays, device)
    network.load_state_dict(load_file(cell / f"seed{seed}.safetensors"))
    truth = Examples.of(test, setup.classes)
    return np.asarray(predict(network, load, truth.rows).argmax(axis=1) == truth.targets)
