"""What all cells of a strategy have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from shotcount.core import files, tables
from shotcount.core.pixels import INDEX, Pixels
from shotcount.networks.devices import gpu_count, pick_device, pick_precision
from shotcount.networks.settings import full_name
from shotcount.parallel import ranks
from shotcount.parallel.settings import ParallelSettings
from shotcount.tasks.classes import open_task
from shotcount.tasks.strategies import STRATEGIES, Arrays
from shotcount.tasks.task import Task
from shotcount.training.budgets import Rates, training_steps
from shotcount.training.settings import (
    FineTuningSettings,
    FrozenSettings,
    TrainingParams,
    TrainingSettings,
    settings_for,
)

PIXELS, FEATURES, BOXES = Path("data/pixels"), Path("data/features.npy"), Path("data/boxes")
SUBSETS, VAL = Path("data/subsets"), Path("data/splits/val")
BACKBONE, LAST_LAYER = Path("data/backbone.safetensors"), Path("data/last_layer.json")


@dataclass(frozen=True)
class Compute:
    """Where and how networks are trained."""

    device: torch.device
    precision: torch.dtype  # precision of the training steps of a network that sees photos
    compiled: bool  # whether torch.compile compiles these steps
    parallel: ParallelSettings

    @classmethod
    def of(
        cls,
        strategy: str,
        device: torch.device,
        precision: str,
        compiled: bool,
        parallel: ParallelSettings,
    ) -> "Compute":
        """Choose for a strategy: a head on cached features is small and is trained in float32."""
        cached = STRATEGIES[strategy].cached
        chosen = pick_precision("float32" if cached else precision, device)
        return cls(device, chosen, compiled and not cached, parallel)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all cells of a strategy have in common."""

    strategy: str
    task: Task
    settings: TrainingSettings | FrozenSettings
    rates: Rates | None  # None for a strategy that solves its head
    study_seed: int
    network: str  # the backbone's torchvision or timm name
    compute: Compute
    arrays: Arrays
    pretrained: Mapping[str, torch.Tensor] | None  # weights of the backbone
    subsets: pd.DataFrame  # tables.SUBSETS
    val: pd.DataFrame  # tables.SPLIT; like subsets, of every seed

    @property
    def classes(self) -> list[str]:
        return self.task.classes

    @classmethod
    def open(cls, strategy: str, params: TrainingParams, rates: Rates | None = None) -> "Setup":
        """Open what earlier stages wrote."""
        own, device = STRATEGIES[strategy], pick_device(params.device)
        pixels, val = Pixels.open(PIXELS), tables.read(VAL, tables.SPLIT)
        boxes = tables.read(BOXES, tables.BOXES)
        task = open_task(boxes, pixels.shape[1], sorted(val["label"].unique()))
        return cls(
            strategy=strategy,
            task=task,
            settings=settings_for(params.train, strategy, task.solves_heads),
            rates=rates,
            study_seed=params.study.seed,
            network=full_name(params.model.name, files.read_json(LAST_LAYER)),
            compute=Compute.of(strategy, device, params.precision, params.compile, params.parallel),
            arrays=Arrays(pixels, np.load(FEATURES, mmap_mode="r")),
            pretrained=load_file(BACKBONE) if own.pretrained and not own.cached else None,
            subsets=tables.read(SUBSETS, tables.SUBSETS),
            val=val,
        )

    @property
    def starts_with_frozen_head(self) -> bool:
        """Whether training begins with a head that fits the frozen backbone's features."""
        own = self.settings
        return isinstance(own, FineTuningSettings) and own.init_head == "frozen"

    def most_steps(self, photos: int) -> int:
        """Return how many steps a network takes on so many photos, at most."""
        own = self.settings
        if isinstance(own, FrozenSettings):
            return 1  # it is solved
        return training_steps(photos, own.batch_size, own.epochs, own.min_steps)

    def process_count(self, subset: pd.DataFrame) -> int:
        """Choose how many processes train each network of a subset, which has all seeds' photos."""
        settings, compute = self.settings, self.compute
        if isinstance(settings, FrozenSettings) or compute.compiled or not self.task.shares_batches:
            return 1
        fewest = int(subset.groupby("seed").size().min())
        if fewest < settings.batch_size:
            return 1
        shown = self.most_steps(fewest) * settings.batch_size
        gpus = gpu_count(compute.device)
        return ranks.process_count(compute.parallel, gpus, settings.batch_size, shown)

    def key(self) -> tuple[object, ...]:
        """Return all that the strategy's models depend on: values, and files for their content."""
        cached = STRATEGIES[self.strategy].cached
        inputs = [tables.table_file(path) for path in (SUBSETS, VAL, BOXES)] + [BACKBONE]
        inputs += [FEATURES] * (cached or self.starts_with_frozen_head) + [PIXELS / INDEX] * (
            not cached
        )
        return (self.settings, self.rates, self.study_seed, self.network, self.compute, *inputs)
