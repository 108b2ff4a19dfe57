import dataclasses
import re
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from calibration import tally_hits

from shotcount.findings import tables
from shotcount.findings.answer import Answer, answer_study
from shotcount.findings.compare import (
    Comparison,
    common_largest,
    equal_budgets,
    score_by_views,
    why_unsettled,
)
from shotcount.findings.learning import (
    Learning,
    curve_parameters,
    learn_all,
    redundancy,
    with_intervals,
)
from shotcount.findings.plan import find_plan, trace_curve
from shotcount.findings.settings import AnswerSettings
from shotcount.findings.study import details, parts
from shotcount.report.numbers import summary
from shotcount.report.sections import markdown
from shotcount.report.words import caution, headline, sentences, title, worth_of_angles
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import METRICS

TEST_SAMPLES = 200
SHOWN = np.repeat(np.arange(TEST_SAMPLES), 5)
WANTED = AnswerSettings(
    metric="accuracy", tolerance=0.01, target_accuracy=0.9, cost_per_sample=1.0, cost_per_photo=0.1,
    cost_per_box=0.0, replicates=400, reference={},
)  # fmt: skip
TABLES = tables.metrics_tables("accuracy")
GRID = list(product((15, 30, 60, 120), (1, 2, 3, 5, 10)))
Accuracy = dict[str, dict[tuple[int, int], float]]
Results = tuple[dict[str, pd.DataFrame], Answer]


def hits(accuracy: float, seeds: int = 3) -> np.ndarray:
    """The same photos are easy for every cell, so differences are sharp."""
    order = np.random.default_rng(0).permutation(len(SHOWN))
    return (order < round(accuracy * len(SHOWN)))[None].repeat(seeds, axis=0)


def study(accuracy: Accuracy) -> tuple[pd.DataFrame, dict[tuple[str, int, int], Tally]]:
    cells = [(name, *size) for name, sizes in accuracy.items() for size in sizes]
    rows = [
        {"strategy": name, "samples": n, "angles": k, "photos": n * k, "seeds": 3}
        for name, n, k in cells
    ]
    named = {(s, n, k): tally_hits(hits(accuracy[s][n, k]), SHOWN) for s, n, k in cells}
    return pd.DataFrame(rows), named


def learn(accuracy: Accuracy) -> list[Learning]:
    curve, named = study(accuracy)
    return learn_all(curve, named, METRICS["accuracy"], 400, np.random.default_rng(0))


def answer(
    accuracy: Accuracy, guessing: float = 0.5, *, raise_: str | None = None, **wanted: float | str
) -> Answer:
    """`raise_`: a parameter that kept its strategy from converging."""
    unsettled = {name: [raise_] if f".{name}." in (raise_ or "") else [] for name in accuracy}
    return answer_study(
        learn(accuracy), guessing, WANTED.model_copy(update=wanted), unsettled, 0.65
    )


def saturating(n: int, k: int, rho: float = 0.5, ceiling: float = 0.95) -> float:
    return ceiling - 1.5 * (n * k / (1 + (k - 1) * rho)) ** -0.6


FROZEN = {size: saturating(*size) for size in GRID}
WORSE = {size: saturating(*size) - 0.1 for size in product((60, 120), (1, 2, 10))}


def test_answer_recovers_what_the_study_was_made_of() -> None:
    a = answer({"frozen": FROZEN, "scratch": WORSE})
    assert a.strategy == "frozen"
    assert a.score.value == pytest.approx(saturating(120, 10), abs=1e-3)
    found = a.redundancies["frozen"]
    assert found is not None
    assert found.value == pytest.approx(0.5, abs=0.05)
    enough = [(n, k) for n, k in GRID if saturating(n, k) >= saturating(120, 10) - 0.01]
    smallest = min(n * k for n, k in enough)
    assert a.enough.photos.value == smallest == a.enough.samples * a.enough.angles
    assert a.enough.photos.low <= smallest <= a.enough.photos.high
    assert a.enough.at_all_samples.value == min(k for n, k in enough if n == 120)
    assert 0 <= a.enough.loss.value <= 0.01
    assert a.more_samples is not None
    assert (a.more_samples.samples, a.more_samples.angles) == (240, 10)
    gain = saturating(240, 10) - saturating(120, 10)
    assert a.more_samples.gain.value == pytest.approx(gain, abs=0.003)
    assert a.more_angles is not None
    assert a.more_angles.gain.value < gain
    assert a.ceiling is not None
    assert a.ceiling.value == pytest.approx(0.95, abs=0.02)


