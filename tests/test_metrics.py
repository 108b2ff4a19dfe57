"""The metrics of the answer: as scikit-learn computes them, in every bootstrap replicate."""

import dataclasses
import re
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from shotcount.core import tables
from shotcount.core.study import SizeSettings, StudySettings
from shotcount.findings.answer import Answer, answer_study
from shotcount.findings.compare import score_by_views
from shotcount.findings.learning import Learning, learn_all, with_intervals
from shotcount.findings.settings import AnswerSettings
from shotcount.findings.study import details, parts, study_results
from shotcount.findings.tables import as_table, metrics_tables
from shotcount.report.numbers import summary
from shotcount.report.sections import markdown
from shotcount.report.words import caution
from shotcount.scoring.detections import TESTED
from shotcount.scoring.predictions import (
    hits,
    prediction_columns,
    predictions_of,
    predictions_table,
)
from shotcount.scoring.scores import CONFUSION, SCORES, confusion, score, scoring_for
from shotcount.scoring.tallies import Tally, tally
from shotcount.scoring.views import tally_by_views
from shotcount.uncertainty.bootstrap import Resamples, resample
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import (
    DETECTION_METRICS,
    METRICS,
    bootstrap_metric,
    guessing,
    metric_rows,
    trials,
)
from shotcount.uncertainty.writing import percent

LABELS = ["rare", "some", "common"]
SAMPLES = np.repeat(np.arange(3), (6, 18, 48))  # the class of each sample
SIZES = list(product((6, 12, 24, 48), (1, 2, 4)))


