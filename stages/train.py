"""Train all seeds of one cell: train.py STRATEGY SAMPLES ANGLES → data/models/…

`train.py frozen grid` trains all further cells of study.frozen_grid in one process, since a head is
solved in a second, while starting a process takes several.
"""

import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import yaml

from shotcount.core import files
from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.core.stage import how_far, run_stage
from shotcount.core.study import cell_name, further_cells, later_cells, training_runs
from shotcount.training.budgets import Rates
from shotcount.training.cells import Cell, is_trained, train_cell
from shotcount.training.settings import TrainingParams
from shotcount.training.setup import Setup


def main() -> None:
    strategy, *size = sys.argv[1:]
    params = load_params(Path("params.yaml"), TrainingParams)
    chosen = files.read_json(Path("data/rates", strategy, "rates.json"))
    setup = Setup.open(strategy, params, Rates(**chosen) if chosen else None)
    later: list[tuple[int | float, int]] = []
    if size == ["grid"]:
        name = "grid"
        cells = {f"grid/{cell_name(*cell)}": cell for cell in further_cells(params.study)}
    else:
        samples, angles = map(yaml.safe_load, size)
        name = cell_name(samples, angles)
        cells = {name: (samples, angles)}
        if "DVC_STAGE" in os.environ:  # one stage at a time; on a cluster, others train these now
            later = later_cells(params.study, samples, angles)
    print(f"{strategy} {name}: {how_far(training_runs(params.study))}", flush=True)
    key = files.fingerprint(*setup.key())
    with files.workspace(f"train-{strategy}-{name}", [*cells], key) as work, ExitStack() as held:
        (work / name).mkdir(exist_ok=True)
        if size == ["grid"]:  # DVC warns of an empty folder, and there may be no further cells
            files.write_json(work / name / "cells.json", [Path(cell).name for cell in cells])
        ahead = []
        for cell in later:
            own = cell_name(*cell)
            if not is_trained(setup, Path("data/models", strategy, own)):
                with suppress(UserError):  # another process is training it
                    begun = held.enter_context(files.begun(f"train-{strategy}-{own}", [own], key))
                    ahead.append(Cell.of(setup, *cell, begun / own, begun))
        for folder, cell in cells.items():
            train_cell(setup, Cell.of(setup, *cell, work / folder, work), ahead)
        files.publish(work / name, Path("data/models", strategy, name))


if __name__ == "__main__":
    run_stage(main)