def test_every_cell_of_the_curve_has_its_interval() -> None:
    learnings = learn({"frozen": {(10, 1): 1.0, (20, 1): 0.8}})
    scores = pd.DataFrame({"strategy": "frozen", "samples": [20, 10], "angles": 1})
    curve = with_intervals(scores, learnings)
    assert list(curve["samples"]) == [20, 10]
    assert list(curve["accuracy_high"] > [0.8, 0.99]) == [True, True]
    assert curve["accuracy_low"][0] < 0.8
    assert curve["accuracy_low"][1] == pytest.approx(0.025 ** (1 / TEST_SAMPLES))  # all right


def test_plan_is_the_cheapest_and_near_the_classical_optimum() -> None:
    learning = learn({"frozen": FROZEN})[0]
    plan = find_plan(learning, 0.9, cost_per_sample=1.0, cost_per_photo=0.1)
    assert plan is not None
    assert abs(plan.angles - np.sqrt(10)) <= 1  # ρ = 0.5
    costs = {
        (n, k): n * (1 + 0.1 * k)
        for n in range(20, 600) for k in range(1, 21) if saturating(n, k) >= 0.9
    }  # fmt: skip
    assert plan.cost == pytest.approx(min(costs.values()), rel=0.1)
    assert plan.photos.value == plan.samples * plan.angles
    assert plan.cost == pytest.approx(plan.samples + 0.1 * plan.photos.value)
    one = find_plan(learning, 0.9, cost_per_sample=0.0, cost_per_photo=0.1)
    assert one is not None
    assert one.angles == 1  # samples cost nothing


def test_target_above_the_ceiling_is_not_reachable() -> None:
    assert find_plan(learn({"frozen": FROZEN})[0], 0.97, 1.0, 0.1) is None
    text = sentences(answer({"frozen": FROZEN}, target_accuracy=0.97))[3]
    assert "97.0 % is not reachable with more photos like these: the fitted ceiling is 9" in text


def test_the_curve_counts_the_photos_that_uneven_samples_have() -> None:
    """One sample has ten photos, the others three: ten angles of each are hardly more photos."""
    sizes = list(product((10, 20, 40), (1, 2, 3, 10)))
    photos = [n * min(k, 3) + (7 if k == 10 else 0) for n, k in sizes]
    at = {size: saturating(size[0], p / size[0]) for size, p in zip(sizes, photos, strict=True)}
    curve, named = study({"frozen": at})
    curve = curve.assign(photos=photos)
    (learning,) = learn_all(curve, named, METRICS["accuracy"], 400, np.random.default_rng(0))
    found = learning.curves
    assert found is not None
    assert np.median(found.redundancy) == pytest.approx(0.5, abs=0.1)
    assert 1 - learning.smoothed[0] == pytest.approx(list(at.values()), abs=3e-3)
    a = answer_study([learning], 0.1, WANTED, {"frozen": []}, 0.65)
    assert (a.most_angles, a.enough.largest) == (10, 127)
    assert a.more_angles is not None
    assert a.more_angles.angles == pytest.approx(2 * 127 / 40, abs=0.06)
    gain = saturating(40, 2 * 127 / 40) - saturating(40, 127 / 40)
    assert a.more_angles.gain.value == pytest.approx(gain, abs=5e-3)
    assert "twice the angles (40 × 6.3) would bring" in sentences(a)[2]
    points = trace_curve(learning)
    assert max(p.angles for p in points if not p.extrapolated) == 3
    assert a.plan is not None
    assert a.plan.angles <= 6


def test_the_odd_photo_makes_no_second_size() -> None:
    sizes = [(n, 3) for n in (5, 10, 20, 40, 60, 100)]
    curve, named = study({"frozen": {(n, k): saturating(n, k) for n, k in sizes}})
    curve = curve.assign(photos=[15, 30, 59, 119, 178, 298])
    (learning,) = learn_all(curve, named, METRICS["accuracy"], 400, np.random.default_rng(0))
    assert learning.curves is not None
    assert (learning.curves.redundancy == 0).all()
    plan = find_plan(learning, 0.92, 1.0, 0.1)
    assert plan is not None
    assert plan.angles == 3


