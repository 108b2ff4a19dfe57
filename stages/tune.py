"""Choose a strategy's learning rates by validation: tune.py STRATEGY → data/rates/STRATEGY."""

import sys
from pathlib import Path

import pandas as pd

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.training.budgets import Rates
from shotcount.training.settings import TrainingParams
from shotcount.training.setup import Setup
from shotcount.training.strategies import STRATEGIES
from shotcount.training.tune import tune


def main() -> None:
    strategy = sys.argv[1]
    params = load_params(Path("params.yaml"), TrainingParams)
    out = Path("data/rates", strategy)
    if STRATEGIES[strategy].cached:
        print(f"{strategy}: the head is solved and has no learning rate")
        rates, trials = None, pd.DataFrame(columns=list(tables.TRIALS))
    else:
        rates, trials = choose(strategy, params)
    with files.atomic(out) as made:
        made.mkdir()
        tables.write(made / "trials.csv", trials, tables.TRIALS)
        files.write_json(made / "rates.json", rates._asdict() if rates else None)


def choose(strategy: str, params: TrainingParams) -> tuple[Rates, pd.DataFrame]:
    setup = Setup.open(strategy, params)
    with files.workspace(f"tune-{strategy}", params.study, *setup.key()) as work:
        rates, trials = tune(setup, params.study, work)
    head, backbone = rates
    print(f"{strategy}: learning rate {head:g}, of the backbone {head * backbone:g}")
    return rates, trials


if __name__ == "__main__":
    run_stage(main)
