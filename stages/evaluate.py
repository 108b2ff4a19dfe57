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
from shotcount.scoring.detections import TESTED
from shotcount.scoring.predictions import check_apart, predictions_of
from shotcount.scoring.scores import scoring_for
from shotcount.tasks.opening import open_task
from shotcount.tasks.strategies import STRATEGIES, Arrays


class Params(NetworkParams, StudyParams):
    pass


def main() -> None:
    strategy = sys.argv[1]
    params = load_params(Path("params.yaml"), Params)
    device = pick_device(params.device)
    pixels = Pixels.open(Path("data/pixels"))
    arrays = Arrays(pixels, np.load("data/features.npy", mmap_mode="r"))
    boxes = tables.read(Path("data/boxes"), tables.BOXES)
    splits = [tables.read(Path("data/splits/test"), tables.SPLIT)]
    if tables.is_detection(boxes):  # validation chooses the confidence from which on they count
        splits.append(tables.read(Path("data/splits/val"), tables.SPLIT))
    scores, confusions = [], []
    cells = cell_folders(params.study, strategy)
    with files.atomic(Path("data/evaluation", strategy)) as out:
        for cell_folder in watch(cells, f"evaluate {strategy}", len(cells), "cell"):
            folder = Path("data/models", strategy, cell_folder)
            model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            cell, classes = {column: model[column] for column in tables.CELL}, model["classes"]
            task = open_task(boxes, pixels.shape[1], classes)
            scoring = scoring_for(classes, boxes)
            runs: list[list[pd.DataFrame]] = [[] for _ in splits]
            for seed in range(model["seeds"]):
                check_apart(model["samples_seen"][seed], tables.of_seed(splits[0], seed), folder)
                network, load = task.assemble(
                    STRATEGIES[strategy], model["network"], arrays, device
                )
                network.load_state_dict(load_file(folder / f"seed{seed}.safetensors"))
                for run, split in zip(runs, splits, strict=True):
                    own = tables.of_seed(split, seed)
                    found = task.predict(network, load, own["photo"].to_numpy())
                    run.append(scoring.join(own, found))
            tested = [split[split["seed"] < model["seeds"]] for split in splits]
            whole = [pd.concat(run, ignore_index=True).assign(**cell) for run in runs]
            path = predictions_of(out, model["samples"], model["angles"])
            tables.write(path, whole[0], scoring.predictions)
            pairs = [part for pair in zip(whole, tested, strict=True) for part in pair]
            scored, confused = scoring.score(*pairs)
            scores.append({**cell, **scored})
            confusions.append(confused.assign(**cell))
        tables.write(out / "scores.csv", pd.DataFrame(scores), scoring.scores)
        tables.write(out / "confusion.csv", pd.concat(confusions), scoring.confusion)
        tables.write(out / "tested", tested[0][list(TESTED)], TESTED)


if __name__ == "__main__":
    run_stage(main)
