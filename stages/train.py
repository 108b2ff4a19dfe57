"""Train one cell, every seed of it: train.py STRATEGY SAMPLES ANGLES → data/models/…

train.py frozen grid trains the further cells of study.frozen_grid, all in one process: a head takes
a second, a process of its own several.
"""

import sys
from pathlib import Path

import numpy as np
import yaml
from safetensors.torch import load_file

from shotcount import files, tables
from shotcount.cells import Study, train_cell
from shotcount.devices import pick_device
from shotcount.errors import run_stage
from shotcount.params import load_params
from shotcount.splits import cell_name, further_cells
from shotcount.training import STRATEGIES


def main() -> None:
    strategy, *size = sys.argv[1:]
    params = load_params(Path("params.yaml"))
    own = STRATEGIES[strategy]
    study = Study(
        strategy,
        getattr(params.train, strategy),
        params.study.seed,
        params.model.name,
        pick_device(params.device),
        np.load("data/pixels.npy", mmap_mode="r"),
        np.load("data/features.npy", mmap_mode="r"),
        load_file("data/backbone.safetensors") if own.pretrained and not own.cached else None,
        tables.read(Path("data/subsets.csv"), tables.SUBSETS),
        tables.read(Path("data/splits/val.csv"), tables.SPLIT),
    )
    models = Path("data/models", strategy)
    if size == ["grid"]:
        with files.atomic(models / "grid") as grid:
            grid.mkdir()
            for samples, angles in further_cells(params.study):
                train_cell(study, samples, angles, grid / cell_name(samples, angles))
    else:
        samples, angles = map(yaml.safe_load, size)
        with files.atomic(models / cell_name(samples, angles)) as folder:
            train_cell(study, samples, angles, folder)


if __name__ == "__main__":
    run_stage(main)
