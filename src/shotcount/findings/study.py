"""All results of a study: the outputs of the stage evaluate → the answer and its tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shotcount.core import tables
from shotcount.core.seeds import seed_for
from shotcount.core.study import StudySettings, cell_folders
from shotcount.findings.answer import Answer, answer_study
from shotcount.findings.compare import equal_budgets, score_by_views, why_unsettled
from shotcount.findings.learning import Learning, curve_parameters, learn_all, with_intervals
from shotcount.findings.plan import trace_curve
from shotcount.findings.settings import AnswerSettings
from shotcount.findings.tables import as_table, metrics_tables
from shotcount.scoring.predictions import prediction_columns, predictions_of
from shotcount.scoring.scores import CONFUSION, SCORES
from shotcount.scoring.tallies import Tally, tally
from shotcount.scoring.views import tally_by_views
from shotcount.uncertainty.metrics import METRICS, Metric, guessing

UNEQUAL = 5  # if a class has so many times the samples of another, accuracy alone misleads


def training_results(
    models: Path, rates: Path, study: StudySettings
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Read how all cells were trained.

    Parameters
    ----------
    models, rates : Path
        The folders data/models and data/rates.
    study : StudySettings

    Returns
    -------
    history : DataFrame
        Of all cells, with the columns `HISTORY` of core.tables.
    unsettled : dict of str to list of str
        For each strategy, the parameters that kept its largest cell from converging.
    """
    histories = []
    unsettled: dict[str, list[str]] = {}
    for strategy in study.strategies:
        folders = [models / strategy / cell for cell in cell_folders(study, strategy)]
        history = pd.concat(
            tables.read(folder / "history.csv", tables.HISTORY).assign(folder=folder)
            for folder in folders
        )
        histories.append(history.drop(columns="folder"))
        largest = tables.largest_cell(history)
        model_file = largest["folder"].iloc[0] / "model.json"
        model = json.loads(model_file.read_text(encoding="utf-8"))
        trials = tables.read(rates / strategy / "trials.csv", tables.TRIALS)
        unsettled[strategy] = why_unsettled(model, largest, trials)
    return pd.concat(histories), unsettled


def study_results(
    evaluation: Path,
    strategies: Sequence[str],
    classes: list[str],
    wanted: AnswerSettings,
    seed: int,
    unsettled: Mapping[str, list[str]],
    trained_share: float,
) -> tuple[dict[str, pd.DataFrame], Answer, pd.DataFrame]:
    """Analyse a study. Reads the predictions of one cell at a time.

    Parameters
    ----------
    evaluation : Path
        The folder data/evaluation.
    strategies : sequence of str
    classes : list of str
    wanted : AnswerSettings
    seed : int
        study.seed of params.yaml.
    unsettled : mapping of str to list of str
        As `training_results` returns it.
    trained_share : float
        Share of the collection's samples that can be trained on.

    Returns
    -------
    results : dict of str to DataFrame
        The tables of `metrics_tables`, except for the history.
    answer : Answer
    test : DataFrame
        The test photos: photo, sample and label.
    """
    folders = [evaluation / strategy for strategy in strategies]
    scores = pd.concat([tables.read(folder / "scores.csv", SCORES) for folder in folders])
    confusion = pd.concat([tables.read(folder / "confusion.csv", CONFUSION) for folder in folders])

    def read(strategy: str, samples: int, angles: int) -> pd.DataFrame:
        path = predictions_of(evaluation / strategy, samples, angles)
        return tables.read(path, prediction_columns(classes))

    tallies = {}
    for cell in scores[["strategy", "samples", "angles"]].itertuples(index=False, name=None):
        predictions = read(*cell)
        tallies[cell] = tally(predictions, classes)
    test = predictions[["photo", "sample", "label"]].drop_duplicates("photo")
    metric, given = METRICS[wanted.metric], (wanted, seed, unsettled, trained_share)
    learnings, answer = _answer(metric, scores, tallies, *given)
    if metric.key == "accuracy" and answer.imbalance >= UNEQUAL:
        _, other = _answer(METRICS["balanced_accuracy"], scores, tallies, *given)
        answer = replace(answer, balanced=other)
    views = []
    for own in learnings:
        largest = own.strategy, own.samples[own.largest], own.angles[own.largest]
        rng = np.random.default_rng(seed_for("views", seed, own.strategy))
        views += score_by_views(own, tally_by_views(read(*largest), classes, rng)[0])
    results = {"curve": with_intervals(scores, learnings), "confusion": confusion}
    results["views"] = as_table(views, metric.key, metrics_tables(metric.key)["views"])
    return results | details(learnings, answer), answer, test


def _answer(
    metric: Metric,
    scores: pd.DataFrame,
    tallies: Mapping[tuple[str, int, int], Tally],
    wanted: AnswerSettings,
    seed: int,
    unsettled: Mapping[str, list[str]],
    trained_share: float,
) -> tuple[list[Learning], Answer]:
    """Answer the study by a metric, always on the same resamples."""
    rng = np.random.default_rng(seed_for("answer", seed))
    learnings = learn_all(scores, tallies, metric, wanted.replicates, rng)
    guessed = guessing(next(iter(tallies.values())), metric)
    return learnings, answer_study(learnings, guessed, wanted, unsettled, trained_share)


def details(learnings: list[Learning], answer: Answer) -> dict[str, pd.DataFrame]:
    """Return the tables behind the answer, by their names in `metrics_tables`."""
    rows: dict[str, Sequence[Any]] = {
        "comparisons": answer.comparisons,
        "fits": [row for own in learnings for row in curve_parameters(own)],
        "fitted": [row for own in learnings for row in trace_curve(own)],
        "equal_budgets": [row for own in learnings for row in equal_budgets(own)],
    }
    key = answer.metric.key
    return {name: as_table(made, key, metrics_tables(key)[name]) for name, made in rows.items()}
