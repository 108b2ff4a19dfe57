from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shotcount.core import tables
from shotcount.scoring import scores
from shotcount.scoring.predictions import (
    hits,
    prediction_columns,
    predictions_table,
    probability,
)
from shotcount.scoring.views import right_by_views

CLASSES = ["plastic", "stone", "wood"]


def predict(confidence: float, wrong: int = 0, seeds: int = 2) -> pd.DataFrame:
    """Predictions of 6 samples x 5 photos; each seed gets the first `wrong` samples wrong."""
    rows = []
    for seed in range(seeds):
        for sample in range(6):
            for angle in range(5):
                truth = sample % 3
                named = (truth + 1) % 3 if sample < wrong else truth
                p = np.full(3, (1 - confidence) / 2)
                p[named] = confidence
                rows.append(
                    {
                        "strategy": "frozen",
                        "samples": 3,
                        "angles": 2,
                        "photos": 6,
                        "seed": seed,
                        "photo": 10 * sample + angle,
                        "sample": f"s{sample}",
                        "label": CLASSES[truth],
                        **dict(zip(map(probability, CLASSES), p, strict=True)),
                    }
                )
    return pd.DataFrame(rows)


def score(predictions: pd.DataFrame) -> dict[str, float]:
    return scores.score(predictions, CLASSES)


def test_perfect_predictions_score_perfectly() -> None:
    result = score(predict(0.9))
    assert (result["accuracy"], result["balanced_accuracy"], result["macro_f1"]) == (1, 1, 1)
    assert result["log_loss"] == pytest.approx(-np.log(0.9))
    assert result["seeds"] == 2


def test_mistakes_are_counted_by_photo() -> None:
    result = score(predict(0.9, wrong=2))
    assert result["accuracy"] == pytest.approx(4 / 6)
    assert result["balanced_accuracy"] == pytest.approx((0.5 + 0.5 + 1) / 3)


def test_confusion_counts_photos_of_all_seeds_and_has_the_pairs_that_occur() -> None:
    table = scores.confusion(predict(0.9, wrong=1), CLASSES).set_index(["actual", "predicted"])
    counts = table["test_photos"]
    assert len(counts) == 4
    assert counts["plastic", "stone"] == 5
    assert counts["plastic", "plastic"] == 5
    assert counts["wood", "wood"] == 10
    assert counts.sum() == 30


def test_hits_do_not_depend_on_the_order_of_rows() -> None:
    predictions = predict(0.9, wrong=2)
    correct, samples = hits(predictions, CLASSES)
    shuffled = hits(predictions.sample(frac=1, random_state=0), CLASSES)
    assert np.array_equal(correct, shuffled[0])
    assert list(samples) == list(shuffled[1])
    assert correct.shape == (2, 30)
    assert not correct[:, :10].any()
    assert correct[:, 10:].all()


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    confidence = np.repeat([0.95, 0.55], 100)
    correct = np.arange(200) % 100 < np.repeat([95, 35], 100)
    assert scores.calibration_error(confidence, correct) == pytest.approx(0.1)
    assert scores.calibration_error(np.ones(4), np.ones(4, dtype=bool)) == 0
    assert score(predict(0.9))["ece"] == pytest.approx(0.1)


@pytest.mark.filterwarnings("error")
def test_hundreds_of_classes_give_small_tables_and_no_warnings(tmp_path: Path) -> None:
    labels, rng = [f"class {n:03d}" for n in range(300)], np.random.default_rng(0)
    truth = np.repeat(np.arange(300), 4)
    names = np.array(labels)[truth]
    photos = pd.DataFrame({"seed": truth % 3, "photo": np.arange(1200), "label": names})
    photos = photos.assign(sample=photos["photo"].astype(str))
    p = rng.dirichlet(np.full(300, 0.05), 1200)
    p[np.arange(1200), truth] += 0.15
    p /= p.sum(axis=1, keepdims=True)
    cell = {"strategy": "frozen", "samples": 300, "angles": 1, "photos": 300}
    run = pd.concat(
        predictions_table(own, p[own["photo"]], labels) for _, own in photos.groupby("seed")
    ).assign(**cell)
    tables.write(tmp_path / "p", run, prediction_columns(labels))
    again = tables.read(tmp_path / "p", prediction_columns(labels))  # six digits of each
    results, exact = scores.score(again, labels), scores.score(run, labels)
    assert results == pytest.approx(exact, rel=1e-5)
    assert 0.2 < results["accuracy"] < 0.8
    table = scores.confusion(again, labels)
    assert 300 < len(table) < 1200
    assert (table["test_photos"] > 0).all()
    assert table["test_photos"].sum() == pytest.approx(1200)
    assert list(table["actual"].unique()) == labels
    right = table.loc[table["actual"] == table["predicted"], "test_photos"]
    assert right.sum() == pytest.approx(1200 * results["accuracy"])


def test_averaging_views_mends_photos_that_mislead() -> None:
    predictions = predict(0.9)
    columns = [probability(label) for label in CLASSES]
    misled = predictions["photo"] % 10 == 0  # one of five angles names the next class, less surely
    swapped = np.roll(predictions.loc[misled, columns].to_numpy(), 1, axis=1)
    predictions.loc[misled, columns] = 0.6 * swapped + 0.4 / 3
    rng = np.random.default_rng(0)
    right, samples = right_by_views(predictions, CLASSES, rng, orders=400)
    assert right.shape == (5, 2, 6)
    assert list(samples) == [f"s{i}" for i in range(6)]
    by_views = right.mean(axis=(1, 2))
    assert by_views[0] == pytest.approx(0.8, abs=0.02)
    assert by_views[1] > 0.95
    assert by_views[-1] == 1
    shuffled = predictions.sample(frac=1, random_state=0)
    again, _ = right_by_views(shuffled, CLASSES, np.random.default_rng(0), orders=400)
    assert np.array_equal(
        again, right_by_views(predictions, CLASSES, np.random.default_rng(0), 400)[0]
    )


@pytest.mark.parametrize(("samples", "views"), [(["s3"], 5), (["s1", "s2", "s3", "s4"], 1)])
def test_views_are_as_many_as_most_samples_have(samples: list[str], views: int) -> None:
    predictions = predict(0.9, wrong=1)
    further = predictions["sample"].isin(samples) & (predictions["photo"] % 10 > 0)
    right, _ = right_by_views(predictions[~further], CLASSES, np.random.default_rng(0), orders=3)
    assert right.shape == (views, 2, 6)
    assert (right[:, :, 0] == 0).all()
    assert (right[:, :, 1:] == 1).all()


def test_a_sample_with_fewer_photos_is_judged_by_all_that_it_has() -> None:
    predictions = predict(0.9)
    columns = [probability(label) for label in CLASSES]
    first = predictions["photo"] == 30  # of s3: misled, more surely than the second is right
    predictions.loc[first, columns] = [0.005, 0.99, 0.005]
    fewer = predictions[~((predictions["sample"] == "s3") & (predictions["photo"] > 31))]
    right, _ = right_by_views(fewer, CLASSES, np.random.default_rng(0), orders=200)
    one, *more = right[:, 0, 3]
    assert one == pytest.approx(0.5, abs=0.1)
    assert more == [0, 0, 0, 0]
    assert (right[:, :, [0, 1, 2, 4, 5]] == 1).all()