def test_flat_curve_identifies_no_redundancy() -> None:
    a = answer({"frozen": dict.fromkeys(GRID, 0.8)})
    assert a.redundancies["frozen"] is None
    assert "How redundant the angles are is not identifiable" in sentences(a)[1]
    assert a.enough.photos.value == 15


def test_two_seeds_are_too_few_for_the_redundancy() -> None:
    curve, _ = study({"frozen": FROZEN})
    two = {("frozen", *size): tally_hits(hits(a, seeds=2), SHOWN) for size, a in FROZEN.items()}
    rng = np.random.default_rng(0)
    learning = learn_all(curve.assign(seeds=2), two, METRICS["accuracy"], 400, rng)[0]
    assert redundancy(learning) is None
    assert redundancy(learn({"frozen": FROZEN})[0]) is not None


def test_too_few_cells_give_measured_answers_and_no_forecast() -> None:
    cells = {"frozen": {(15, 1): 0.7, (30, 1): 0.795, (60, 1): 0.8}}
    a = answer(cells)
    assert a.enough.photos.value == 30
    assert (a.more_samples, a.plan, a.ceiling) == (None, None, None)
    text = " ".join(sentences(a))
    assert "What more photos would bring is not identifiable: too few sizes" in text
    assert "angles are" not in text  # one angle: nothing to say of angles
    assert "What it takes to reach 90.0 % is not identifiable" in text
    a = answer(cells, target_accuracy=0.65)
    assert "65.0 % is what frozen reached with 15 photos." in sentences(a)


def test_a_strategy_with_too_few_cells_is_forecast_by_the_curve_of_another() -> None:
    better = {(120, k): saturating(120, k) + 0.03 for k in (1, 3, 10)}
    a = answer({"finetune": better, "frozen": FROZEN}, target_accuracy="auto")
    own = answer({"frozen": FROZEN}, target_accuracy="auto")
    assert (a.strategy, a.curve_of, own.curve_of) == ("finetune", "frozen", "frozen")
    assert (a.more_samples, a.plan, a.target) == (own.more_samples, own.plan, own.target)
    more, plan = sentences(a)[2:]
    shown = "By the curve of frozen (finetune has too few sizes for one), twice the samples"
    assert more.startswith(shown)
    assert plan.startswith("By the curve of frozen (89.1 % with all training photos), the cheapest")
    a = answer({"finetune": better, "frozen": FROZEN}, target_accuracy=0.9)
    assert sentences(a)[3] == "90.0 % is what finetune reached with 360 photos."


def test_an_axis_of_one_size_is_not_extrapolated() -> None:
    a = answer({"frozen": {(100, k): saturating(100, k) for k in range(1, 11)}})
    assert a.more_samples is None
    assert a.more_angles is not None
    assert a.plan is None
    assert "Twice the samples can't be predicted (study.samples has one size)" in sentences(a)[2]
    a = answer({"frozen": {(n, 1): saturating(n, 1) for n in (9, 15, 30, 50, 80, 120, 200)}})
    assert a.more_angles is None
    assert a.plan is not None
    assert a.plan.angles == 1


def test_strategies_are_compared_at_the_largest_subset_that_all_have() -> None:
    small = {size: value for size, value in WORSE.items() if size != (120, 10)}
    learnings = learn({"frozen": FROZEN, "finetune": small})
    places = common_largest(learnings)
    at = [(own, places[own.strategy]) for own in learnings]
    assert [(own.samples[n], own.angles[n]) for own, n in at] == [(60, 10), (60, 10)]


def test_comparisons_are_adjusted_and_named() -> None:
    a = answer({"frozen": FROZEN, "scratch": WORSE, "finetune": FROZEN})
    by_pair = {(c.better, c.worse): c for c in a.comparisons}
    assert by_pair["frozen", "scratch"].p_holm < 0.05
    assert by_pair["frozen", "scratch"].lead.value == pytest.approx(0.1, abs=1e-3)
    assert by_pair["frozen", "finetune"].p_holm == 1
    assert "better than scratch; no detectable difference from finetune" in sentences(a)[0]


