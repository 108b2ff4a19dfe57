"""What bench.py measures: photos a second, whole runs, what the machine could do at best.

The recipe and Shotcount take turns in one process, on the same photos and splits. Clocks are read
once the device has finished its work.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import pandas as pd
import recipe
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from shotcount.core import tables
from shotcount.core.pixels import Pixels
from shotcount.findings import tables
from shotcount.networks import features
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import exempt_depthwise, seeded
from shotcount.networks.settings import FeatureSettings
from shotcount.photos import preparing
from shotcount.sampling import splits, subsets
from shotcount.training.budgets import build_optimizer
from shotcount.training.cells import Setup, train_cell
from shotcount.training.loop import train_network
from shotcount.training.predicting import predict
from shotcount.training.settings import ParallelSettings, TrainingSettings
from shotcount.training.strategies import STRATEGIES, Examples, Load, assemble

WARM_UP = 2  # steps before the clock counts
ONE_PROCESS = ParallelSettings(processes=1, batch_share=1, from_photos=1)
T = TypeVar("T")
K = TypeVar("K")

# ---------------------------------------------------------------------------- what is measured on


@dataclass(frozen=True)
class Setting:
    """The network that both sides train, and where."""

    network: str
    px: int
    device: torch.device
    pretrained: Mapping[str, torch.Tensor]  # the backbone's state
    precision: torch.dtype  # of Shotcount's training on photos; the recipe's is float32


@dataclass(frozen=True)
class Collection:
    """The photos that both sides see; `photo` is a row of Shotcount's arrays."""

    root: Path
    found: pd.DataFrame  # as from photos.find_photos, with the column photo
    parts: Mapping[str, pd.DataFrame]  # train, val, test: its rows in each

    @property
    def classes(self) -> list[str]:
        return sorted(self.found["label"].unique())

    @property
    def angles(self) -> int:
        return int(self.parts["train"].groupby("sample").size().max())

    @property
    def judged(self) -> int:
        """Photos that the recipe judges after each epoch."""
        return len(self.parts["val"]) + len(self.parts["test"])


def take(found: pd.DataFrame, samples: int, angles: int) -> pd.DataFrame:
    """Return the photos of so many samples, stratified by class, and of so many angles, spread."""
    ranks = subsets.nested_subsets(found.assign(photo=range(len(found))), "spread", 1, seed=0)
    chosen = subsets.take_subset(ranks, samples, angles)["photo"].sort_values()
    return found.iloc[chosen].reset_index(drop=True)


def split(root: Path, found: pd.DataFrame, val: float | str, test: float | str) -> Collection:
    numbered = found.assign(photo=range(len(found)))
    return Collection(root, numbered, splits.split_samples(numbered, val, test, seed=0))


# ---------------------------------------------------------------------------- clocks


@dataclass(frozen=True)
class Rate:
    photos_per_second: float
    waiting: float  # share of the time in which training waits for its next batch
    first: float = 0.0  # seconds until the first batch came: a loader's workers start


def synchronise(device: torch.device) -> None:
    """Wait until an asynchronous device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Stopwatch:
    """When each batch was asked for, and how long it took to come."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.asked: list[float] = []
        self.waited: list[float] = []

    def now(self) -> float:
        synchronise(self.device)
        return time.perf_counter()

    def wait_for(self, get: Callable[[], T]) -> T:
        self.asked.append(self.now())
        item = get()
        self.waited.append(self.now() - self.asked[-1])
        return item

    def watch(self, items: Iterator[T]) -> Iterator[T]:
        while True:
            try:
                item = self.wait_for(partial(next, items))
            except StopIteration:
                return
            yield item

    def rate(self, batch_size: int) -> Rate:
        """Leave the first steps out: they load libraries, choose algorithms, start workers.

        A step ends when the next batch is asked for.
        """
        steps = len(self.asked) - 1 - WARM_UP
        seconds = self.asked[-1] - self.asked[WARM_UP]
        waiting = sum(self.waited[WARM_UP : WARM_UP + steps]) / seconds
        return Rate(steps * batch_size / seconds, waiting, self.waited[0])


