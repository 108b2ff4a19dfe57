"""data/evaluation → metrics/: curve, statistics, answer, charts. What pull requests compare."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shotcount import answers, charts, files, report, scoring, splits, tables
from shotcount.params import load_params
from shotcount.running import run_stage
from shotcount.seeds import seed_for

MANIFEST, METRICS = Path("data/manifest.csv"), Path("metrics")


def main() -> None:
    params = load_params(Path("params.yaml"))
    evaluated = [Path("data/evaluation", strategy) for strategy in params.study.strategies]
    scores = pd.concat([tables.read(e / "scores.csv", tables.SCORES) for e in evaluated])
    confusion = pd.concat([tables.read(e / "confusion.csv", tables.CONFUSION) for e in evaluated])
    classes = list(confusion["actual"].unique())
    columns = tables.predictions(classes)
    predictions = pd.concat([tables.read(e / "predictions.csv", columns) for e in evaluated])
    folders = (
        Path("data/models", strategy, cell)
        for strategy in params.study.strategies
        for cell in splits.cell_folders(params.study, strategy)
    )
    columns = tables.METRICS["history"]
    history = pd.concat([tables.read(folder / "history.csv", columns) for folder in folders])

    runs = dict(iter(predictions.groupby(["strategy", "samples", "angles"])))
    hits = {cell: scoring.hits(rows, classes) for cell, rows in runs.items()}
    learnings = answers.learn_all(
        scores,
        {cell: right for cell, (right, _) in hits.items()},
        next(shown for _, shown in hits.values()),
        params.answer.replicates,
        np.random.default_rng(seed_for("answer", params.study.seed)),
    )
    test = predictions.drop_duplicates("photo")
    guessing = test["label"].value_counts(normalize=True).max()
    curve = answers.with_intervals(scores, learnings)
    answer = answers.answer(learnings, guessing, params.answer)
    data = {
        "photos": len(tables.read(MANIFEST, tables.MANIFEST)),
        "photos_left_out": len(tables.read(Path("data/left_out.csv"), tables.LEFT_OUT)),
        "test_photos": len(test),
        "test_samples": test["sample"].nunique(),
        "manifest_sha256": files.sha256(MANIFEST)[:12],
    }

    rows: dict[str, list[Any]] = {"comparisons": answer.comparisons}
    rows |= {name: [] for name in ("fits", "fitted", "equal_budgets", "views")}
    for own in learnings:
        largest = (own.strategy, int(own.samples[own.largest]), int(own.angles[own.largest]))
        rows["fits"] += answers.parameters(own)
        rows["fitted"] += answers.trace(own)
        rows["equal_budgets"] += answers.equal_budgets(own)
        rng = np.random.default_rng(seed_for("views", params.study.seed, own.strategy))
        rows["views"] += answers.views(own, *scoring.views(runs[largest], classes, rng))
    results = {"curve": curve, "confusion": confusion, "history": history}
    results |= {name: answers.table(made, tables.METRICS[name]) for name, made in rows.items()}

    for name, table in results.items():
        tables.write(METRICS / f"{name}.csv", table, tables.METRICS[name])
    files.write_json(METRICS / "metrics.json", report.summary(results, answer, data))
    files.write_text(METRICS / "study.md", report.markdown(results, answer, data))
    chart = charts.accuracy_vs_size(curve, results["fitted"], params.answer.reference, answer)
    charts.save(chart, METRICS / "accuracy_vs_size.svg")
    charts.save(chart, METRICS / "accuracy_vs_size.png")
    chart = charts.samples_and_angles(curve, results["fitted"], answer)
    charts.save(chart, METRICS / "samples_and_angles.svg")
    charts.save(charts.views_at_test_time(results["views"]), METRICS / "views_at_test_time.svg")
    charts.save(charts.training_curves(history), METRICS / "training_curves.svg")


if __name__ == "__main__":
    run_stage(main)