def test_a_choice_between_equals_flatters_and_the_interval_allows_for_it() -> None:
    rng = np.random.default_rng(0)
    names = ("scratch", "frozen", "finetune")
    curve, _ = study({name: {(120, 10): 0.0} for name in names})
    named = {
        (name, 120, 10): tally_hits(rng.random((3, len(SHOWN))) < 0.8, SHOWN) for name in names
    }
    learnings = learn_all(curve, named, METRICS["accuracy"], 400, rng)
    a = answer_study(learnings, 0.1, WANTED, {name: [] for name in names}, 0.65)
    own = next(own for own in learnings if own.strategy == a.strategy)
    plain = own.judge(1 - own.error[:, 0])
    assert 0.001 < a.optimism < 0.02
    assert a.score.value == plain.value
    assert (a.score.low, a.score.high) == pytest.approx(
        (plain.low - a.optimism, plain.high - a.optimism)
    )
    (said,) = caution(a)
    method = {"scratch": "Training from scratch", "frozen": "Frozen features"}.get(
        a.strategy, "Fine-tuning"
    )
    assert said.startswith(f"{method} was chosen as the best on these test samples, so its accur")


def test_a_clear_winner_is_not_flattered() -> None:
    a = answer({"frozen": FROZEN, "scratch": WORSE})
    assert a.optimism == 0
    assert caution(a) == []
    assert answer({"frozen": FROZEN}).optimism == 0


def training(losses: dict[int, list[float]]) -> pd.DataFrame:
    """The history of a cell: looks every 10 steps with these losses, by seed."""
    return pd.DataFrame(
        [
            {"seed": seed, "step": 10 * look, "val_loss": loss}
            for seed, looks in losses.items()
            for look, loss in enumerate(looks)
        ]
    )


def model(schedule: str, most_steps: int = 30) -> dict[str, Any]:
    settings = {"schedule": schedule, "min_steps": 30, "epochs": 5}
    return {"strategy": "scratch", "settings": settings, "most_steps": most_steps}


def trials(*losses: float) -> pd.DataFrame:
    """Trials of rising learning rates, all of them long."""
    rates = [0.1**n for n in range(len(losses), 0, -1)]
    return pd.DataFrame(
        {"learning_rate": rates, "backbone_rate": 1.0, "steps": 9, "val_loss": losses}
    )


@pytest.mark.parametrize(
    ("schedule", "most_steps", "losses", "expected"),
    [
        ("auto", 30, {0: [5, 3, 4], 1: [5, 3, 4]}, []),
        ("auto", 30, {0: [5, 3, 4], 1: [5, 3, 4], 2: [5, 4, 3, 3]}, []),  # one of three
        ("auto", 30, {0: [5, 3, 4], 1: [5, 4, 3, 3]}, ["train.scratch.min_steps"]),
        ("auto", 20, {0: [5, 3, 4]}, ["train.scratch.epochs"]),
        ("cosine", 30, {0: [5, 4, 2, 3]}, []),
        ("cosine", 30, {0: [5, 4, 3, 2]}, ["train.scratch.min_steps"]),
    ],
)
def test_training_that_its_limit_ended_is_unsettled(
    schedule: str, most_steps: int, losses: dict[int, list[float]], expected: list[str]
) -> None:
    history, inside = training(losses), trials(3, 2, 3)
    assert why_unsettled(model(schedule, most_steps), history, inside) == expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3, 2, 4), []),
        ((3, 2, 1), ["train.scratch.learning_rate"]),
        ((1, 2, 3), ["train.scratch.learning_rate"]),
        ((), []),  # a fixed one
    ],
)
def test_a_learning_rate_at_the_edge_is_unsettled(
    losses: tuple[float, ...], expected: list[str]
) -> None:
    history = training({0: [5, 3, 4]})
    assert why_unsettled(model("auto"), history, trials(*losses)) == expected


def test_a_solved_head_is_settled() -> None:
    solved = {"strategy": "frozen", "settings": {"seeds": 3}, "most_steps": 1}
    assert why_unsettled(solved, training({0: [5]}), trials()) == []


def test_the_head_of_a_detector_is_settled_by_its_own_settings() -> None:
    trained = model("auto") | {"strategy": "frozen"}
    found = why_unsettled(trained, training({0: [5, 4, 3, 3]}), trials(1, 2))
    assert found == ["train.frozen.detector.min_steps", "train.frozen.detector.learning_rate"]


