"""Choose a strategy's learning rates by validation: tune.py STRATEGY → data/rates/STRATEGY."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.core.study import StudySettings
from shotcount.training.settings import FrozenSettings, TrainingParams
from shotcount.training.setup import Setup
from shotcount.training.tune import tune


def main() -> None:
    strategy = sys.argv[1]
    params = load_params(Path("params.yaml"), TrainingParams)
    rates, trials = None, pd.DataFrame(columns=list(tables.TRIALS))
    setup = Setup.open(strategy, params)
    if isinstance(setup.settings, FrozenSettings):
        print(f"{strategy}: the head is solved and has no learning rate")
    else:
        rates, trials = choose(setup, params.study)
    with files.atomic(Path("data/rates", strategy)) as made:
        made.mkdir()
        tables.write(made / "trials.csv", trials, tables.TRIALS)
        files.write_json(made / "rates.json", rates)


def choose(setup: Setup, study: StudySettings) -> tuple[dict[str, Any], pd.DataFrame]:
    with files.workspace(f"tune-{setup.strategy}", study, *setup.key()) as work:
        rates, trials = tune(setup, study, work)
    head, backbone = rates
    print(f"{setup.strategy}: learning rate {head:g}, of the backbone {head * backbone:g}")
    return rates._asdict(), trials


if __name__ == "__main__":
    run_stage(main)
