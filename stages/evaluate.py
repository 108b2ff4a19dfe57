"""Test all cells of one strategy: evaluate.py STRATEGY → data/evaluation/STRATEGY.

The only stage that reads the test splits. Each seed is tested on its own.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.core.progress import watch
from shotcount.core.stage import run_stage
from shotcount.core.study import StudyParams, cell_folders
from shotcount.networks.devices import pick_device
from shotcount.networks.settings import NetworkParams
from shotcount.scoring.detections import TESTED
from shotcount.scoring.predictions import predictions_of
from shotcount.scoring.scores import scoring_for
from shotcount.tasks.classes import open_task
from shotcount.tasks.strategies import Arrays
from shotcount.tasks.task import predict_cell


class Params(NetworkParams, StudyParams):
    pass


def main() -> None:
    strategy, params = sys.argv[1], load_params(Path("params.yaml"), Params)
    device = pick_device(params.device)
    arrays = Arrays(Pixels.open(Path("data/pixels")), np.load("data/features.npy", mmap_mode="r"))
    boxes = tables.read(Path("data/boxes"), tables.BOXES)
    more = [Path("data/splits/val")] if tables.is_detection(boxes) else []  # for the confidence
    splits = [tables.read(path, tables.SPLIT) for path in (Path("data/splits/test"), *more)]
    cells, scores, confusions = cell_folders(params.study, strategy), [], []
    with files.atomic(Path("data/evaluation", strategy)) as out:
        for cell_folder in watch(cells, f"evaluate {strategy}", len(cells), "cell"):
            folder = Path("data/models", strategy, cell_folder)
            model = files.read_json(folder / "model.json")
            task = open_task(boxes, arrays.pixels.shape[1], model["classes"])
            scoring = scoring_for(model["classes"], boxes)
            pairs = predict_cell(folder, model, task, arrays, splits, device, scoring.join)
            path, tested = predictions_of(out, model["samples"], model["angles"]), pairs[0][1]
            tables.write(path, pairs[0][0], scoring.predictions)
            pairs[0] = tables.read(path, scoring.predictions), tested  # the digits that are kept
            scored, confused = scoring.score(*pairs)
            cell = {column: model[column] for column in tables.CELL}
            scores.append(cell | scored)
            confusions.append(confused.assign(**cell))
        tables.write(out / "scores.csv", pd.DataFrame(scores), scoring.scores)
        tables.write(out / "confusion.csv", pd.concat(confusions), scoring.confusion)
        tables.write(out / "tested", tested[list(TESTED)], TESTED)


if __name__ == "__main__":
    run_stage(main)
