"""Average precision: as pycocotools computes it, in every bootstrap replicate."""

import contextlib
import io

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from shotcount.core.errors import UserError
from shotcount.core.tables import BOXES, CORNERS
from shotcount.findings.learning import Learning, learn_all
from shotcount.findings.parts import precision_by_class
from shotcount.scoring.detections import (
    DETECTIONS,
    average_precision,
    best_confidence,
    score_detections,
)
from shotcount.scoring.matching import MOST, Matches, match
from shotcount.uncertainty.bootstrap import Resamples, resample
from shotcount.uncertainty.metrics import (
    DETECTION_METRICS,
    bootstrap_metric,
    guessing,
    trials,
)

LABELS = ["bottle", "cap", "net"]
Case = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]  # detections, boxes, test
OWN = ["seed", "photo", "sample", "label", "score", *CORNERS]


def made(
    rng: np.random.Generator,
    scenes: int = 12,
    seeds: int = 2,
    folds: int = 1,
    detections: int = 8,
    crowds: float = 0.1,
    scores: int = 40,  # different ones: with few, many are equal
    good: float = 0.7,
) -> Case:
    """Scenes of two views with up to 5 objects; corners are quarters of px, so IoUs are exact."""
    boxes, found, test = [], [], []
    for photo in range(2 * scenes):
        count = rng.integers(0, 6)
        corner, side = rng.integers(0, 400, (count, 2)) / 4, rng.integers(40, 160, (count, 2)) / 4
        there = np.hstack([corner, corner + side])
        named = rng.integers(0, len(LABELS), count)
        boxes += [
            (photo, LABELS[n], *box, bool(rng.random() < crowds))
            for n, box in zip(named, there, strict=True)
        ]
        for seed in range(seeds):
            if photo // 2 % folds != seed % folds:
                continue
            test.append((seed, photo, f"s{photo // 2:03d}"))
            for score in rng.choice(scores, detections, replace=scores < detections):
                box, n = rng.integers(0, 400, 4) / 4, int(rng.integers(0, len(LABELS)))
                box[2:] += box[:2] + 1
                if count and rng.random() < good:
                    place = rng.integers(0, count)
                    box = there[place] + rng.integers(-24, 25, 4) / 4
                    box[2:] = np.maximum(box[2:], box[:2] + 1)
                    n = int(named[place])
                found.append((seed, photo, f"s{photo // 2:03d}", LABELS[n], score / 64, *box))
    return (
        pd.DataFrame(found, columns=OWN),
        pd.DataFrame(boxes, columns=list(BOXES)),
        pd.DataFrame(test, columns=["seed", "photo", "sample"]),
    )


def of_library(detections: pd.DataFrame, boxes: pd.DataFrame, test: pd.DataFrame) -> dict:
    """AP50, AP and AP75 by pycocotools; each photo that a seed tested is an image."""
    test = test.sort_values(["seed", "photo"])
    image = {key: n for n, key in enumerate(zip(test["seed"], test["photo"], strict=True))}
    there = test[["seed", "photo"]].merge(boxes, on="photo")

    def coco(rows: pd.DataFrame) -> COCO:
        annotations = [
            {
                "id": n + 1,
                "image_id": image[row.seed, row.photo],
                "category_id": LABELS.index(row.label),
                "bbox": [row.left, row.top, row.right - row.left, row.bottom - row.top],
                "area": (row.right - row.left) * (row.bottom - row.top),
                "iscrowd": int(getattr(row, "ignored", False)),
                "score": getattr(row, "score", 1.0),
            }
            for n, row in enumerate(rows.itertuples())
        ]
        made = COCO()
        made.dataset = {
            "images": [{"id": n} for n in image.values()],
            "categories": [{"id": n} for n in range(len(LABELS))],
            "annotations": annotations,
        }
        made.createIndex()
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(coco(there), coco(detections), "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][..., 0, -1]  # (thresholds, recalls, classes)

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else np.nan

    return {"ap50": mean(precision[0]), "ap": mean(precision), "ap75": mean(precision[5])}


def value(matches: Matches, key: str) -> float:
    once = Resamples.once(matches.samples, matches.seeds)
    with np.errstate(invalid="ignore"):
        return float(bootstrap_metric([matches], DETECTION_METRICS[key], once)[0, 0])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"seeds": 1, "scenes": 40},
        {"seeds": 5, "folds": 5, "scenes": 30},
        {"scores": 4},
        {"scores": 1, "detections": 20},
        {"crowds": 0.5},
        {"crowds": 0.0, "good": 0.95},
        {"good": 0.0},
        {"detections": 400, "scenes": 3, "good": 0.9},
        {"detections": 0},
        {"scenes": 1, "seeds": 1},
    ],
    ids=str,
)
def test_average_precision_is_pycocotools(settings: dict) -> None:
    rng = np.random.default_rng(len(str(settings)))
    for _ in range(3):
        case = made(rng, **settings)
        matches, expected = match(*case, LABELS), of_library(*case)
        for key in ("ap50", "ap"):
            assert value(matches, key) == pytest.approx(expected[key], abs=1e-9, nan_ok=True)
        if not np.isnan(expected["ap"]):
            scores = score_detections(matches, confidence=0.3)
            for key, number in expected.items():
                assert scores[key] == pytest.approx(number, abs=1e-9)


