"""Accuracy by class and by angle, gains by class, rules of thumb: on studies made to order."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from shotcount.findings.answer import Answer, answer_study
from shotcount.findings.learning import Learning, learn_all
from shotcount.findings.parts import Hits, accuracy_by_angle, accuracy_by_class, gains_by_class
from shotcount.findings.plan import Rule, rules_of_thumb
from shotcount.findings.settings import AnswerSettings
from shotcount.findings.study import details, parts
from shotcount.findings.tables import metrics_tables
from shotcount.report.next import angle_table, class_table, what_next
from shotcount.report.numbers import next_class
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.metrics import METRICS
from shotcount.uncertainty.writing import escaped

Cell = tuple[str, int, int]
WANTED = AnswerSettings(
    metric="accuracy", tolerance=0.01, target_accuracy=0.9, cost_per_sample=1.0, cost_per_photo=0.1,
    cost_per_box=0.0, replicates=300, reference={},
)  # fmt: skip


def make_photos(samples: Mapping[str, int], angles: int = 5) -> pd.DataFrame:
    """Return the test photos of so many samples a class, each from the same angles."""
    rows = [
        {"label": label, "sample": f"{label}/{n}", "angle": f"{angle:02d}"}
        for label, count in samples.items()
        for n in range(count)
        for angle in range(angles)
    ]
    return pd.DataFrame(rows)


def make_hits(
    photos: pd.DataFrame, accuracy: np.ndarray | float, seeds: int = 3, draw: int = 0
) -> np.ndarray:
    """Draw which photos are right; some are hard for all cells that have the same `draw`."""
    difficulty = np.random.default_rng(draw).random((seeds, len(photos)))
    return (difficulty < accuracy).astype(np.float32)


def in_folds(right: np.ndarray, photos: pd.DataFrame) -> np.ndarray:
    """Let each seed test its own fold of the samples."""
    fold = pd.factorize(photos["sample"])[0] % len(right)
    return np.where(fold == np.arange(len(right))[:, None], right, np.nan).astype(np.float32)


def of(hits: dict[Cell, np.ndarray]) -> Hits:
    return lambda *cell: hits[cell]


def learn(hits: dict[Cell, np.ndarray], photos: pd.DataFrame) -> list[Learning]:
    scores = pd.DataFrame(
        [
            {"strategy": s, "samples": n, "angles": k, "photos": n * k, "seeds": len(right)}
            for (s, n, k), right in hits.items()
        ]
    )
    labels = sorted(photos["label"].unique())
    tallies = {cell: tally_named(right, photos, labels) for cell, right in hits.items()}
    rng = np.random.default_rng(0)
    return learn_all(scores, tallies, METRICS["accuracy"], WANTED.replicates, rng)


def tally_named(right: np.ndarray, photos: pd.DataFrame, labels: list[str]) -> Tally:
    """Tally hits; what is wrong is named as the next class."""
    seed, photo = np.nonzero(~np.isnan(right))
    actual = pd.Index(labels).get_indexer(photos["label"])[photo]
    named = np.where(right[seed, photo] == 1, actual, (actual + 1) % len(labels))
    sample = pd.factorize(photos["sample"], sort=True)[0][photo]
    return Tally(seed, sample, actual, named, np.ones(len(seed), np.uint8), len(labels))


def analyse(
    hits: dict[Cell, np.ndarray], photos: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], Answer]:
    learnings = learn(hits, photos)
    unsettled: dict[str, list[str]] = {own.strategy: [] for own in learnings}
    count = photos["label"].nunique()
    answer = answer_study(learnings, 1 / count, WANTED, unsettled, 0.65)
    return details(learnings, answer) | parts(learnings, answer, of(hits), photos, 0), answer


def said(hits: dict[Cell, np.ndarray], photos: pd.DataFrame) -> list[str]:
    return what_next(*analyse(hits, photos), str)


# ---- classes ------------------------------------------------------------------------


def test_accuracy_of_a_class_is_that_of_its_photos_with_an_interval_of_its_samples() -> None:
    photos = make_photos({"cup": 40, "shell": 10})
    right = make_hits(photos, np.where(photos["label"] == "cup", 0.9, 0.4))
    hits = {("frozen", 50, 5): right}
    shell, cup = accuracy_by_class(learn(hits, photos)[0], of(hits), photos, seed=0)
    assert (shell.label, shell.test_samples, shell.test_photos) == ("shell", 10, 50)
    assert (cup.label, cup.test_samples) == ("cup", 40)
    assert shell.accuracy.value == pytest.approx(right[:, photos["label"] == "shell"].mean())
    assert shell.accuracy.low < shell.accuracy.value < shell.accuracy.high
    assert np.ptp([shell.accuracy.low, shell.accuracy.high]) > np.ptp(
        [cup.accuracy.low, cup.accuracy.high]
    )


@pytest.mark.parametrize("folds", [False, True])
def test_the_class_that_gained_comes_first(folds: bool) -> None:
    photos = make_photos({"cup": 30, "net": 30, "shell": 30})
    low = make_hits(photos, np.where(photos["label"] == "net", 0.5, 0.8))
    high = make_hits(photos, 0.8)  # cup and shell: the same photos are right
    if folds:
        low, high = in_folds(low, photos), in_folds(high, photos)
    hits = {("frozen", 45, 5): low, ("frozen", 90, 5): high, ("frozen", 90, 1): low}
    first, *others = gains_by_class(learn(hits, photos), of(hits), photos, seed=0)
    assert (first.label, first.fewer_samples, first.more_samples, first.angles) == (
        "net",
        45,
        90,
        5,
    )
    own = photos["label"] == "net"
    assert first.gain.value == pytest.approx(np.nanmean(high[:, own]) - np.nanmean(low[:, own]))
    assert 0.1 < first.gain.low < first.gain.value < first.gain.high
    assert all(o.gain.value == 0 and o.gain.low < 0 < o.gain.high for o in others)
    table, answer = analyse(hits, photos)
    which, *_ = what_next(table, answer, str)
    assert which.startswith("Photograph more samples of net next: with frozen, from 45 to 90")
    said_first = next_class(table["gains"])
    assert said_first["next_class"] == "net"
    assert said_first["next_class_gain"] == pytest.approx(first.gain.value, abs=1e-4)
    nothing = table["gains"].assign(gain_low=-0.1)
    assert set(next_class(nothing).values()) == {None}


def test_gains_of_few_samples_are_no_gains_shown() -> None:
    """All of a class's five samples gained all there is to gain, and rank behind what is shown."""
    photos = make_photos({"rare": 5, "usual": 60}, angles=4)
    rare = (photos["label"] == "rare").to_numpy()
    low = make_hits(photos, np.where(rare, 0.0, 0.6))
    high = make_hits(photos, np.where(rare, 1.0, 0.8))
    hits = {("frozen", 30, 4): low, ("frozen", 60, 4): high}
    usual, few = gains_by_class(learn(hits, photos), of(hits), photos, seed=0)
    assert (usual.label, few.label, few.gain.value) == ("usual", "rare", 1)
    assert few.gain.low < 0 < usual.gain.low