def alternate(measures: Mapping[K, Callable[[], Rate]], repeats: int) -> dict[K, Rate]:
    """Measure each in turn, all of them `repeats` times; return the medians.

    Whatever else slows the machine for a while then slows all of them.
    """
    taken: dict[K, list[Rate]] = {key: [] for key in measures}
    for _ in range(repeats):
        for key, measure in measures.items():
            taken[key].append(measure())
    return {
        key: Rate(
            statistics.median(rate.photos_per_second for rate in rates),
            statistics.median(rate.waiting for rate in rates),
            statistics.median(rate.first for rate in rates),
        )
        for key, rates in taken.items()
    }


def steps_for(timed: int, batch_size: int) -> int:
    """Steps that show `timed` photos, a few at least: single ones vary."""
    return max(6, math.ceil(timed / batch_size))


# ---------------------------------------------------------------------------- the recipe's rates


@contextmanager
def as_torch_comes() -> Iterator[None]:
    """Run the recipe with torch's own defaults: Shotcount asks for deterministic algorithms."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


def recipe_network(setting: Setting, classes: int, variant: recipe.Variant) -> recipe.Network:
    return recipe.Network(variant, setting.network, classes, setting.pretrained)


def recipe_files(
    collection: Collection, network: recipe.Network, px: int
) -> dict[str, recipe.PhotoFiles]:
    normal = (network.input_mean, network.input_std)
    transforms = {"train": recipe.train_transform(px, *normal)}
    return {
        name: recipe.PhotoFiles(
            [collection.root / path for path in rows["path"]],
            Examples.of(rows, collection.classes).targets.tolist(),
            transforms.get(name) or recipe.eval_transform(px, *normal),
        )
        for name, rows in collection.parts.items()
    }


def recipe_rate(setting: Setting, collection: Collection, name: str, timed: int) -> Rate:
    """Time training steps of a variant of the recipe, its workers and all."""
    variant = recipe.VARIANTS[name]
    with as_torch_comes(), seeded(0):
        network = recipe_network(setting, len(collection.classes), variant)
        network.to(setting.device)
        optimizer, _ = recipe.build_optimizer(network, variant)
        files = recipe_files(collection, network, setting.px)["train"]
        return _watched(
            files, timed, setting.device,
            lambda batches: recipe.train_epoch(network, batches, optimizer, setting.device),
        )  # fmt: skip


def recipe_judging_rate(setting: Setting, collection: Collection, timed: int) -> Rate:
    """Time the recipe's passes over validation and test photos."""
    with as_torch_comes(), seeded(0):
        network = recipe_network(setting, len(collection.classes), recipe.VARIANTS["frozen"])
        network.to(setting.device)
        files = recipe_files(collection, network, setting.px)["test"]
        return _watched(
            files, timed, setting.device,
            lambda batches: recipe.count_right(network, batches, setting.device),
        )  # fmt: skip


def _watched(
    files: recipe.PhotoFiles,
    timed: int,
    device: torch.device,
    consume: Callable[[recipe.Batches], object],
) -> Rate:
    steps = WARM_UP + steps_for(timed, recipe.BATCH)
    # So many photos that the workers never run out: what they had ready would come for nothing.
    count = (steps + 2 * recipe.WORKERS) * recipe.BATCH
    places = list(islice(cycle(range(len(files))), count))
    more = replace(
        files,
        paths=[files.paths[i] for i in places],
        targets=[files.targets[i] for i in places],
    )
    watch = Stopwatch(device)
    consume(watch.watch(islice(iter(recipe.build_loader(more)), steps)))
    return watch.rate(recipe.BATCH)


# ---------------------------------------------------------------------------- Shotcount's rates


@dataclass(frozen=True)
class Store:
    """What Shotcount makes of the photos once, and how fast."""

    pixels: Pixels
    features: np.ndarray  # (photos, 1, features) float32
    preparing: float  # photos/s
    extracting: float  # photos/s