def test_nothing_is_concluded_against_training_that_had_not_converged() -> None:
    accuracy = {"frozen": FROZEN, "scratch": WORSE}
    a = answer(accuracy, raise_="train.scratch.epochs")
    (comparison,) = a.comparisons
    assert (comparison.better, comparison.settled) == ("frozen", False)
    text = " ".join(headline(a))
    assert "better than" not in text
    assert "not settled against scratch" in text
    assert "Not settled: training from scratch had not converged; it was still improving" in text
    assert "raise train.scratch.epochs." in text
    # The one that leads could only lead by more.
    a = answer(accuracy, raise_="train.frozen.learning_rate")
    assert a.comparisons[0].settled
    assert "better than scratch" in sentences(a)[0]


def test_equally_many_photos_are_compared_from_more_samples_and_more_angles() -> None:
    trades = equal_budgets(learn({"frozen": FROZEN})[0])
    first = trades[0]
    assert (first.photos, first.more_samples, first.fewer_angles) == (30, 30, 1)
    assert (first.fewer_samples, first.more_angles) == (15, 2)
    assert first.gain.value == pytest.approx(saturating(30, 1) - saturating(15, 2), abs=2e-3)
    assert all(t.gain.low <= t.gain.value <= t.gain.high for t in trades)


def test_trace_follows_the_curve_and_marks_what_lies_beyond() -> None:
    points = tables.as_table(
        trace_curve(learn({"frozen": FROZEN})[0]), "accuracy", TABLES["fitted"]
    )
    assert set(points["samples"]) == {15, 30, 60, 120, 240}
    beyond = points[points["extrapolated"]]
    assert set(zip(beyond["samples"], beyond["angles"], strict=True)) == {
        *((120, k) for k in range(11, 21)), *((240, k) for k in range(1, 11)),
    }  # fmt: skip
    row = points[(points["samples"] == 60) & (points["angles"] == 4)].iloc[0]
    assert row["accuracy"] == pytest.approx(saturating(60, 4), abs=3e-3)
    assert row["photos"] == 240


def test_parameters_of_every_family_have_intervals() -> None:
    table = tables.as_table(curve_parameters(learn({"frozen": FROZEN})[0]), "accuracy", tables.FITS)
    assert set(table["family"]) == {
        "power law", "logarithm", "arctan", "algebraic root", "plateau",
    }  # fmt: skip
    assert table.drop_duplicates("family")["share"].sum() == pytest.approx(1)
    power = table[table["family"] == "power law"].set_index("parameter")
    assert set(power.index) == {"amplitude", "exponent", "asymptote", "redundancy"}
    assert power.loc["exponent", "value"] == pytest.approx(0.6, abs=0.1)
    assert (table["value_low"] <= table["value_high"]).all()


# ---- the words ----------------------------------------------------------------------


def test_sentences_answer_in_counts_with_intervals() -> None:
    size, angles, more, plan = sentences(answer({"frozen": FROZEN, "scratch": WORSE}))
    assert size.startswith("360 photos (120 samples from 3 angles each) are enough: with all 1,200")
    assert "frozen reached 89.1 % of the test photos (95 % interval" in size
    assert "are expected to lose 0." in size
    assert "ten angles of one sample are worth 1.8" in angles
    assert "Twice the samples (370 in all, 240 × 10 for training) would bring" in more
    assert "The cheapest way to 90.0 % is expected to be" in plan
    assert " (a sample costs 1, a photo 0.1). " in plan
    assert re.search(r"With those for validation and tests, photograph \d+ samples in all\.$", plan)


def test_a_subset_is_called_enough_only_if_its_loss_is_shown_to_be_within_the_tolerance() -> None:
    loss = answer({"frozen": FROZEN}).enough.loss
    assert loss.value < loss.high
    a = answer({"frozen": FROZEN}, tolerance=(loss.value + loss.high) / 2)
    assert (a.enough.photos.value, a.enough.shown) == (360, False)
    assert a.enough.to_show == pytest.approx(4 * TEST_SAMPLES)  # for half of the width
    assert headline(a)[0].startswith("360 photos are the best guess for enough: 120 samples from")
    assert headline(a)[0].endswith("to show that it is less takes tests of about 800 samples.")
    assert " are the best guess for enough: with all 1,200" in sentences(a)[0]
    a = answer({"frozen": FROZEN}, tolerance=loss.value + (loss.high - loss.value) / 3)
    assert headline(a)[0].endswith("it is less takes far more samples than the 200 tested.")
    a = answer({"frozen": FROZEN}, tolerance=loss.high)
    assert a.enough.shown
    assert headline(a)[0].startswith("360 photos are enough: 120 samples from 3 angles each lose")


