"""Train all seeds of one cell: train.py STRATEGY SAMPLES ANGLES → data/models/…

`train.py frozen grid` trains all further cells of study.frozen_grid in one process, since a head is
solved in a second, while starting a process takes several.
"""

import sys
from pathlib import Path

import yaml

from shotcount.core import files
from shotcount.core.params import load_params
from shotcount.core.stage import how_far, run_stage
from shotcount.core.study import cell_name, further_cells, training_runs
from shotcount.training.budgets import Rates
from shotcount.training.cells import train_cell
from shotcount.training.settings import TrainingParams
from shotcount.training.setup import Setup


def main() -> None:
    strategy, *size = sys.argv[1:]
    params = load_params(Path("params.yaml"), TrainingParams)
    chosen = files.read_json(Path("data/rates", strategy, "rates.json"))
    setup = Setup.open(strategy, params, Rates(**chosen) if chosen else None)
    if size == ["grid"]:
        name = "grid"
        cells = {f"grid/{cell_name(*cell)}": cell for cell in further_cells(params.study)}
    else:
        samples, angles = map(yaml.safe_load, size)
        name = cell_name(samples, angles)
        cells = {name: (samples, angles)}
    print(f"{strategy} {name}: {how_far(training_runs(params.study))}", flush=True)
    with files.workspace(f"train-{strategy}-{name}", cells, *setup.key()) as work:
        (work / name).mkdir(exist_ok=True)
        if size == ["grid"]:  # DVC warns of an empty folder, and there may be no further cells
            files.write_json(work / name / "cells.json", [Path(cell).name for cell in cells])
        for folder, cell in cells.items():
            train_cell(setup, *cell, work / folder, work)
        files.publish(work / name, Path("data/models", strategy, name))


if __name__ == "__main__":
    run_stage(main)