def test_without_objects_there_is_no_average_precision() -> None:
    detections, boxes, test = made(np.random.default_rng(0))
    for none in (boxes[:0], boxes.assign(ignored=True)):
        assert np.isnan(of_library(detections, none, test)["ap50"])
        assert np.isnan(value(match(detections, none, test, LABELS), "ap50"))


def test_a_class_without_objects_is_not_in_the_mean() -> None:
    detections, boxes, test = made(np.random.default_rng(0))
    two = boxes[boxes["label"] != "net"]
    expected = of_library(detections, two, test)["ap50"]
    matches = match(detections, two, test, LABELS)
    assert value(matches, "ap50") == pytest.approx(expected, abs=1e-9)
    assert list(matches.samples_by_class() > 0) == [True, True, False]


def test_only_the_best_hundred_of_a_photo_and_class_count() -> None:
    case = made(np.random.default_rng(0), scenes=3, detections=600, scores=64)
    matches = match(*case, LABELS)
    assert len(matches.score) < len(case[0])
    of_each = pd.Series(list(zip(matches.image, matches.named, strict=True))).value_counts()
    assert of_each.max() == MOST


def test_boxes_of_other_classes_are_left_out() -> None:
    detections, boxes, test = made(np.random.default_rng(3))
    more = pd.concat([boxes, boxes.assign(label="boat", ignored=True)])
    assert (
        match(detections, more, test, LABELS).hit == match(detections, boxes, test, LABELS).hit
    ).all()


def test_a_detection_in_a_photo_that_its_seed_did_not_test_is_refused() -> None:
    detections, boxes, test = made(np.random.default_rng(0), seeds=2, folds=2)
    moved = detections.assign(seed=1 - detections["seed"])
    with pytest.raises(UserError, match=r"seed \d detected .* in photo \d+, but did not test"):
        match(moved, boxes, test, LABELS)
    with pytest.raises(UserError, match="detected 'boat' in photo .* knows no such class"):
        match(detections.assign(label="boat"), boxes, test, LABELS)


# ---- replicates -----------------------------------------------------------------------


def repeated(case: Case, times: np.ndarray) -> Case:
    """Each image of the test split as often as `times` (seeds, samples) says, side by side."""
    detections, boxes, test = case
    rows: list[list[pd.DataFrame]] = [[], [], []]
    sample = {name: n for n, name in enumerate(sorted(test["sample"].unique()))}
    for image in test.sort_values(["seed", "photo"]).itertuples():
        found = detections[
            (detections["seed"] == image.seed) & (detections["photo"] == image.photo)
        ]
        there = boxes[boxes["photo"] == image.photo]
        for _ in range(times[image.seed, sample[image.sample]]):
            copy = {"photo": len(rows[2])}
            rows[0].append(found.assign(seed=0, **copy))
            rows[1].append(there.assign(**copy))
            rows[2].append(pd.DataFrame([{"seed": 0, "sample": image.sample, **copy}]))
    return tuple(pd.concat(own, ignore_index=True) for own in rows)


