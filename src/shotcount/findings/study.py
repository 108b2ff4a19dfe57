"""All results of a study: the outputs of the stage evaluate → the answer and its tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shotcount.core import files, tables
from shotcount.core.errors import UserError
from shotcount.core.seeds import seed_for
from shotcount.core.study import StudySettings, cell_folders
from shotcount.findings.answer import Answer, answer_study
from shotcount.findings.compare import Views, equal_budgets, score_by_views, why_unsettled
from shotcount.findings.learning import Learning, curve_parameters, learn_all, with_intervals
from shotcount.findings.parts import (
    Hits,
    accuracy_by_angle,
    accuracy_by_class,
    gains_by_class,
    precision_by_class,
)
from shotcount.findings.plan import trace_curve
from shotcount.findings.settings import AnswerSettings
from shotcount.findings.tables import as_table, metrics_tables
from shotcount.scoring.detections import TESTED
from shotcount.scoring.matching import Matches
from shotcount.scoring.predictions import hits, predictions_of
from shotcount.scoring.scores import Scoring
from shotcount.scoring.tallies import Tally
from shotcount.scoring.views import tally_by_views
from shotcount.uncertainty.metrics import DETECTION_METRICS, METRICS, Metric, guessing

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
        histories.append(_smallest_first(history.drop(columns="folder")))
        largest = tables.largest_cell(history)
        model_file = largest["folder"].iloc[0] / "model.json"
        model = files.read_json(model_file)
        trials = tables.read(rates / strategy / "trials.csv", tables.TRIALS)
        unsettled[strategy] = why_unsettled(model, largest, trials)
    return pd.concat(histories), unsettled


def study_results(
    evaluation: Path,
    study: StudySettings,
    manifest: pd.DataFrame,
    scoring: Scoring,
    wanted: AnswerSettings,
    unsettled: Mapping[str, list[str]],
    trained_share: float,
) -> tuple[dict[str, pd.DataFrame], Answer, pd.DataFrame]:
    """Analyse a study. Reads the predictions of one cell at a time.

    Parameters
    ----------
    evaluation : Path
        The folder data/evaluation.
    study : StudySettings
    manifest : DataFrame
        The photos and their angles.
    scoring : Scoring
    wanted : AnswerSettings
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
        The test photos: photo, sample, label and angle.
    """
    paths = [evaluation / strategy for strategy in study.strategies]
    scores = _all_cells([path / "scores.csv" for path in paths], scoring.scores)
    confusion = _all_cells([path / "confusion.csv" for path in paths], scoring.confusion)
    tested = {path.name: tables.read(path / "tested", TESTED) for path in paths}

    def read(strategy: str, samples: int, angles: int) -> pd.DataFrame:
        path = predictions_of(evaluation / strategy, samples, angles)
        return tables.read(path, scoring.predictions)

    tallies = {
        cell: scoring.tally(read(*cell), tested[cell[0]])
        for cell in scores[["strategy", "samples", "angles"]].itertuples(index=False, name=None)
    }
    test = tested[study.strategies[0]].drop_duplicates("photo").sort_values("photo")
    test = test.merge(manifest[["photo", "label", "angle"]], on="photo", validate="1:1")
    learn = partial(_answer, scores, tallies, wanted, study.seed, unsettled, trained_share)
    learnings, answer = learn(_metric(wanted.metric, scoring))
    if answer.metric.key == "accuracy" and answer.imbalance >= UNEQUAL:
        answer = replace(answer, balanced=learn(METRICS["balanced_accuracy"])[1])
    results = {"curve": with_intervals(scores, learnings), "confusion": confusion}
    results |= details(learnings, answer)
    if scoring.finds:
        return results | parts_of_objects(learnings, answer), answer, test
    results |= _as_tables({"views": _views(learnings, read, scoring.classes, study.seed)}, answer)
    # The same few cells are asked for again.
    right = cache(lambda *cell: hits(read(*cell), scoring.classes)[0])
    return results | parts(learnings, answer, right, test, study.seed), answer, test


def _all_cells(paths: list[Path], table: tables.Table) -> pd.DataFrame:
    """Read the cells of several strategies."""
    return pd.concat(_smallest_first(tables.read(path, table)) for path in paths)


def _smallest_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort the cells of a strategy by their size, in whatever order they were trained."""
    return rows.sort_values(["samples", "angles"], kind="stable")


