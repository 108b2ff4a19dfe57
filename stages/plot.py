"""data/evaluation → metrics/: curve, statistics, answer, charts. What pull requests compare."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from shotcount import answers, charts, files, page, report, scoring, splits, tables
from shotcount.params import load_params
from shotcount.running import recorded_seconds, run_stage
from shotcount.seeds import seed_for

PARAMS, MANIFEST, METRICS = Path("params.yaml"), Path("data/manifest"), Path("metrics")
EVALUATION = Path("data/evaluation")


def main() -> None:
    params = load_params(PARAMS)
    evaluated = [EVALUATION / strategy for strategy in params.study.strategies]
    scores = pd.concat([tables.read(e / "scores.csv", tables.SCORES) for e in evaluated])
    confusion = pd.concat([tables.read(e / "confusion.csv", tables.CONFUSION) for e in evaluated])
    classes = list(confusion["actual"].unique())
    folders = (
        Path("data/models", strategy, cell)
        for strategy in params.study.strategies
        for cell in splits.cell_folders(params.study, strategy)
    )
    columns = tables.METRICS["history"]
    history = pd.concat([tables.read(folder / "history.csv", columns) for folder in folders])

    hits, columns = {}, tables.predictions(classes)
    for name, *size in scores[["strategy", "samples", "angles"]].itertuples(index=False):
        predictions = tables.read(tables.tested(EVALUATION / name, *size), columns)
        hits[name, *size], samples = scoring.hits(predictions, classes)
    rng = np.random.default_rng(seed_for("answer", params.study.seed))
    learnings = answers.learn_all(scores, hits, samples, params.answer.replicates, rng)
    test = predictions.drop_duplicates("photo")
    guessing = test["label"].value_counts(normalize=True).max()
    curve = answers.with_intervals(scores, learnings)
    answer = answers.answer(learnings, guessing, params.answer)
    left_out = tables.read(Path("data/left_out.csv"), tables.LEFT_OUT)
    data = {
        "photos": len(tables.read(MANIFEST, tables.MANIFEST)),
        "photos_left_out": len(left_out),
        "test_photos": len(test),
        "test_samples": test["sample"].nunique(),
        "manifest_sha256": files.sha256(tables.table_file(MANIFEST))[:12],
    }

    seen = []
    for own in learnings:
        largest = (own.samples[own.largest], own.angles[own.largest])
        predictions = tables.read(tables.tested(EVALUATION / own.strategy, *largest), columns)
        rng = np.random.default_rng(seed_for("views", params.study.seed, own.strategy))
        seen += answers.views(own, *scoring.views(predictions, classes, rng))
    results = {"curve": curve, "confusion": confusion, "history": history}
    results |= answers.details(learnings, answer)
    results["views"] = answers.table(seen, tables.VIEWS)

    for name, table in results.items():
        tables.write(METRICS / f"{name}.csv", table, tables.METRICS[name])
    files.write_json(METRICS / "metrics.json", report.summary(results, answer, data))
    files.write_text(METRICS / "study.md", report.markdown(results, answer, data))
    drawn = charts.draw_all(results, params.answer.reference, answer)
    charts.save(drawn["accuracy_vs_size"], METRICS / "accuracy_vs_size.png")
    for name, chart in drawn.items():
        charts.save(chart, METRICS / f"{name}.svg")
    model = json.loads(Path("data/classifier/model.json").read_text(encoding="utf-8"))
    seconds = recorded_seconds(page.runs(params))
    run = page.Run(PARAMS.read_text(encoding="utf-8"), model, seconds, left_out)
    shown = page.render(results, answer, data, METRICS, Path("data/gallery"), run)
    files.write_text(METRICS / "report.html", shown)


if __name__ == "__main__":
    run_stage(main)
