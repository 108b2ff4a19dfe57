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
from shotcount.devices import pick_device, pick_precision
from shotcount.params import FineTuning, load_params
from shotcount.pixels import INDEX, Pixels
from shotcount.running import run_stage
from shotcount.splits import cell_name, further_cells
from shotcount.training import STRATEGIES

PIXELS, FEATURES = Path("data/pixels"), Path("data/features.npy")
SUBSETS, VAL = Path("data/subsets"), Path("data/splits/val")
BACKBONE = Path("data/backbone.safetensors")


def main() -> None:
    strategy, *size = sys.argv[1:]
    params = load_params(Path("params.yaml"))
    own, device = STRATEGIES[strategy], pick_device(params.device)
    settings = getattr(params.train, strategy)
    study = Study(
        strategy,
        settings,
        params.study.seed,
        params.model.name,
        device,
        pick_precision("float32" if own.cached else params.precision, device),
        params.compile and not own.cached,
        params.parallel,
        Pixels.open(PIXELS),
        np.load(FEATURES, mmap_mode="r"),
        load_file(BACKBONE) if own.pretrained and not own.cached else None,
        tables.read(SUBSETS, tables.SUBSETS),
        tables.read(VAL, tables.SPLIT),
    )
    if size == ["grid"]:
        name = "grid"
        cells = {f"grid/{cell_name(*cell)}": cell for cell in further_cells(params.study)}
    else:
        samples, angles = map(yaml.safe_load, size)
        name = cell_name(samples, angles)
        cells = {name: (samples, angles)}
    solved = isinstance(settings, FineTuning) and settings.init_head == "frozen"
    inputs = [tables.table_file(SUBSETS), tables.table_file(VAL), BACKBONE]
    inputs += [FEATURES] * (own.cached or solved) + [PIXELS / INDEX] * (not own.cached)
    key = (cells, settings, study.seed, study.network, device, study.precision, study.compiled)
    with files.workspace(f"train-{strategy}-{name}", *key, study.parallel, *inputs) as work:
        (work / name).mkdir(exist_ok=True)
        for folder, cell in cells.items():
            train_cell(study, *cell, work / folder, work)
        files.publish(work / name, Path("data/models", strategy, name))


if __name__ == "__main__":
    run_stage(main)
