"""data/evaluation → metrics/: curve, answer, charts. What pull requests compare."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from shotcount import charts, curves, files, scoring, tables
from shotcount.errors import run_stage
from shotcount.params import load_params
from shotcount.seeds import seed_for

METRICS = Path("metrics")


def main() -> None:
    params = load_params(Path("params.yaml"))
    study = params.study
    evaluated = [Path("data/evaluation", strategy) for strategy in study.strategies]
    curve = pd.concat([tables.read(e / "scores.csv", tables.CURVE) for e in evaluated])
    confusion = pd.concat([tables.read(e / "confusion.csv", tables.CONFUSION) for e in evaluated])
    classes = list(confusion["actual"].unique())
    columns = tables.predictions(classes)
    predictions = pd.concat([tables.read(e / "predictions.csv", columns) for e in evaluated])
    histories = []
    for strategy in study.strategies:
        for size in [f"{samples}x{angles}" for samples in study.samples for angles in study.angles]:
            folder = Path("data/models", strategy, size)
            model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            history = tables.read(folder / "history.csv", tables.HISTORY)
            histories.append(history.assign(**{column: model[column] for column in tables.CELL}))
    history = pd.concat(histories)

    by_cell = {
        cell: scoring.hits(rows, classes)
        for cell, rows in predictions.groupby(["strategy", "samples", "angles"])
    }
    one_run = predictions.drop_duplicates("photo")
    answer = curves.answer(
        curve.reset_index(drop=True),
        {cell: correct for cell, (correct, _) in by_cell.items()},
        next(iter(by_cell.values()))[1],
        guessing=one_run["label"].value_counts(normalize=True).max(),
        tolerance=params.answer.tolerance,
        replicates=params.evaluate.replicates,
        rng=np.random.default_rng(seed_for("answer", study.seed)),
    )

    tables.write(METRICS / "curve.csv", curve, tables.CURVE)
    tables.write(METRICS / "confusion.csv", confusion, tables.CONFUSION)
    tables.write(METRICS / "history.csv", history, tables.CELL | tables.HISTORY)
    files.write_json(METRICS / "metrics.json", curves.summary(curve, answer))
    files.write_text(METRICS / "study.md", curves.report(curve, answer))
    found = answer.photos < answer.largest
    enough = (answer.strategy, answer.samples, answer.angles) if found else None
    chart = charts.accuracy_vs_size(curve, params.answer.reference, enough)
    charts.save(chart, METRICS / "accuracy_vs_size.svg")
    charts.save(chart, METRICS / "accuracy_vs_size.png")
    charts.save(charts.training_curves(history), METRICS / "training_curves.svg")


if __name__ == "__main__":
    run_stage(main)
