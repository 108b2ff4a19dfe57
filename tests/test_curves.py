import numpy as np
import pandas as pd
import pytest

from shotcount import curves
from shotcount.curves import Answer

SAMPLES = np.repeat(np.arange(100), 5)  # the test split: 100 samples x 5 photos


def study(accuracies: dict[str, list[float]]) -> tuple[pd.DataFrame, dict]:
    """A study of 60 samples x 1, 2, 5, 10 angles where each cell has the given accuracy."""
    rows, correct = [], {}
    for strategy, values in accuracies.items():
        for angles, accuracy in zip([1, 2, 5, 10], values, strict=True):
            hits = (np.arange(500) % 100 < round(100 * accuracy))[None].repeat(2, axis=0)
            correct[strategy, 60, angles] = hits
            rows.append(
                {
                    "strategy": strategy,
                    "samples": 60,
                    "angles": angles,
                    "photos": 60 * angles,
                    "seeds": 2,
                    "accuracy": hits.mean(),
                    "accuracy_low": hits.mean() - 0.05,
                    "accuracy_high": hits.mean() + 0.05,
                    "balanced_accuracy": hits.mean(),
                    "macro_f1": hits.mean(),
                    "log_loss": 0.5,
                }
            )
    return pd.DataFrame(rows), correct


def answer(accuracies: dict[str, list[float]], guessing: float = 0.5) -> Answer:
    curve, correct = study(accuracies)
    rng = np.random.default_rng(0)
    return curves.answer(curve, correct, SAMPLES, guessing, 0.01, 500, rng)


def test_enough_is_the_smallest_subset_within_tolerance() -> None:
    a = answer({"frozen": [0.8, 0.89, 0.9, 0.9], "scratch": [0.6, 0.6, 0.7, 0.7]})
    assert (a.strategy, a.samples, a.angles, a.photos, a.largest) == ("frozen", 60, 2, 120, 600)
    assert a.loss.value == pytest.approx(0.01)
    assert a.loss.low <= 0.01 <= a.loss.high
    text = curves.sentence(a)
    assert text.startswith("120 photos (60 samples × 2 angles) are enough: with all 600")
    assert "frozen reached 90.0 %" in text
    assert "better than scratch" in text


def test_strategies_that_differ_by_chance_are_not_ranked() -> None:
    a = answer({"frozen": [0.8, 0.8, 0.9, 0.9], "finetune": [0.8, 0.8, 0.9, 0.9]})
    assert a.leads["finetune"].value == 0
    assert "no detectable difference from finetune" in curves.sentence(a)


def test_curve_that_still_rises_says_that_more_may_help() -> None:
    text = curves.sentence(answer({"frozen": [0.6, 0.7, 0.8, 0.9]}))
    assert "no smaller subset came within 1 point" in text
    assert "more photos may well help" in text


def test_accuracy_no_better_than_guessing_is_no_answer() -> None:
    text = curves.sentence(answer({"frozen": [0.5, 0.5, 0.52, 0.52]}, guessing=0.5))
    assert text.startswith("No answer: with all 600 training photos frozen reached 52.0 %")
    assert "not shown to beat always naming the commonest class (50.0 %)" in text


def test_loss_that_cannot_be_ruled_out_is_said() -> None:
    curve, correct = study({"frozen": [0.8, 0.9, 0.9, 0.9]})
    correct["frozen", 60, 2] = np.roll(correct["frozen", 60, 10], 30, axis=1)  # errs elsewhere
    a = curves.answer(curve, correct, SAMPLES, 0.5, 0.01, 500, np.random.default_rng(0))
    assert a.loss.high > 0.01
    assert "can't rule out a loss of up to" in curves.sentence(a)


def test_summary_is_small_and_rounded() -> None:
    curve, _ = study({"frozen": [0.8, 0.9, 0.9, 0.9]})
    summary = curves.summary(curve, answer({"frozen": [0.8, 0.9, 0.9, 0.9]}))
    assert summary["frozen"]["accuracy"] == 0.9
    assert summary["answer"]["photos"] == 120
    assert set(summary) == {"frozen", "answer"}


def test_report_has_a_row_a_size_and_a_column_a_strategy() -> None:
    accuracies = {"frozen": [0.8, 0.9, 0.9, 0.9], "scratch": [0.6, 0.6, 0.7, 0.7]}
    curve, _ = study(accuracies)
    lines = curves.report(curve, answer(accuracies)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0].split("|")[3:5] == [" frozen (2 seeds) ", " scratch (2 seeds) "]
    assert len(table) == 2 + 4
    assert len({len(line) for line in table}) == 1  # legible as plain text too
    assert "80.0 (75.0–85.0)" in table[2]