def test_gains_are_of_the_nearest_to_half_of_the_samples_and_of_a_strategy_that_has_it() -> None:
    photos = make_photos({"cup": 20, "shell": 20})
    right = make_hits(photos, 0.8)
    frozen = {("frozen", n, 5): right for n in (10, 35, 45, 100)}
    best = {("finetune", 100, 5): make_hits(photos, 0.95), ("finetune", 100, 1): right}
    table, answer = analyse(best | frozen, photos)
    assert answer.strategy == "finetune"
    assert set(table["classes"]["strategy"]) == {"finetune"}
    assert set(table["gains"]["strategy"]) == {"frozen"}
    assert set(table["gains"]["fewer_samples"]) == {45}
    assert set(table["gains"]["more_samples"]) == {100}


def test_one_size_of_samples_tells_nothing_of_more() -> None:
    photos = make_photos({"cup": 20, "shell": 20})
    hits = {("frozen", 100, k): make_hits(photos, 0.8) for k in (1, 5)}
    table, answer = analyse(hits, photos)
    assert len(table["gains"]) == 0
    assert what_next(table, answer, str)[0].startswith("Which classes gain most from more samples")
    heads, rows, _ = class_table(table, answer.metric, str)
    assert heads == ["class", "test samples", "accuracy in %"]
    assert len(rows) == 2


