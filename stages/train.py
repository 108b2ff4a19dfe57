"""Train all seeds of one cell: train.py STRATEGY SAMPLES ANGLES → data/models/…

`train.py frozen grid` trains all further cells of study.frozen_grid in one process, since a head
trains in a second, while starting a process takes several.
"""

import sys
from pathlib import Path

import numpy as np
import yaml
from safetensors.torch import load_file

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.pixels import INDEX, Pixels
from shotcount.core.stage import run_stage
from shotcount.core.study import cell_name, further_cells
from shotcount.networks.devices import pick_device
from shotcount.training.cells import Compute, Setup, train_cell
from shotcount.training.settings import FineTuningSettings, TrainingParams
from shotcount.training.strategies import STRATEGIES, Arrays

PIXELS, FEATURES = Path("data/pixels"), Path("data/features.npy")
SUBSETS, VAL = Path("data/subsets"), Path("data/splits/val")
BACKBONE = Path("data/backbone.safetensors")


def main() -> None:
    strategy, *size = sys.argv[1:]
    params = load_params(Path("params.yaml"), TrainingParams)
    own, device = STRATEGIES[strategy], pick_device(params.device)
    compute = Compute.of(strategy, device, params.precision, params.compile, params.parallel)
    setup = Setup(
        strategy=strategy,
        settings=getattr(params.train, strategy),
        study_seed=params.study.seed,
        network=params.model.name,
        compute=compute,
        arrays=Arrays(Pixels.open(PIXELS), np.load(FEATURES, mmap_mode="r")),
        pretrained=load_file(BACKBONE) if own.pretrained and not own.cached else None,
        subsets=tables.read(SUBSETS, tables.SUBSETS),
        val=tables.read(VAL, tables.SPLIT),
    )
    if size == ["grid"]:
        name = "grid"
        cells = {f"grid/{cell_name(*cell)}": cell for cell in further_cells(params.study)}
    else:
        samples, angles = map(yaml.safe_load, size)
        name = cell_name(samples, angles)
        cells = {name: (samples, angles)}
    inputs = [tables.table_file(SUBSETS), tables.table_file(VAL), BACKBONE]
    settings = setup.settings
    solved = isinstance(settings, FineTuningSettings) and settings.init_head == "frozen"
    inputs += [FEATURES] * (own.cached or solved) + [PIXELS / INDEX] * (not own.cached)
    key = (cells, settings, setup.study_seed, setup.network, compute, *inputs)
    with files.workspace(f"train-{strategy}-{name}", *key) as work:
        (work / name).mkdir(exist_ok=True)
        for folder, cell in cells.items():
            train_cell(setup, *cell, work / folder, work)
        files.publish(work / name, Path("data/models", strategy, name))


if __name__ == "__main__":
    run_stage(main)
