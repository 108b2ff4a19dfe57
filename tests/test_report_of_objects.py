"""The report of a study of photos with boxes: its words, tables, numbers and page."""

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest
from detected import FOLDS, LABELS, STRATEGIES, make_boxes, make_study
from test_page import Reader, make_page

from shotcount.core.tables import LEFT_OUT
from shotcount.findings.answer import Answer
from shotcount.findings.tables import metrics_tables
from shotcount.report import numbers
from shotcount.report.charts import draw_all
from shotcount.report.sections import markdown, sections
from shotcount.report.words import headline, sentences
from shotcount.scoring.faults import KINDS
from shotcount.uncertainty.intervals import Estimate

Made = tuple[dict[str, pd.DataFrame], Answer]
# Words of a study of classes, which mean nothing here.
FOREIGN = r"\b(samples?|angles?|classifiers?|guess\w*|accurac\w+|test photos right|nats)\b"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def html(made: Made, tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_page(tmp_path_factory.mktemp("page"), made=made, map_size=0)


# ---- words --------------------------------------------------------------------------


def test_the_headline_gives_the_average_precision_with_its_interval(made: Made) -> None:
    _, a = made
    s = a.score
    assert headline(a)[1].startswith(
        f"Use fine-tuning: with all 64 photos it got an AP50 of {100 * s.value:.1f} % (95 % "
        f"interval {100 * s.low:.1f} to {100 * s.high:.1f}), "
    )


def test_what_finds_nothing_is_no_answer(made: Made) -> None:
    results, a = made
    blind = dataclasses.replace(a, score=Estimate(0.01, 0.0, 0.02))
    (said,) = sentences(blind)
    assert said.startswith("No answer: with all 64 training photos finetune reached an AP50 of 1.0")
    assert said.endswith(", not shown to find anything.")
    assert "since no object is shown to be found." in markdown(results, blind, {})


def test_the_plan_counts_the_boxes_to_draw_in_all_photos(made: Made) -> None:
    _, a = made
    objects = len(make_boxes(60)) / 120
    assert a.objects_a_photo == pytest.approx(objects)
    assert a.plan is not None
    boxes = a.in_all(a.plan.samples) * a.plan.angles * objects
    assert sentences(a)[3].endswith(
        f"photograph {a.in_all(a.plan.samples)} scenes in all and draw some {boxes:,.0f} boxes "
        f"({objects:.1f} a photo)."
    )


def test_a_box_costs_what_the_settings_say(tmp_path: Path, made: Made) -> None:
    _, free = made
    _, dear = make_study(tmp_path, {"finetune": STRATEGIES["finetune"]}, cost_per_box=1.0)
    assert free.plan is not None
    assert dear.plan is not None
    each = 1.0 + dear.plan.angles * (0.1 + dear.objects_a_photo)
    assert dear.plan.cost == pytest.approx(dear.plan.samples * each)
    assert dear.plan.cost > free.plan.cost


def test_the_report_speaks_of_scenes_and_views_alone(made: Made, html: str) -> None:
    results, a = made
    text = markdown(results, a, {"test_samples": 60, "objects": 300})
    assert "Data: test scenes 60, objects 300." in text
    assert not re.search(FOREIGN, text, re.I)
    read = Reader(html)
    shown = " ".join([read.text, *(image["alt"] for image in read.each("img"))])
    shown = re.sub("anchor accuracy", "", shown, flags=re.I)
    assert not re.search(FOREIGN, shown, re.I)


def test_one_class_has_no_worst_and_no_best(tmp_path: Path) -> None:
    results, a = make_study(tmp_path, {"finetune": 0.9}, scenes=30, labels=["bottle"])
    (rules,) = sections(results, a, str)["next"].said
    assert rules.startswith("Rules of thumb")


# ---- tables -------------------------------------------------------------------------


def test_tables_without_rows_are_left_out_and_those_of_objects_are_there(made: Made) -> None:
    results, a = made
    assert list(sections(results, a, str)) == [
        "sizes", "strategies", "scores", "curves", "budgets", "next", "faults",
    ]  # fmt: skip


def test_classes_are_told_by_their_own_average_precision(made: Made) -> None:
    results, a = made
    section = sections(results, a, str)["next"]
    assert section.heads == ["class", "test scenes", "test objects", "AP50 in %"]
    assert {row[0] for row in section.rows} == set(LABELS)
    boxes = make_boxes(60)
    counts = {row[0]: (int(row[1]), int(row[2])) for row in section.rows}
    for label, own in boxes.groupby("label"):
        assert counts[label] == ((own["photo"] // 2).nunique(), len(own))
    values = [float(row[3].split()[0]) for row in section.rows]
    assert values == sorted(values)
    low, high = section.rows[0][0], section.rows[-1][0]
    assert f"the AP50 of finetune is lowest for {low}, {values[0]} % (" in section.said[1]
    assert f"highest for {high}, {values[-1]} % (" in section.said[1]


def test_scores_stand_side_by_side(made: Made) -> None:
    results, a = made
    section = sections(results, a, str)["scores"]
    assert section.heads == ["score", *STRATEGIES]
    rows = {name: row for name, *row in section.rows}
    largest = results["curve"].query("photos == 64").set_index("strategy")
    for place, strategy in enumerate(STRATEGIES):
        own = largest.loc[strategy]
        assert rows["AP50 in %"][place].startswith(
            f"{100 * own['ap50']:.1f} ({100 * own['ap50_low']:.1f}–"
        )
        for key, name in (("ap", "AP"), ("ap75", "AP75"), ("recall", "recall")):
            assert rows[f"{name} in %"][place] == f"{100 * own[key]:.1f}"
        assert rows["count"][place] == f"{own['count_bias']:+.2f} ± {own['count_sd']:.2f}"


def test_the_costliest_kind_of_fault_comes_first(made: Made) -> None:
    results, a = made
    section = sections(results, a, str)["faults"]
    own = results["confusion"].query("strategy == 'finetune' and photos == 64").set_index("kind")
    assert {row[0] for row in section.rows} == set(KINDS)
    assert [int(row[1]) for row in section.rows] == list(
        own.loc[[r[0] for r in section.rows], "faults"]
    )
    lost = [float(row[2]) for row in section.rows]
    assert lost == sorted(lost, reverse=True)
    assert lost[0] == pytest.approx(100 * own["ap50_lost"].max(), abs=0.05)


def test_the_results_have_the_columns_of_metrics(made: Made) -> None:
    results, a = made
    columns = metrics_tables(a.metric.key, finds=True)
    assert {name: set(table) for name, table in results.items()} == {
        name: set(table) for name, table in columns.items()
    }


# ---- numbers ------------------------------------------------------------------------


def test_summary_has_the_scores_of_detectors(made: Made) -> None:
    results, a = made
    summary = numbers.summary(results, a, {})
    assert list(summary["finetune"]) == [
        "ap50", "ap50_low", "ap50_high", "ap", "ap75", "confidence", "precision", "recall",
        "count_bias", "count_sd", "seeds", "redundancy", "redundancy_low", "redundancy_high",
        "settled",
    ]  # fmt: skip
    assert summary["finetune"]["ap50"] == round(a.score.value, 4)
    assert summary["finetune"]["seeds"] == FOLDS
    assert summary["answer"]["ap50"] == round(a.score.value, 4)


def test_objects_are_facts_of_the_data_only_where_there_are_boxes() -> None:
    photos = pd.DataFrame({"photo": [0, 1], "sample": ["a", "b"]})
    left_out = pd.DataFrame(columns=list(LEFT_OUT)).astype(LEFT_OUT)
    boxes = make_boxes(1)
    assert len(boxes) > 1
    ignored = boxes.assign(ignored=boxes.index == 0)
    with_boxes, without = (
        numbers.facts(photos, left_out, photos, own, "0a" * 32) for own in (ignored, boxes[:0])
    )
    assert with_boxes["objects"] == len(boxes) - 1
    assert "objects" not in without
    assert without["manifest_sha256"] == "0a" * 6


# ---- charts and page ----------------------------------------------------------------


def test_charts_are_labelled_by_the_metric_scenes_and_views(made: Made) -> None:
    results, a = made
    drawn = draw_all(results, {}, a)
    axes = drawn["accuracy_vs_size"].axes[0]
    assert axes.get_ylabel() == "test AP50 (photos of unseen scenes)"
    written = {text.get_text() for text in axes.texts}
    assert {"4 scenes", "8 scenes", "16 scenes", "1 view", "2 views"} <= written
    titles = [
        drawn[name].texts[0].get_text() for name in ("accuracy_vs_size", "samples_and_angles")
    ]
    assert titles[0].startswith("Use fine-tuning; ")
    assert not re.search(FOREIGN, " ".join([*written, *titles]), re.I)
    first = drawn["samples_and_angles"].axes[0]
    assert (first.get_xlabel(), first.get_ylabel()) == ("training scenes", "views of each scene")
    labels = [axes.get_ylabel() for axes in drawn["training_curves"].axes]
    assert [label for label in labels if label] == ["validation loss", "validation anchor accuracy"]


def test_the_chart_of_views_says_why_it_is_empty(made: Made) -> None:
    results, a = made
    figure = draw_all(results, {}, a)["views_at_test_time"]
    assert figure.axes == []
    (text,) = figure.texts
    assert "each view of a scene shows its objects in other places" in text.get_text()


def test_the_page_has_the_faults_in_place_of_a_confusion_matrix(html: str) -> None:
    read = Reader(html)
    for part in (
        "AP50 by size", "Scores with all training photos", "The detector and its mistakes",
        "Faults of finetune with all training photos", "found as", "More scenes or more views?",
        "less than 31 % sure of", "may lack its box", "got an AP50 of", "Splits are by scene;",
    ):  # fmt: skip
        assert part in read.text, part
    assert "confused" not in read.text
    assert "no heat maps" not in read.text
    assert len([i for i in read.each("img") if i["src"].startswith("data:image/svg")]) == 3
    assert "<b>cap</b>" in read.text  # as a name
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert {a["href"][1:] for a in read.each("a") if a["href"].startswith("#")} <= set(ids)


def test_the_page_does_without_mistakes_and_suspects(made: Made, tmp_path: Path) -> None:
    text = Reader(make_page(tmp_path, made=made, mistakes=0, suspects=0)).text
    assert "Every object in the test photos was found, and nothing else." in text
    assert "No object seems to lack its box." in text


def test_a_missed_object_has_no_confidence(made: Made, tmp_path: Path) -> None:
    text = Reader(make_page(tmp_path, made=made, sure=0.0, mistakes=1, map_size=0)).text
    assert "0.0 % sure" not in text
