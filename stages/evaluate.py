"""Test all cells of one strategy: evaluate.py STRATEGY → data/evaluation/STRATEGY.

The only stage that reads the test splits. Each seed is tested on its own.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.core.progress import watch
from shotcount.core.stage import run_stage
from shotcount.core.study import StudyParams, cell_folders
from shotcount.networks.devices import pick_device
from shotcount.networks.settings import NetworkParams
from shotcount.scoring.predictions import (
    check_apart,
    prediction_columns,
    predictions_of,
    predictions_table,
)
from shotcount.scoring.scores import CONFUSION, SCORES, confusion, score
from shotcount.tasks.strategies import STRATEGIES, Arrays, assemble, predict


class Params(NetworkParams, StudyParams):
    pass


def main() -> None:
    strategy = sys.argv[1]
    params = load_params(Path("params.yaml"), Params)
    device = pick_device(params.device)
    features = np.load("data/features.npy", mmap_mode="r")
    arrays = Arrays(Pixels.open(Path("data/pixels")), features)
    test = tables.read(Path("data/splits/test"), tables.SPLIT)
    scores, confusions = [], []
    cells = cell_folders(params.study, strategy)
    with files.atomic(Path("data/evaluation", strategy)) as out:
        for cell_folder in watch(cells, f"evaluate {strategy}", len(cells), "cell"):
            folder = Path("data/models", strategy, cell_folder)
            model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            cell, classes = {column: model[column] for column in tables.CELL}, model["classes"]
            runs = []
            for seed in range(model["seeds"]):
                own = tables.of_seed(test, seed)
                check_apart(model["samples_seen"][seed], own, folder)
                network, load = assemble(
                    STRATEGIES[strategy], model["network"], len(classes), arrays, device
                )
                network.load_state_dict(load_file(folder / f"seed{seed}.safetensors"))
                p = predict(network, load, own["photo"].to_numpy())
                runs.append(predictions_table(own, p, classes))
            run = pd.concat(runs).assign(**cell)
            path = predictions_of(out, model["samples"], model["angles"])
            tables.write(path, run, prediction_columns(classes))
            scores.append({**cell, **score(run, classes)})
            confusions.append(confusion(run, classes).assign(**cell))
        tables.write(out / "scores.csv", pd.DataFrame(scores), SCORES)
        tables.write(out / "confusion.csv", pd.concat(confusions), CONFUSION)


if __name__ == "__main__":
    run_stage(main)
