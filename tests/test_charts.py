from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.contour import ContourSet

from shotcount.report.charts import save
from shotcount.report.panels import samples_and_angles, training_curves, views_at_test_time
from shotcount.report.size_chart import accuracy_vs_size
from shotcount.uncertainty.metrics import METRICS
from shotcount.uncertainty.terms import OF_CLASSES


@pytest.fixture
def curve() -> pd.DataFrame:
    rows = [
        {"strategy": strategy, "samples": n, "angles": k, "photos": n * k,
         "accuracy": 0.6 + 0.02 * k + shift, "accuracy_low": 0.55 + 0.02 * k + shift,
         "accuracy_high": 0.65 + 0.02 * k + shift}
        for strategy, shift in (("scratch", 0), ("frozen", 0.1), ("finetune", 0.12))
        for n in (30, 60) for k in (1, 2, 10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def fitted(curve: pd.DataFrame) -> pd.DataFrame:
    """A curve for frozen alone: 1 to 20 angles of 60 samples, 1 to 10 of 30 and of 120."""
    rows = [
        {"strategy": "frozen", "samples": n, "angles": k, "photos": n * k,
         "accuracy": 0.72 + 0.02 * k + 0.0005 * n, "extrapolated": n > 60 or k > 10}
        for n, most in ((30, 10), (60, 20), (120, 10)) for k in range(1, most + 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def answer(strategy: str = "frozen", angles: int = 2) -> Any:
    photos = SimpleNamespace(value=60 * angles)
    enough = SimpleNamespace(samples=60, angles=angles, photos=photos, largest=600, shown=True)
    return SimpleNamespace(metric=METRICS["accuracy"], strategy=strategy, enough=enough, rules=[])


NOT_ENOUGH = answer(angles=10)


def test_chart_marks_every_cell(curve: pd.DataFrame, fitted: pd.DataFrame) -> None:
    axes = accuracy_vs_size(curve, fitted, {}, NOT_ENOUGH).axes[0]
    marked = [line for line in axes.lines if line.get_marker() != "None"]
    drawn = {(x, round(y, 6)) for line in marked for x, y in line.get_xydata()}
    assert drawn == {(row.photos, round(row.accuracy, 6)) for row in curve.itertuples()}
    assert len(axes.collections) == 3  # a band for each strategy at all samples
    assert axes.get_legend_handles_labels()[1] == ["from scratch", "frozen features", "fine-tuned"]


def test_fitted_lines_are_dashed_beyond_the_measured(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    axes = accuracy_vs_size(curve, fitted, {}, NOT_ENOUGH).axes[0]
    lines = [line for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata())]
    solid = [line for line in lines if line.get_linestyle() == "-"]
    dashed = [line for line in lines if line.get_linestyle() == "--"]
    assert sorted(max(line.get_xdata()) for line in solid) == [300, 600]
    beyond = [line for line in dashed if len(line.get_xdata()) > 1]
    assert sorted(max(line.get_xdata()) for line in beyond) == [1200, 1200]
    own = accuracy_vs_size(curve, fitted, {}, answer("scratch")).axes[0]
    most = max(len(line.get_xdata()) for line in own.lines if line.get_linestyle() == "--")
    assert most == 11  # twice the samples are drawn for the strategy to use alone
    assert "120" not in [text.get_text() for text in own.texts]


def test_cells_are_joined_where_there_is_no_curve(curve: pd.DataFrame) -> None:
    nothing = curve.assign(extrapolated=False)[:0]
    axes = accuracy_vs_size(curve, nothing, {}, NOT_ENOUGH).axes[0]
    assert {line.get_linestyle() for line in axes.lines} == {"-"}
    one_angle = curve[curve["angles"] == 1]
    axes = accuracy_vs_size(one_angle, nothing, {}, NOT_ENOUGH).axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [[30, 60]] * 3  # along the samples


def test_photos_stand_below_and_angles_above(curve: pd.DataFrame, fitted: pd.DataFrame) -> None:
    figure = accuracy_vs_size(curve, fitted, {}, NOT_ENOUGH)
    figure.canvas.draw()
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["30", "60", "120", "300", "600"]
    assert [t.get_text() for t in axes.child_axes[0].get_xticklabels()] == ["1", "2", "10"]


def test_reference_and_answer_are_drawn_only_where_given(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    def texts(*arguments: Any) -> set[str]:
        axes = accuracy_vs_size(curve, fitted, *arguments).axes[0]
        return {t.get_text() for t in axes.texts} - {"30", "120"}

    assert texts({}, NOT_ENOUGH) == set()
    assert texts({"frozen": 0.885}, answer()) == {"blog, frozen features", "120 photos\nare enough"}


def test_rules_of_thumb_are_marked_near_the_cells_and_where_there_is_room(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    def marked(*photos: int) -> dict[str, float]:
        """The cells have 30 to 600 photos."""
        given = answer(angles=10)
        given.rules = [SimpleNamespace(name=f"rule {n}", photos=n) for n in photos]
        axes = accuracy_vs_size(curve, fitted, {}, given).axes[0]
        return {t.get_text(): t.xy[0] for t in axes.texts if t.get_text().startswith("rule")}

    assert marked(29, 1201) == {}
    assert marked(100, 1200) == {"rule 100": 100, "rule 1200": 1200}
    assert marked(100, 120) == {"rule 120": 120}
    assert marked(100, 100) == {"rule 100, rule 100": 100}


def test_answer_points_at_its_own_cell(curve: pd.DataFrame, fitted: pd.DataFrame) -> None:
    twice = pd.concat([curve, curve[curve["photos"] == 60].assign(photos=120, angles=4)])
    axes = accuracy_vs_size(twice, fitted, {}, answer()).axes[0]
    text = next(t for t in axes.texts if "enough" in t.get_text())
    assert text.xy == (120, pytest.approx(0.6 + 0.02 * 2 + 0.1))


def test_surface_has_a_panel_a_strategy_and_contours_where_fitted(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    *panels, _ = samples_and_angles(curve, fitted, answer()).axes
    titles = [axes.get_title() for axes in panels]
    assert titles == ["from scratch", "frozen features", "fine-tuned"]
    contours = [[c for c in axes.collections if isinstance(c, ContourSet)] for axes in panels]
    assert [len(c) for c in contours] == [0, 1, 0]
    discs = next(c for c in panels[0].collections if isinstance(c, PathCollection))
    assert len(discs.get_offsets()) == 6
    assert [t.get_text() for t in panels[1].texts if t.get_text() == "enough"] == ["enough"]
    assert not any("enough" in t.get_text() for t in (*panels[0].texts, *panels[2].texts))


def test_views_have_a_line_and_band_a_strategy() -> None:
    rows = [
        {"strategy": s, "views": v, "accuracy": 0.8 + v / 100, "accuracy_low": 0.7,
         "accuracy_high": 0.9}
        for s in ("scratch", "frozen") for v in (1, 2, 3)
    ]  # fmt: skip
    axes = views_at_test_time(pd.DataFrame(rows), METRICS["accuracy"]).axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 2, 3]] * 2
    assert len(axes.collections) == 2


def test_ticks_differ_where_accuracies_hardly_do_and_one_view_is_one_view() -> None:
    low = {"strategy": "frozen", "accuracy": 0.025, "accuracy_low": 0.013, "accuracy_high": 0.041}
    curve = pd.DataFrame([low | {"samples": n, "angles": 1, "photos": n} for n in (342, 489)])
    nothing = curve.assign(extrapolated=False)[:0]
    by_views = views_at_test_time(pd.DataFrame([low | {"views": 1}]), METRICS["accuracy"])
    for figure in (accuracy_vs_size(curve, nothing, {}, NOT_ENOUGH), by_views):
        figure.canvas.draw()
        shown = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        assert len(set(shown)) == len(shown) > 3
        assert "2.5%" in shown
    ticks = by_views.axes[0].get_xticklabels()
    left, right = by_views.axes[0].get_xlim()
    assert [tick.get_text() for tick in ticks if left <= tick.get_position()[0] <= right] == ["1"]


def test_same_figure_same_bytes(curve: pd.DataFrame, fitted: pd.DataFrame, tmp_path: Path) -> None:
    for suffix in (".svg", ".png"):
        first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
        for path in (first, second):
            save(accuracy_vs_size(curve, fitted, {}, answer()), path)
        assert first.read_bytes() == second.read_bytes()


def test_training_curves_have_a_line_a_run() -> None:
    runs = [
        {"strategy": s, "samples": 60, "angles": 1, "photos": 60, "seed": seed, "step": step,
         "val_loss": 0.5, "val_accuracy": 0.8}
        for s in ("frozen", "finetune") for seed in (0, 1, 2) for step in (10, 20)
    ]  # fmt: skip
    figure = training_curves(pd.DataFrame(runs), OF_CLASSES)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3, 3]
    assert np.array_equal(figure.axes[0].lines[0].get_xdata(), [10, 20])