def prepare(setting: Setting, collection: Collection, folder: Path) -> Pixels:
    """Decode every photo, as stage prepare does."""
    path = folder / "shards"
    preparing.prepare(collection.root, collection.found, setting.px, "error", folder, path)
    return Pixels.open(path)


def extract(setting: Setting, pixels: Pixels, folder: Path) -> np.ndarray:
    """Pass every photo through the frozen backbone, as stage features does."""
    backbone = build_backbone(setting.network)
    backbone.load_state_dict(setting.pretrained)
    clean = FeatureSettings(views=0, crop_scale=1.0, flip=False)
    for _ in features.write_features(
        folder / "features.npy", backbone, pixels, clean, setting.device
    ):
        pass
    return np.load(folder / "features.npy", mmap_mode="r")


def fill(setting: Setting, collection: Collection, folder: Path) -> Store:
    """Prepare and extract all photos of the collection."""
    start = time.perf_counter()
    pixels = prepare(setting, collection, folder)
    prepared = time.perf_counter()
    made = extract(setting, pixels, folder)
    extracted = time.perf_counter()
    count = len(pixels)
    return Store(pixels, made, count / (prepared - start), count / (extracted - prepared))


def ready(
    setting: Setting,
    collection: Collection,
    store: Store,
    strategy: str,
    settings: TrainingSettings,
) -> tuple[nn.Module, Load]:
    """Assemble a strategy's network and inputs, as `shotcount.cells` does."""
    with seeded(0):
        network, load = assemble(
            STRATEGIES[strategy], setting.network, len(collection.classes), store.pixels,
            store.features, settings, setting.device, setting.pretrained,
        )  # fmt: skip
    if precision_of(setting, strategy) != torch.float32:
        exempt_depthwise(network, setting.device)
    return network, load


def precision_of(setting: Setting, strategy: str) -> torch.dtype:
    """Heads are trained in float32 whatever networks are."""
    return torch.float32 if STRATEGIES[strategy].cached else setting.precision


def shotcount_rate(
    setting: Setting,
    collection: Collection,
    store: Store,
    strategy: str,
    settings: TrainingSettings,
    timed: int,
) -> Rate:
    """Time training steps of `shotcount.training.fit`, up to its look at validation."""
    train = Examples.of(collection.parts["train"], collection.classes)
    val = Examples(train.rows[:1], train.targets[:1])
    batch_size = min(settings.batch_size, len(train.rows))
    steps = WARM_UP + steps_for(timed, batch_size) + 1  # the last one is followed by validation
    few = settings.model_copy(update={"epochs": 1e-9, "min_steps": steps, "validations": 1})
    network, load = ready(setting, collection, store, strategy, settings)
    watch = Stopwatch(setting.device)

    def watched(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        if seed is None:  # validation
            return load(rows, seed, part)
        return watch.wait_for(lambda: load(rows, seed, part))

    with seeded(0):
        train_network(
            network, watched, train, val, few, ("bench", strategy),
            precision=precision_of(setting, strategy),
        )  # fmt: skip
    return watch.rate(batch_size)


# ---------------------------------------------------------------------------- the machine at best


def bare_rate(
    setting: Setting,
    collection: Collection,
    store: Store,
    strategy: str,
    settings: TrainingSettings,
    timed: int,
) -> Rate:
    """Time forward, backward and step on one batch that never changes, and nothing else."""
    network, load = ready(setting, collection, store, strategy, settings)
    optimizer = build_optimizer(network, settings)
    train = Examples.of(collection.parts["train"], collection.classes)
    x = load(train.rows[: settings.batch_size], None)
    target = torch.tensor(train.targets[: settings.batch_size]).to(setting.device)
    steps = steps_for(timed, len(x))
    precision = precision_of(setting, strategy)
    network.train()
    start = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            synchronise(setting.device)
            start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
            logits = network(x)
        F.cross_entropy(logits.float(), target).backward()
        optimizer.step()
    synchronise(setting.device)
    return Rate(steps * len(x) / (time.perf_counter() - start), waiting=0.0)


def training_flops(setting: Setting) -> float:
    """Count the floating-point operations of forward and backward, per photo.

    Of convolutions and matrix products, a multiplication and an addition each counted as one.
    Backward, which makes the gradients of inputs and of weights, takes twice what forward takes.
    torch's counter isn't asked for it: it overrates the backward pass of grouped convolutions.
    """
    network = build_backbone(setting.network).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, setting.px, setting.px))
    return 3.0 * counter.get_total_flops()


