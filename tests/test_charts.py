from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shotcount import charts


@pytest.fixture
def curve() -> pd.DataFrame:
    rows = [
        {
            "strategy": strategy,
            "samples": samples,
            "angles": angles,
            "photos": samples * angles,
            "accuracy": 0.6 + 0.02 * angles + shift,
            "accuracy_low": 0.55 + 0.02 * angles + shift,
            "accuracy_high": 0.65 + 0.02 * angles + shift,
        }
        for strategy, shift in (("scratch", 0), ("frozen", 0.1), ("finetune", 0.12))
        for samples in (30, 60)
        for angles in (1, 2, 10)
    ]
    return pd.DataFrame(rows)


def test_chart_shows_every_cell(curve: pd.DataFrame) -> None:
    axes = charts.accuracy_vs_size(curve, {}, None).axes[0]
    drawn = {(x, round(y, 6)) for line in axes.lines for x, y in line.get_xydata()}
    assert drawn == {(row.photos, round(row.accuracy, 6)) for row in curve.itertuples()}
    assert len(axes.collections) == 3  # a band for each strategy at all samples
    labels = axes.get_legend_handles_labels()[1]
    assert "frozen features, 60 samples" in labels
    assert len(labels) == 6


def test_photos_stand_below_and_angles_above(curve: pd.DataFrame) -> None:
    figure = charts.accuracy_vs_size(curve, {}, None)
    figure.canvas.draw()
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["30", "60", "120", "300", "600"]
    assert [t.get_text() for t in axes.child_axes[0].get_xticklabels()] == ["1", "2", "10"]


def test_reference_and_answer_are_drawn_only_where_given(curve: pd.DataFrame) -> None:
    def texts(*arguments: object) -> list[str]:
        return [t.get_text() for t in charts.accuracy_vs_size(curve, *arguments).axes[0].texts]

    assert texts({}, None) == []
    assert texts({"frozen": 0.885}, ("frozen", 60, 2)) == [
        "blog, frozen features",
        "120 photos\nare enough",
    ]


def test_answer_points_at_its_own_cell(curve: pd.DataFrame) -> None:
    twice = pd.concat([curve, curve[curve["photos"] == 60].assign(photos=120, angles=4)])
    text = charts.accuracy_vs_size(twice, {}, ("frozen", 60, 2)).axes[0].texts[0]
    assert text.xy == (120, pytest.approx(0.6 + 0.02 * 2 + 0.1))


def test_same_figure_same_bytes(curve: pd.DataFrame, tmp_path: Path) -> None:
    for suffix in (".svg", ".png"):
        for name in ("first", "second"):
            charts.save(charts.accuracy_vs_size(curve, {}, None), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"first{suffix}").read_bytes() == (
            tmp_path / f"second{suffix}"
        ).read_bytes()


def test_training_curves_have_a_line_a_run() -> None:
    runs = [
        {"strategy": s, "samples": 60, "angles": 1, "photos": 60, "seed": seed, "step": step,
         "val_loss": 0.5, "val_accuracy": 0.8}
        for s in ("frozen", "finetune") for seed in (0, 1, 2) for step in (10, 20)
    ]  # fmt: skip
    figure = charts.training_curves(pd.DataFrame(runs))
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3, 3]
    assert np.array_equal(figure.axes[0].lines[0].get_xdata(), [10, 20])