@pytest.mark.parametrize("folds", [1, 3])
def test_a_replicate_is_a_study_with_its_images_repeated(folds: int) -> None:
    """Equal scores are of different images: copies of equal ones in an image would alternate."""
    rng = np.random.default_rng(folds)
    case = made(rng, scenes=9, seeds=3, folds=folds)
    matches = match(*case, LABELS)
    draws = Resamples(rng.integers(0, 3, (4, 9)), (rng.integers(1, 3, (4, 3)) * 1.0,))
    replicates = {
        key: bootstrap_metric([matches], metric, draws)[0]
        for key, metric in DETECTION_METRICS.items()
    }
    for r, (samples, seeds) in enumerate(zip(draws.samples, draws.seeds[0], strict=True)):
        again = repeated(case, np.outer(seeds, samples).astype(int))
        expected, anew = of_library(*again), match(*again, LABELS)
        for key, found in replicates.items():
            assert found[r] == pytest.approx(expected[key], abs=1e-9)
            assert found[r] == pytest.approx(value(anew, key), abs=1e-12)


def test_replicates_in_pieces_are_replicates_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    matches = match(*made(np.random.default_rng(0)), LABELS)
    draws = resample(matches.samples, [matches.seeds], 50, np.random.default_rng(0))[0]
    at_once = bootstrap_metric([matches], DETECTION_METRICS["ap"], draws)
    monkeypatch.setattr("shotcount.scoring.detections.STEP", 1)
    assert (bootstrap_metric([matches], DETECTION_METRICS["ap"], draws) == at_once).all()


def test_pairs_in_pieces_are_pairs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case = made(np.random.default_rng(0), detections=30)
    at_once = match(*case, LABELS).hit
    monkeypatch.setattr("shotcount.scoring.matching.PAIRS", 7)
    assert (match(*case, LABELS).hit == at_once).all()


def test_the_order_of_tables_matters_only_where_scores_are_equal() -> None:
    detections, boxes, test = made(np.random.default_rng(0), scores=64)
    hit = match(detections, boxes, test, LABELS).hit
    rng = np.random.default_rng(1)
    shuffled = [table.sample(frac=1, random_state=rng) for table in (detections, boxes, test)]
    assert (match(*shuffled, LABELS).hit == hit).all()


# ---- what a study asks ----------------------------------------------------------------