def peak_flops(device: torch.device, precision: torch.dtype, small: bool) -> dict[str, float]:
    """Return the operations a second of a large matrix product and a large convolution.

    The best of several tries.
    """
    # So large that a GPU takes milliseconds, so small that two CPU cores take a second at most.
    side, batch = (8192, 256) if device.type == "cuda" else (512, 1) if small else (2048, 16)
    a = torch.rand(side, side, device=device).to(precision)
    x = torch.rand(batch, 256, 28, 28, device=device).to(precision)
    kernel = torch.rand(256, 256, 3, 3, device=device).to(precision)
    x, kernel = (t.contiguous(memory_format=torch.channels_last) for t in (x, kernel))
    work: dict[str, Callable[[], torch.Tensor]] = {
        "matrix product": lambda: a @ a,
        "convolution": lambda: F.conv2d(x, kernel, padding=1),
    }
    return {name: _best(compute, device) for name, compute in work.items()}


@torch.inference_mode()
def _best(compute: Callable[[], torch.Tensor], device: torch.device, tries: int = 5) -> float:
    with FlopCounterMode(display=False) as counter:
        compute()
    seconds = []
    for _ in range(tries):
        synchronise(device)
        start = time.perf_counter()
        compute()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return counter.get_total_flops() / min(seconds)


# ---------------------------------------------------------------------------- whole runs


@dataclass(frozen=True)
class Run:
    seconds: float  # from the photos on the disk to the test accuracy
    passes: int  # photos that training saw, each as often as it did
    right: np.ndarray  # (test photos,) bool


def recipe_run(setting: Setting, collection: Collection, name: str, seed: int, epochs: int) -> Run:
    """Run a variant of the recipe from beginning to end."""
    variant = recipe.VARIANTS[name]
    with as_torch_comes(), seeded(seed):
        start = time.perf_counter()
        network = recipe_network(setting, len(collection.classes), variant)
        files = recipe_files(collection, network, setting.px)
        recipe.fit(network, variant, files, setting.device, epochs)
        synchronise(setting.device)
        seconds = time.perf_counter() - start
        chosen = recipe.predict(network, files["test"], setting.device)
    right = chosen == np.array(files["test"].targets)
    return Run(seconds, epochs * len(files["train"]), right)


def shotcount_run(
    setting: Setting, collection: Collection, strategy: str, settings: TrainingSettings, seed: int
) -> Run:
    """Do for one strategy what the stages do: prepare, features if need be, train, test."""
    with TemporaryDirectory() as name:
        work = Path(name)
        start = time.perf_counter()
        pixels = prepare(setting, collection, work)
        none = np.empty((len(pixels), 1, 0), np.float32)
        asked = STRATEGIES[strategy].cached or getattr(settings, "init_head", "") == "frozen"
        made = extract(setting, pixels, work) if asked else none
        one = settings.model_copy(update={"seeds": 1})
        study = _study(setting, collection, strategy, one, pixels, made, seed)
        right = train_and_test(study, collection, 1.0, collection.angles, work)[0]
        seconds = time.perf_counter() - start
        history = tables.read(work / "cell" / "history.csv", tables.METRICS["history"])
    batch_size = min(settings.batch_size, len(collection.parts["train"]))
    return Run(seconds, int(history["step"].max()) * batch_size, right)