def test_a_strategy_is_recommended_only_if_it_is_shown_to_be_the_best() -> None:
    a = answer({"frozen": FROZEN})
    beaten = Comparison("frozen", "scratch", Estimate(0.1, 0.05, 0.15), 0.01, settled=True)
    for own, said in (
        ([], "Use frozen features"),
        ([beaten], "Use frozen features"),
        ([dataclasses.replace(beaten, p_holm=0.05)], "Frozen features did best"),
        ([dataclasses.replace(beaten, settled=False)], "Frozen features did best"),
        ([dataclasses.replace(beaten, better="finetune", p_holm=0.05)], "Use frozen features"),
    ):
        compared = dataclasses.replace(a, comparisons=own)
        assert title(compared) == f"{said}; 360 photos are enough"
        assert headline(compared)[1].startswith(f"{said}: with all 1,200 photos it got 89.1 %")


def test_titles_answer_in_one_sentence() -> None:
    a = answer({"frozen": FROZEN})
    assert title(a) == "Use frozen features; 360 photos are enough"
    guess = dataclasses.replace(a, enough=dataclasses.replace(a.enough, shown=False))
    assert title(guess) == "Use frozen features; 360 photos are the best guess for enough"
    rising = answer({"frozen": {size: saturating(*size, rho=0.0) for size in GRID}}, tolerance=1e-4)
    assert title(rising) == "Use frozen features; more than 1,200 photos may well help"
    assert title(dataclasses.replace(a, guessing=0.9)) == (
        "No answer: guessing isn't shown to be beaten"
    )
    assert re.fullmatch(
        r"ten angles of one sample are worth 1\.\d \(1\.\d to \d\.\d\) photos of different samples",
        worth_of_angles(a),
    )
    unknown = dataclasses.replace(a, redundancies={"frozen": None})
    assert worth_of_angles(unknown) == "how redundant the angles are is not identifiable"


def test_plan_far_beyond_the_study_is_no_advice() -> None:
    text = sentences(answer({"frozen": FROZEN}, target_accuracy=0.93))[3]
    assert text.startswith("93.0 % is too far off to plan for")
    assert "where 120 samples were studied" in text


def test_without_a_target_the_plan_is_for_one_point_more_than_the_study_reached() -> None:
    a = answer({"frozen": FROZEN}, target_accuracy="auto")
    assert a.target == pytest.approx(a.score.value + 0.01, abs=5e-4)
    assert a.plan is not None
    assert a.plan.samples > 120
    assert a.in_all(65) == 100
    assert a.in_all(a.plan.samples) > a.plan.samples
    flat = answer({"frozen": dict.fromkeys(GRID, 0.8)}, target_accuracy="auto")
    assert "81.0 % is not reachable with more photos like these" in sentences(flat)[3]


def test_a_plan_has_no_fewer_angles_than_the_study() -> None:
    sizes = product((15, 30, 60, 120), (2, 3, 5, 10))
    a = answer({"frozen": {size: saturating(*size) for size in sizes}}, target_accuracy=0.6)
    assert a.plan is not None
    assert (a.plan.samples, a.plan.angles, a.plan.within) == (15, 2, True)


def test_target_below_the_study_is_reached_already() -> None:
    a = answer({"frozen": FROZEN}, guessing=0.4, target_accuracy=0.5)
    assert a.plan is not None
    assert (a.plan.samples, a.plan.angles) == (15, 1)
    assert sentences(a)[3] == "50.0 % is expected of the study's smallest subset already."


def test_curve_that_still_rises_says_that_more_may_help() -> None:
    rising = {(n, k): 0.5 + 0.05 * np.log(n * k) for n, k in GRID}
    text = sentences(answer({"frozen": rising}))[0]
    assert "No smaller subset is expected within 1 point of that" in text
    assert "more photos may well help" in text