def test_where_no_class_gained_the_report_says_so() -> None:
    photos = make_photos({"cup": 20, "shell": 20})
    hits = {("frozen", n, 5): make_hits(photos, 0.8, draw=n) for n in (20, 40)}
    which, *_ = said(hits, photos)
    assert which.startswith("The study can't tell which class to photograph next: with frozen")
    first, second = gains_by_class(learn(hits, photos), of(hits), photos, seed=0)
    assert first.gain.value > second.gain.value
    assert f"The largest, that of {first.label}, is {100 * first.gain.value:.1f} points" in which


def test_no_class_is_named_where_guessing_is_not_beaten() -> None:
    photos = make_photos({"cup": 20, "shell": 20})
    hits = {("frozen", n, 5): make_hits(photos, right) for n, right in ((20, 0.2), (40, 0.5))}
    which, *_ = said(hits, photos)
    assert which.startswith("No class to photograph next can be named")


def test_a_hundred_classes_are_ten_rows_and_chance_is_spoken_of() -> None:
    photos = make_photos({f"class {n:03d}": 8 for n in range(100)}, angles=2)
    gaining = photos["label"].isin([f"class {n:03d}" for n in range(5)])
    low = make_hits(photos, np.where(gaining, 0.1, 0.8))
    hits = {("frozen", 400, 2): low, ("frozen", 800, 2): make_hits(photos, 0.8)}
    table, answer = analyse(hits, photos)
    assert len(table["gains"]) == len(table["classes"]) == 100
    _, rows, note = class_table(table, answer.metric, str)
    assert len(rows) == 10
    assert note.endswith("The 10 most promising; 90 more are in metrics/gains.csv.")
    assert {row[0] for row in rows[:5]} == {f"class {n:03d}" for n in range(5)}
    assert [row[-1] for row in rows] == ["yes"] * 5 + ["no detectable gain"] * 5
    accuracies = table["classes"].set_index("label")["accuracy"]
    assert all(row[2].startswith(f"{100 * accuracies[row[0]]:.1f} ") for row in rows)
    which, *_ = what_next(table, answer, str)
    assert " and 2 more next: with frozen, from 400 to 800 training samples" in which
    assert which.endswith("Of 100 classes, about 2 would be named by chance.")


def test_names_are_written_as_told() -> None:
    photos = make_photos({"a|b": 20, "<i>": 20})
    hits = {("frozen", n, 5): make_hits(photos, p) for n, p in ((20, 0.5), (40, 0.9))}
    table, answer = analyse(hits, photos)
    text = " ".join(what_next(table, answer, escaped)) + str(
        class_table(table, answer.metric, escaped)
    )
    assert "a&#124;b" in text
    assert "a|b" not in text
    assert "<i>" not in text


# ---- angles -------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [False, True])
def test_a_hard_angle_comes_first_however_much_samples_differ(folds: bool) -> None:
    photos = make_photos({"cup": 30, "shell": 30})
    hard = (photos["angle"] == "03").to_numpy()
    easy_sample = pd.factorize(photos["sample"])[0] % 2 == 0
    right = make_hits(photos, np.where(easy_sample, 0.9, 0.4) - 0.3 * hard)
    hits = {("frozen", 40, 5): in_folds(right, photos) if folds else right}
    found = accuracy_by_angle(learn(hits, photos)[0], of(hits), photos, seed=0)
    assert len(found) == 5
    assert found[0].angle == "03"
    assert found[0].test_samples == 60
    assert found[0].accuracy.value == pytest.approx(np.nanmean(hits["frozen", 40, 5][:, hard]))
    assert found[0].difference.high < 0
    gap, spread = found[0].difference, found[0].accuracy
    assert gap.low < gap.value < gap.high
    assert spread.low < spread.value < spread.high
    assert sum(own.difference.value for own in found) == pytest.approx(0, abs=1e-6)
    assert said(hits, photos)[2].startswith("Harder than all angles of the same samples: 03, by ")


def test_samples_may_lack_angles() -> None:
    photos = make_photos({"cup": 20, "shell": 20})
    lacking = (photos["sample"].str.endswith(("1", "2"))) & (photos["angle"] >= "02")
    rare = (photos["angle"] == "04") & ~photos["sample"].isin([f"cup/{n}" for n in (0, 3, 4)])
    photos = photos[~lacking & ~rare].reset_index(drop=True)
    hits = {("frozen", 20, 5): make_hits(photos, 0.8), ("frozen", 10, 5): make_hits(photos, 0.7)}
    table, _ = analyse(hits, photos)
    counts = table["angles"].set_index("angle")["test_samples"].to_dict()
    assert counts == {"00": 40, "01": 40, "02": 32, "03": 32}  # three samples tell nothing of 04
    right = hits["frozen", 20, 5]
    for row in table["angles"].itertuples():
        own = (photos["angle"] == row.angle).to_numpy()
        assert row.accuracy == pytest.approx(right[:, own].mean())
        assert row.difference_low <= row.difference <= row.difference_high


