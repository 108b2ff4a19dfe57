"""Test every cell of one strategy: evaluate.py STRATEGY → data/evaluation/STRATEGY.

The only stage that opens the test split.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from shotcount import files, scoring, splits, tables
from shotcount.devices import pick_device
from shotcount.params import load_params
from shotcount.pixels import Pixels
from shotcount.progress import watch
from shotcount.running import run_stage
from shotcount.training import STRATEGIES, assemble, predict


def main() -> None:
    name = sys.argv[1]
    params = load_params(Path("params.yaml"))
    settings, device = getattr(params.train, name), pick_device(params.device)
    pixels = Pixels.open(Path("data/pixels"))
    features = np.load("data/features.npy", mmap_mode="r")
    test = tables.read(Path("data/splits/test"), tables.SPLIT)
    scores, confusions = [], []
    cells = splits.cell_folders(params.study, name)
    with files.atomic(Path(f"data/evaluation/{name}")) as out:
        for cell_folder in watch(cells, f"evaluate {name}", len(cells), "cell"):
            folder = Path("data/models", name, cell_folder)
            model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            splits.check_apart(model["samples_seen"], test, folder)
            cell, classes = {column: model[column] for column in tables.CELL}, model["classes"]
            runs = []
            for seed in range(model["seeds"]):
                network, load = assemble(
                    STRATEGIES[name],
                    params.model.name,
                    len(classes),
                    pixels,
                    features,
                    settings,
                    device,
                )
                network.load_state_dict(load_file(folder / f"seed{seed}.safetensors"))
                p = predict(network, load, test["photo"].to_numpy())
                columns = {tables.probability(label): p[:, i] for i, label in enumerate(classes)}
                runs.append(test[["photo", "sample", "label"]].assign(seed=seed, **cell, **columns))
            run = pd.concat(runs)
            path = tables.tested(out, model["samples"], model["angles"])
            tables.write(path, run, tables.predictions(classes))
            scores.append({**cell, **scoring.score(run, classes)})
            confusions.append(scoring.confusion(run, classes).assign(**cell))
        tables.write(out / "scores.csv", pd.DataFrame(scores), tables.SCORES)
        tables.write(out / "confusion.csv", pd.concat(confusions), tables.CONFUSION)


if __name__ == "__main__":
    run_stage(main)