def test_matches_know_samples_seeds_and_folds() -> None:
    detections, boxes, test = made(np.random.default_rng(0), scenes=12, seeds=3, folds=3)
    matches = match(detections[:0], boxes, test, LABELS)
    assert (matches.samples, matches.seeds, matches.folds) == (12, 3, 3)
    assert match(*made(np.random.default_rng(0)), LABELS).folds == 1
    held = boxes[~boxes["ignored"]].assign(scene=boxes["photo"] // 2)
    held = held.groupby("label")["scene"].nunique()
    assert list(matches.samples_by_class()) == list(held[LABELS])
    assert matches.imbalance == held.max() / held.min()


def test_nothing_is_detected_by_guessing() -> None:
    matches = match(*made(np.random.default_rng(0)), LABELS)
    for metric in DETECTION_METRICS.values():
        assert value(matches, metric.key) > 0.05
        assert guessing(matches, metric) == 0


def test_a_scene_of_several_classes_is_one_trial() -> None:
    detections, boxes, test = made(np.random.default_rng(0), scenes=40, crowds=0)
    matches = match(detections, boxes, test, LABELS)
    assert 3 * matches.samples_by_class().min() > 40
    assert trials(matches, DETECTION_METRICS["ap50"]) == 40
    rare = boxes[(boxes["label"] != "net") | (boxes["photo"] < 10)]
    held = match(detections, rare, test, LABELS).samples_by_class()
    assert trials(match(detections, rare, test, LABELS), DETECTION_METRICS["ap50"]) == 3 * held[2]


def learn(key: str = "ap50") -> tuple[Learning, Case]:
    rows, matches = [], {}
    for n, good in ((10, 0.4), (20, 0.6), (40, 0.8)):
        case = made(np.random.default_rng(n), scenes=30, seeds=3, folds=3, good=good)
        matches["frozen", n, 1] = match(*case, LABELS)
        cell = {"strategy": "frozen", "samples": n, "angles": 1, "photos": n}
        rows.append(cell | score_detections(matches["frozen", n, 1], 0.5))
    learnings = learn_all(
        pd.DataFrame(rows), matches, DETECTION_METRICS[key], 200, np.random.default_rng(0)
    )
    assert list(1 - learnings[0].error[0]) == pytest.approx([row[key] for row in rows], abs=1e-12)
    return learnings[0], case


@pytest.mark.parametrize("key", DETECTION_METRICS)
def test_a_learning_curve_of_detections_has_intervals(key: str) -> None:
    learning, _ = learn(key)
    for cell in learning.error.T:
        e = learning.judge(1 - cell)
        assert 0 <= e.low < e.value < e.high <= 1
        assert 0.008 < cell[1:].std() < 0.1


def test_each_class_has_its_own_precision_with_an_interval() -> None:
    learning, (detections, boxes, test) = learn()
    rows = precision_by_class(learning, learning.tallies[learning.largest])
    assert {row.label for row in rows} == set(LABELS)
    assert [row.score.value for row in rows] == sorted(row.score.value for row in rows)
    for row in rows:
        own = boxes[boxes["label"] == row.label]
        expected = of_library(detections, own, test)["ap50"]
        assert row.score.value == pytest.approx(expected, abs=1e-9)
        assert row.score.low < row.score.value < row.score.high
        assert row.test_objects == np.count_nonzero(~own["ignored"])
        assert row.test_samples == own.loc[~own["ignored"], "photo"].floordiv(2).nunique()


def test_the_interval_of_a_rare_class_is_as_wide_as_its_few_scenes_say() -> None:
    learning, (detections, boxes, test) = learn()
    rare = boxes[(boxes["label"] != "net") | (boxes["photo"] < 6)]
    rows = precision_by_class(learning, match(detections, rare, test, LABELS))
    widths = {row.label: row.score.high - row.score.low for row in rows}
    assert widths["net"] > 2 * max(widths["bottle"], widths["cap"])
    none = boxes[boxes["label"] != "net"]
    rows = precision_by_class(learning, match(detections, none, test, LABELS))
    assert {row.label for row in rows} == {"bottle", "cap"}


# ---- counts and confidence ------------------------------------------------------------


def test_counts_are_compared_photo_by_photo() -> None:
    boxes = [(0, "cap", 0, 0, 10, 10, False), (0, "cap", 20, 0, 30, 10, False),
             (0, "net", 40, 0, 60, 20, True), (1, "cap", 0, 0, 10, 10, False)]  # fmt: skip
    found = [
        (0, 0, "a", "cap", 0.9, 0, 0, 10, 10),
        (0, 0, "a", "net", 0.9, 40, 0, 50, 10),  # in an ignored box
        (0, 1, "b", "cap", 0.8, 50, 50, 60, 60),
        (0, 1, "b", "cap", 0.5, 0, 0, 10, 10),
        (0, 1, "b", "net", 0.4, 0, 0, 10, 10),  # below the confidence
    ]
    test = pd.DataFrame({"seed": 0, "photo": [0, 1, 2], "sample": ["a", "b", "c"]})
    own = pd.DataFrame(found, columns=OWN), pd.DataFrame(boxes, columns=list(BOXES)), test
    scores = score_detections(match(*own, LABELS), confidence=0.5)
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 3)
    differences = [-1, 1, 0]
    assert scores["count_bias"] == pytest.approx(np.mean(differences))
    assert scores["count_sd"] == pytest.approx(np.std(differences))


@pytest.mark.parametrize("scores", [6, 64])
def test_the_best_confidence_has_the_highest_f1(scores: int) -> None:
    matches = match(*made(np.random.default_rng(0), scores=scores), LABELS)

    def f1(confidence: float) -> float:
        made = score_detections(matches, confidence)
        return 2 / (1 / made["precision"] + 1 / made["recall"]) if made["recall"] else 0.0

    every = np.unique(matches.score)
    best = best_confidence(matches)
    assert best in every
    assert f1(best) == pytest.approx(max(map(f1, every)), abs=1e-12)
    assert f1(best) > max(f1(every[0]), f1(every[-1]))
    assert best_confidence(matches.guess()) == 1


def test_corners_are_columns_of_both_tables() -> None:
    assert set(CORNERS) <= set(BOXES) and set(CORNERS) <= set(DETECTIONS)


def test_precision_is_of_each_class() -> None:
    matches = match(*made(np.random.default_rng(0)), LABELS)
    once = np.ones((matches.samples, 1)), np.ones((1, matches.seeds))
    of_each = average_precision(matches, [0])(*once)[:, 0]
    alone = [value(matches.of_class(n), "ap50") for n in range(3)]
    assert list(of_each) == pytest.approx(alone, abs=1e-12)