def _answer(
    scores: pd.DataFrame,
    tallies: Mapping[tuple[str, int, int], Tally | Matches],
    wanted: AnswerSettings,
    seed: int,
    unsettled: Mapping[str, list[str]],
    trained_share: float,
    metric: Metric,
) -> tuple[list[Learning], Answer]:
    """Answer the study by a metric, always on the same resamples."""
    rng = np.random.default_rng(seed_for("answer", seed))
    learnings = learn_all(scores, tallies, metric, wanted.replicates, rng)
    guessed = guessing(next(iter(tallies.values())), metric)
    return learnings, answer_study(learnings, guessed, wanted, unsettled, trained_share)


def _views(
    learnings: list[Learning],
    read: Callable[[str, int, int], pd.DataFrame],
    classes: list[str],
    seed: int,
) -> list[Views]:
    """Score whole samples by views, in the largest cell of every strategy."""
    found = []
    for own in learnings:
        largest = own.strategy, own.samples[own.largest], own.angles[own.largest]
        rng = np.random.default_rng(seed_for("views", seed, own.strategy))
        found += score_by_views(own, tally_by_views(read(*largest), classes, rng)[0])
    return found


def details(learnings: list[Learning], answer: Answer) -> dict[str, pd.DataFrame]:
    """Return the tables behind the answer, by their names in `metrics_tables`."""
    rows: dict[str, Sequence[Any]] = {
        "comparisons": answer.comparisons,
        "fits": [row for own in learnings for row in curve_parameters(own)],
        "fitted": [row for own in learnings for row in trace_curve(own)],
        "equal_budgets": [row for own in learnings for row in equal_budgets(own)],
    }
    return _as_tables(rows, answer)


def parts(
    learnings: list[Learning],
    answer: Answer,
    right: Hits,
    test: pd.DataFrame,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return the tables of classes and angles, by their names in `metrics_tables`.

    `right` tells whether the seeds of a cell predicted each test photo correctly; `test` are these
    photos, in the same order; `seed` is study.seed.
    """
    best_first = sorted(learnings, key=lambda own: own.strategy != answer.strategy)
    rows: dict[str, Sequence[Any]] = {
        "classes": accuracy_by_class(best_first[0], right, test, seed),
        "gains": gains_by_class(best_first, right, test, seed),
        "angles": accuracy_by_angle(best_first[0], right, test, seed),
    }
    return _as_tables(rows, answer)


def parts_of_objects(learnings: list[Learning], answer: Answer) -> dict[str, pd.DataFrame]:
    """Return the tables of classes, angles and views; of objects, only the first has rows.

    A scene's views show its objects in other places, so there are no predictions to average; and an
    angle is not alike for all scenes.
    """
    best = next(own for own in learnings if own.strategy == answer.strategy)
    matches = best.tallies[best.largest]
    assert isinstance(matches, Matches)
    rows: dict[str, Sequence[Any]] = {"views": [], "gains": [], "angles": []}
    return _as_tables(rows | {"classes": precision_by_class(best, matches)}, answer, finds=True)


def _as_tables(
    rows: Mapping[str, Sequence[Any]], answer: Answer, finds: bool = False
) -> dict[str, pd.DataFrame]:
    key = answer.metric.key
    columns = metrics_tables(key, finds)
    return {name: as_table(made, key, columns[name]) for name, made in rows.items()}


def _metric(name: str, scoring: Scoring) -> Metric:
    """Return the metric called `name` in params.yaml.

    Raises
    ------
    UserError
        If it is not one for such photos.
    """
    known = DETECTION_METRICS if scoring.finds else METRICS
    key = scoring.metric if name == "auto" else name
    if key not in known:
        about = "photos with boxes" if scoring.finds else "photos of one class each"
        raise UserError(
            f"answer.metric: {name} doesn't measure networks for {about}: write "
            f"{', '.join(known)} or auto"
        )
    return known[key]