def test_accuracy_no_better_than_guessing_is_no_answer() -> None:
    (text,) = sentences(answer({"frozen": dict.fromkeys(GRID, 0.51)}, guessing=0.5))
    assert text.startswith("No answer: with all 1,200 training photos frozen reached 51.0 %")
    assert "not shown to beat always naming the commonest class (50.0 %)" in text


@pytest.fixture
def results() -> Results:
    accuracy = {"frozen": FROZEN, "scratch": WORSE}
    learnings = learn(accuracy)
    a = answer_study(learnings, 0.5, WANTED, {"frozen": [], "scratch": []}, 0.65)
    value = np.concatenate([list(cells.values()) for cells in accuracy.values()])
    alike = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), value)
    scores = study(accuracy)[0].assign(**alike, log_loss=0.5, ece=0.02)
    right = hits(0.9).reshape(3, TEST_SAMPLES, 5).transpose(2, 0, 1)
    test = [tally_hits(own, np.arange(TEST_SAMPLES)) for own in right]
    rows = [row for own in learnings for row in score_by_views(own, test)]
    views = tables.as_table(rows, "accuracy", TABLES["views"])
    photos = pd.DataFrame({"sample": SHOWN, "angle": np.tile(list("01234"), TEST_SAMPLES)})
    photos["label"] = np.array(["plastic", "stone"])[photos["sample"] % 2]
    correct = {(s, n, k): hits(own[n, k]) for s, own in accuracy.items() for n, k in own}
    t = details(learnings, a) | parts(learnings, a, lambda *cell: correct[cell], photos, seed=0)
    t |= {"confusion": pd.DataFrame(columns=list(TABLES["confusion"]))}
    return t | {"curve": with_intervals(scores, learnings), "views": views}, a


def test_summary_is_rounded_and_says_what_is_unknown(results: Results) -> None:
    t, a = results
    made = summary(t, a, {"photos": 9})
    assert set(made) == {"frozen", "scratch", "comparisons", "answer", "data"}
    assert made["frozen"]["accuracy"] == round(saturating(120, 10), 4)
    assert made["frozen"]["redundancy"] == pytest.approx(0.5, abs=0.05)
    assert made["frozen"]["settled"] is True
    assert made["answer"]["photos"] == 360
    assert isinstance(made["answer"]["photos"], int)
    assert summary(t, dataclasses.replace(a, plan=None), {})["answer"]["plan_photos"] is None
    numbers = [v for part in made.values() for v in part.values() if isinstance(v, float)]
    assert all(v == round(v, 4) for v in numbers)


def test_comparisons_are_named_alike_whoever_leads(results: Results) -> None:
    t, a = results
    (behind,) = summary(t, a, {})["comparisons"].items()
    (ahead,) = summary(t | {"curve": t["curve"][::-1]}, a, {})["comparisons"].items()
    assert (behind[0], ahead[0]) == ("scratch_over_frozen", "frozen_over_scratch")
    assert ahead[1]["lead"] == pytest.approx(0.1, abs=1e-3)
    for name, opposite in (("lead", "lead"), ("lead_low", "lead_high"), ("lead_high", "lead_low")):
        assert behind[1][name] == -ahead[1][opposite]
    assert behind[1]["p_holm"] == ahead[1]["p_holm"]


def test_markdown_has_a_table_for_each_question(results: Results) -> None:
    t, a = results
    text = markdown(t, a, {"test_samples": 200})
    sections = text.split("## ")
    assert [section.splitlines()[0] for section in sections[1:]] == [
        "Accuracy by size",
        "Strategies, compared on the same test samples",
        "Learning curves",
        "Equally many photos: more samples or more angles?",
        "Using the classifier: accuracy for samples, by the angles averaged",
        "What to photograph next",
        "Accuracy by angle",
    ]
    sizes = [line for line in sections[1].splitlines() if line.startswith("|")]
    assert sizes[0].split("|")[3:5] == [" frozen (3 seeds) ", " scratch (3 seeds) "]
    assert len(sizes) == 2 + 20
    assert len({len(line) for line in sizes}) == 1  # legible as plain text too
    assert "test samples 200" in text
    assert text.startswith("- 360 photos (120 samples from 3 angles each) are enough")