def predict(right: float, biased: float = 0.0, folds: int = 3, seed: int = 0) -> pd.DataFrame:
    """Predictions of 6 seeds on 3 photos a sample; `biased`: towards the commonest class."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(len(SAMPLES)), 3)
    runs = []
    for s in range(6):
        fold = np.random.default_rng(s // folds).permutation(len(SAMPLES)) % folds
        own = np.flatnonzero(fold[sample] == s % folds)
        truth = SAMPLES[sample[own]]
        p = rng.dirichlet(np.ones(3), len(own))
        p[np.arange(len(own)), truth] += right
        p[:, 2] += biased
        facts = {"sample": [f"s{n:03d}" for n in sample[own]], "label": np.array(LABELS)[truth]}
        test = pd.DataFrame({"seed": s, "photo": own} | facts)
        runs.append(predictions_table(test, p / p.sum(axis=1, keepdims=True), LABELS))
    return pd.concat(runs, ignore_index=True)


def named(predictions: pd.DataFrame) -> np.ndarray:
    chosen = predictions[[f"p({label})" for label in LABELS]].to_numpy().argmax(axis=1)
    return np.array(LABELS)[chosen]


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_what_is_measured_is_scikit_learns_score(metric: str, folds: int) -> None:
    predictions = predict(0.4, 0.2, folds)
    made = tally(predictions, LABELS)
    assert made.folds == folds
    draws = resample(made.samples, [6], 50, np.random.default_rng(0), made.folds)[0]
    rows = metric_rows([made], METRICS[metric], draws)[0]
    assert rows[0] == pytest.approx(score(predictions, LABELS)[metric], abs=1e-12)
    assert rows[1:].std() > 0.005


def test_every_replicate_computes_the_metric_itself() -> None:
    predictions = predict(0.4, 0.2)
    made = tally(predictions, LABELS)
    rng = np.random.default_rng(1)
    draws = Resamples(rng.integers(0, 3, (9, 72)), (rng.dirichlet(np.ones(6), 9),))
    draws.samples[0, SAMPLES == 0] = 0  # a replicate that doesn't draw the rarest class
    result = {key: bootstrap_metric([made], m, draws)[0] for key, m in METRICS.items()}
    for r in range(9):
        weight = draws.samples[r, made.sample] * draws.seeds[0][r, made.seed]
        facts, drawn = (predictions["label"], named(predictions)), LABELS[r == 0 :]
        own = {"sample_weight": weight}
        assert result["accuracy"][r] == pytest.approx(metrics.accuracy_score(*facts, **own))
        recall, f1 = (
            score(*facts, labels=drawn, average="macro", **own)
            for score in (metrics.recall_score, metrics.f1_score)
        )
        assert result["balanced_accuracy"][r] == pytest.approx(recall)
        assert result["macro_f1"][r] == pytest.approx(f1)


def test_the_accuracy_of_a_tally_is_the_mean_of_hits() -> None:
    predictions = predict(0.4)
    hit = (named(predictions) == predictions["label"]).mean()
    rows = metric_rows([tally(predictions, LABELS)], METRICS["accuracy"], Resamples.once(72, 6))
    assert rows[0] == pytest.approx([hit, hit])


def test_guessing_is_always_naming_the_commonest_class() -> None:
    made = tally(predict(0.4), LABELS)
    levels = {key: guessing(made, metric) for key, metric in METRICS.items()}
    share = 48 / 72
    assert levels["accuracy"] == pytest.approx(share)
    assert levels["balanced_accuracy"] == pytest.approx(1 / 3)
    assert levels["macro_f1"] == pytest.approx(2 * share / (share + 1) / 3)


def test_all_right_is_as_certain_as_the_rarest_class_allows() -> None:
    made = tally(predict(10.0), LABELS)
    assert {key: trials(made, metric) for key, metric in METRICS.items()} == {
        "accuracy": 72, "balanced_accuracy": 18, "macro_f1": 18,
    }  # fmt: skip
    (learning,) = learn({"frozen": 10.0}, "balanced_accuracy")
    estimate = learning.judge(1 - learning.error[:, -1])
    assert (estimate.value, estimate.high) == (1, 1)
    assert estimate.low == pytest.approx(0.025 ** (1 / 18))


def test_params_offers_every_metric() -> None:
    offered = get_args(AnswerSettings.model_fields["metric"].annotation)
    assert offered == ("auto", *METRICS, *DETECTION_METRICS)


# ---- a study by each metric ---------------------------------------------------------


def make_study(
    strategies: dict[str, float], biased: dict[str, float]
) -> tuple[pd.DataFrame, dict[tuple[str, int, int], Tally]]:
    rows, tallies = [], {}
    for strategy, right in strategies.items():
        for n, k in SIZES:
            own = predict(right - 0.6 * (n * k) ** -0.5, biased.get(strategy, 0.0), seed=n * k)
            tallies[strategy, n, k] = tally(own, LABELS)
            cell = {"strategy": strategy, "samples": n, "angles": k, "photos": n * k}
            rows.append(cell | score(own, LABELS))
    return pd.DataFrame(rows), tallies


def learn(
    strategies: dict[str, float], metric: str, biased: dict[str, float] | None = None
) -> list[Learning]:
    scores, tallies = make_study(strategies, biased or {})
    rng = np.random.default_rng(0)
    return learn_all(scores, tallies, METRICS[metric], 200, rng)


def wanted(metric: str) -> AnswerSettings:
    return AnswerSettings(
        metric=metric, tolerance=0.01, target_accuracy="auto", cost_per_sample=1.0,
        cost_per_photo=0.1, cost_per_box=0.0, replicates=200, reference={},
    )  # fmt: skip


def answer(learnings: list[Learning], guessed: float = 0.1) -> Answer:
    unsettled: dict[str, list[str]] = {own.strategy: [] for own in learnings}
    return answer_study(learnings, guessed, wanted(learnings[0].metric.key), unsettled, 0.6)


def test_the_best_strategy_is_best_by_the_metric() -> None:
    strategies, biased = {"frozen": 0.4, "finetune": 0.3}, {"finetune": 0.5}
    by = {m: answer(learn(strategies, m, biased)) for m in ("accuracy", "balanced_accuracy")}
    assert by["accuracy"].strategy == "finetune"  # names the commonest class too often
    assert by["balanced_accuracy"].strategy == "frozen"
    scores = make_study(strategies, biased)[0]
    largest = scores[scores["photos"] == scores["photos"].max()].set_index("strategy")
    for metric, a in by.items():
        value = largest[metric]
        assert a.score.value == pytest.approx(value[a.strategy], abs=1e-12)
        lead = value[a.comparisons[0].better] - value[a.comparisons[0].worse]
        assert a.comparisons[0].lead.value == pytest.approx(lead, abs=1e-12)
        assert a.target == round(a.score.value + 0.01, 3)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_tables_and_words_name_the_metric(metric: str) -> None:
    strategies = {"frozen": 0.4, "finetune": 0.3}
    learnings, name = learn(strategies, metric), METRICS[metric].name
    a = answer(learnings)
    curve = with_intervals(make_study(strategies, {})[0], learnings)
    assert list(curve) == list(metrics_tables(metric)["curve"])
    assert (curve[f"{metric}_low"] < curve[metric]).all()
    seen, _ = tally_by_views(predict(0.4), LABELS, np.random.default_rng(0))
    views = as_table(
        [row for own in learnings for row in score_by_views(own, seen)],
        metric, metrics_tables(metric)["views"],
    )  # fmt: skip
    assert views[metric].between(views[f"{metric}_low"], views[f"{metric}_high"]).all()
    own = predict(0.4)
    right, test = hits(own, LABELS)[0], own.drop_duplicates("photo").sort_values("photo")
    results = details(learnings, a) | {"curve": curve, "views": views}
    results["confusion"] = confusion(own, LABELS)
    results |= parts(learnings, a, lambda *cell: right, test.assign(angle=""), 0)
    # A class's own accuracy is its recall, whatever the metric.
    text, _ = markdown(results, a, {}).split("## What to photograph next")
    assert f"With all 192 training photos frozen reached a {name} of " in text
    assert not re.search("(?<!balanced )accuracy", text, re.I)
    made = summary(results, a, {})
    assert made["frozen"][metric] == round(a.score.value, 4)
    assert {f"{metric}_low", f"sample_{metric}", "accuracy"} < set(made["frozen"])
    assert f"{metric}_lost" in made["answer"]
    assert "accuracy_low" not in made["frozen"]
    worse = dataclasses.replace(a, guessing=0.99)
    assert f"frozen reached a {name} of" in markdown(results, worse, {})


# ---- unequal classes ----------------------------------------------------------------


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """The predictions of a study whose classes have 6, 18 and 48 samples."""
    strategies, biased = {"frozen": 0.4, "finetune": 0.3}, {"finetune": 0.5}
    for strategy, right in strategies.items():
        scores, confusions = [], []
        for n, k in SIZES:
            cell = {"strategy": strategy, "samples": n, "angles": k, "photos": n * k}
            own = predict(right - 0.6 * (n * k) ** -0.5, biased.get(strategy, 0.0), seed=n * k)
            columns = prediction_columns(LABELS)
            tables.write(predictions_of(tmp_path / strategy, n, k), own.assign(**cell), columns)
            scores.append(cell | score(own, LABELS))
            confusions.append(confusion(own, LABELS).assign(**cell))
        tables.write(tmp_path / strategy / "tested", own[list(TESTED)], TESTED)
        tables.write(tmp_path / strategy / "scores.csv", pd.DataFrame(scores), SCORES)
        tables.write(tmp_path / strategy / "confusion.csv", pd.concat(confusions), CONFUSION)
    return tmp_path


def test_where_classes_are_unequal_balanced_accuracy_answers_too(evaluation: Path) -> None:
    def answer_by(metric: str) -> Answer:
        settings = wanted(metric)
        study = StudySettings(
            strategies=["frozen", "finetune"], samples=[1.0], angles=[1],
            frozen_grid=SizeSettings(samples=[], angles=[]), angle_order="spread", draws=6, seed=0,
        )  # fmt: skip
        labels = np.repeat(np.array(LABELS)[SAMPLES], 3)
        manifest = pd.DataFrame({"photo": range(3 * len(SAMPLES)), "label": labels, "angle": ""})
        scoring = scoring_for(LABELS, pd.DataFrame(columns=list(tables.BOXES)))
        unsettled: dict[str, list[str]] = {"frozen": [], "finetune": []}
        return study_results(evaluation, study, manifest, scoring, settings, unsettled, 0.6)[1]

    a = answer_by("accuracy")
    assert (a.strategy, a.imbalance) == ("finetune", 8)
    assert a.balanced == answer_by("balanced_accuracy")
    said = caution(a)[-1]
    assert said.startswith(
        "The commonest class has 8 times the samples of the rarest: by balanced accuracy, where "
        "every class counts the same, the best strategy would instead be frozen features, with "
    )
    e = a.balanced.score
    assert f"with {percent(e.value)} (95 % interval {100 * e.low:.1f} to " in said
    assert re.search("and (all 192 photos|.* angles? each) would (still|instead) be ", said)
    assert not any("commonest class has" in s for s in caution(a.balanced))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "would still be frozen features, with 80.0 % (95 % interval 70.0 to 90.0), and 60 "
         "samples from 2 angles each would still be enough."),
        ({"samples": 30}, "and 30 samples from 2 angles each would instead be enough."),
        ({"shown": False}, "60 samples from 2 angles each would instead be the best guess for"),
        ({"photos": Estimate(600, 600, 600)}, "and all 600 photos would still be needed."),
        ({"strategy": "scratch"}, "the best strategy would instead be training from scratch,"),
        ({"guessing": 0.75}, "and not shown to beat guessing (75.0 %)."),
    ],
)  # fmt: skip
def test_the_sentence_says_what_differs(changes: dict[str, object], said: str) -> None:
    (learning,) = learn({"frozen": 0.4}, "balanced_accuracy")
    enough = dataclasses.replace(
        answer([learning]).enough, samples=60, angles=2, photos=Estimate(120, 100, 600),
        largest=600, shown=True,
    )  # fmt: skip
    other = dataclasses.replace(
        answer([learning]), score=Estimate(0.8, 0.7, 0.9), enough=enough, guessing=0.5
    )
    fields = {field.name for field in dataclasses.fields(enough)}
    of_enough = {name: value for name, value in changes.items() if name in fields}
    changed = dataclasses.replace(
        other,
        enough=dataclasses.replace(enough, **of_enough),
        **{name: value for name, value in changes.items() if name not in fields},
    )
    assert said in caution(dataclasses.replace(other, balanced=changed))[-1]