def test_angles_that_no_two_samples_share_or_single_ones_are_left_out() -> None:
    several = make_photos({"cup": 10, "shell": 10})
    several["angle"] = several["sample"] + several["angle"]
    single = make_photos({"cup": 10, "shell": 10}, angles=1)
    for photos in (several, single, single.assign(angle="")):
        hits = {("frozen", n, 1): make_hits(photos, 0.8) for n in (10, 20)}
        table, answer = analyse(hits, photos)
        assert len(table["angles"]) == 0
        assert len(what_next(table, answer, str)) == 3


def test_many_angles_show_the_hardest_and_the_easiest() -> None:
    photos = make_photos({"cup": 10, "shell": 10}, angles=41)
    hits = {("frozen", 20, 41): make_hits(photos, 0.8)}
    table, _ = analyse(hits, photos)
    _, rows, note = angle_table(table["angles"], str)
    ranked = list(table["angles"]["angle"])
    assert [row[0] for row in rows] == ranked[:6] + ranked[-6:]
    assert "29 more are in metrics/angles.csv." in note
    assert sorted(table["angles"]["difference"]) == list(table["angles"]["difference"])


# ---- rules of thumb -----------------------------------------------------------------


def rules(sizes: dict[Cell, float], classes: int = 2) -> list[Rule]:
    photos = make_photos({"cup": 40, "shell": 40})
    learnings = learn({cell: make_hits(photos, p) for cell, p in sizes.items()}, photos)
    tallies = [replace(tally, classes=classes) for tally in learnings[0].tallies]
    return rules_of_thumb(replace(learnings[0], tallies=tallies), learnings)


def test_a_rule_is_measured_where_the_study_has_that_cell() -> None:
    fifty, thousand = rules({("frozen", 100, 4): 0.8, ("frozen", 20, 4): 0.7})
    assert (fifty.samples, fifty.angles, fifty.photos, fifty.measured) == (100, 4, 400, True)
    assert fifty.score is not None
    assert fifty.score.low < fifty.score.value < fifty.score.high
    assert fifty.score.value == pytest.approx(0.8, abs=0.05)
    assert (thousand.photos, thousand.score) == (2000, None)  # no curve


def test_a_rule_is_read_from_a_curve_up_to_twice_the_samples() -> None:
    grid = {("frozen", n, k): 0.9 - (n * k) ** -0.5 for n in (30, 60, 120, 240) for k in (1, 2, 5)}
    fifty, thousand = rules(grid)
    assert (fifty.samples, thousand.samples) == (100, 400)
    for rule in (fifty, thousand):
        assert not rule.measured
        assert rule.score is not None
        assert rule.score.value == pytest.approx(0.9 - rule.photos**-0.5, abs=0.04)
        assert rule.score.low < rule.score.value < rule.score.high
    assert [rule.score for rule in rules(grid, classes=10)][1:] == [None]  # 2,000 of 240
    assert rules(grid, classes=1)[0].score is not None
    few = {(s, 2 * n, k): p for (s, n, k), p in grid.items()}
    assert rules(few, classes=1)[0].score is None  # 50, and 60 are the fewest


def test_another_strategys_curve_is_read_and_named() -> None:
    grid = {("frozen", n, k): 0.9 - (n * k) ** -0.5 for n in (30, 60, 120, 240) for k in (1, 2, 5)}
    fifty, _ = rules({("finetune", 240, 5): 0.95} | grid)
    assert (fifty.strategy, fifty.measured) == ("frozen", False)
    assert fifty.score is not None


def test_tables_have_their_columns_and_no_gaps() -> None:
    """A gap would be written as nothing, which is no number to read."""
    photos = make_photos({"cup": 10, "shell": 10})
    hits = {("frozen", n, 5): make_hits(photos, 0.8) for n in (10, 20)}
    table, _ = analyse(hits, photos)
    for name in ("classes", "gains", "angles"):
        assert list(table[name]) == list(metrics_tables("accuracy")[name])
        assert not table[name].isna().any().any()