def _study(
    setting: Setting,
    collection: Collection,
    strategy: str,
    settings: TrainingSettings,
    pixels: Pixels,
    made: np.ndarray,
    seed: int,
) -> Setup:
    pretrained = setting.pretrained if STRATEGIES[strategy].pretrained else None
    subsets = subsets.nested_subsets(collection.parts["train"], "spread", settings.seeds, seed)
    return Setup(
        strategy, settings, seed, setting.network, setting.device,
        precision_of(setting, strategy), False, ONE_PROCESS, pixels, made, pretrained, subsets,
        collection.parts["val"],
    )  # fmt: skip


def train_and_test(
    study: Setup, collection: Collection, samples: int | float, angles: int, work: Path
) -> np.ndarray:
    """Train a cell into `work`/cell, read its weights back and test them, as the stages do.

    Returns
    -------
    ndarray of shape (seeds, test photos), bool
    """
    cell = work / "cell"
    with redirect_stdout(sys.stderr):
        train_cell(study, samples, angles, cell, work)
    test = Examples.of(collection.parts["test"], collection.classes)
    right = []
    for seed in range(study.settings.seeds):
        network, load = assemble(
            STRATEGIES[study.strategy], study.network, len(collection.classes), study.pixels,
            study.features, study.settings, study.device,
        )  # fmt: skip
        network.load_state_dict(load_file(cell / f"seed{seed}.safetensors"))
        right.append(predict(network, load, test.rows).argmax(axis=1) == test.targets)
    return np.stack(right)


# ---------------------------------------------------------------------------- the frozen column

Size = tuple[int, int]  # samples, angles


def subset(collection: Collection, size: Size, seed: int) -> Collection:
    """Leave only a subset of the training photos."""
    train = collection.parts["train"]
    ranks = subsets.nested_subsets(train, "spread", seed + 1, seed=0)
    rows = subsets.take_subset(ranks, *size)
    own = train[train["photo"].isin(rows[rows["seed"] == seed]["photo"])]
    return replace(collection, parts={**collection.parts, "train": own})


def shotcount_column(
    setting: Setting, collection: Collection, sizes: Sequence[Size], settings: TrainingSettings
) -> tuple[float, dict[Size, float]]:
    """Train and test the frozen strategy at every size, all seeds of it.

    Returns
    -------
    once : float
        Seconds of prepare and features, which all sizes share.
    cells : dict
        Seconds of each size.
    """
    cells = {}
    with TemporaryDirectory() as name:
        start = time.perf_counter()
        pixels = prepare(setting, collection, Path(name))
        made = extract(setting, pixels, Path(name))
        once = time.perf_counter() - start
        study = _study(setting, collection, "frozen", settings, pixels, made, seed=0)
        for size in sizes:
            with TemporaryDirectory() as work:
                start = time.perf_counter()
                train_and_test(study, collection, *size, Path(work))
                cells[size] = time.perf_counter() - start
    return once, cells


# ---------------------------------------------------------------------------- growth


def growth(
    setting: Setting, root: Path, found: pd.DataFrame, finetune_steps: int
) -> dict[str, dict[str, float]]:
    """Run the phases of a study on these photos, each in a process of its own.

    Returns
    -------
    dict
        Phase → seconds (without loading Python and its packages) and peak_mib (with them).
    """
    job = {
        "root": str(root.resolve()),
        "found": found.to_dict("records"),
        "px": setting.px,
        "network": setting.network,
        "device": setting.device.type,
        "precision": str(setting.precision).removeprefix("torch."),
        "finetune_steps": finetune_steps,
    }
    script = Path(__file__).with_name("growth.py")
    phases = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        save_file(dict(setting.pretrained), folder / "backbone.safetensors")
        for phase in ("prepare", "features", "frozen", "finetune"):
            shown = subprocess.run(
                [sys.executable, script, phase, folder], stdout=subprocess.PIPE, check=True
            ).stdout
            phases[phase] = json.loads(shown)
    return phases
