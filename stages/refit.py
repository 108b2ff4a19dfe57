"""Choose the strategy to keep, train it anew on all samples → data/refit.

It is chosen by the validation loss in the largest cell.
"""

from itertools import product
from pathlib import Path

import pandas as pd

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.core.study import cell_name
from shotcount.refit.choice import choose, of_common_seeds
from shotcount.refit.fit import refit
from shotcount.sampling.subsets import nested_subsets
from shotcount.training.budgets import Rates
from shotcount.training.settings import TrainingParams
from shotcount.training.setup import Setup

MODELS, MANIFEST = Path("data/models"), Path("data/manifest")


def main() -> None:
    params = load_params(Path("params.yaml"), TrainingParams)
    study = params.study
    folders = [
        f"{strategy}/{cell_name(samples, angles)}"
        for strategy, samples, angles in product(study.strategies, study.samples, study.angles)
    ]
    every = (
        tables.read(MODELS / folder / "history.csv", tables.HISTORY).assign(folder=folder)
        for folder in folders
    )
    kept = tables.largest_cell(pd.concat(every)).query("kept")
    compared = of_common_seeds(kept)
    strategy = choose(compared)
    own = kept[kept["strategy"] == strategy]
    chosen = files.read_json(Path("data/rates", strategy, "rates.json"))
    setup = Setup.open(strategy, params, Rates(**chosen) if chosen else None)
    manifest = tables.read(MANIFEST, tables.MANIFEST).assign(seed=0)
    whole = nested_subsets(manifest, study.angle_order, study.seed)
    print(f"{strategy}: lowest validation loss in the cells of {own['photos'].iloc[0]:,} photos")
    key = (own.to_csv(), study.angle_order, tables.table_file(MANIFEST), *setup.key())
    with files.workspace("refit", *key) as work:
        refit(setup, whole, own, work / "made", work)
        tables.write(work / "made/choice.csv", compared.drop(columns="folder"), tables.HISTORY)
        files.publish(work / "made", Path("data/refit"))


if __name__ == "__main__":
    run_stage(main)
