import dataclasses
import functools
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from test_page import make_results

from shotcount.findings.answer import Answer
from shotcount.findings.plan import Enough, More, Rule
from shotcount.report import words
from shotcount.report.charts import save
from shotcount.report.panels import samples_and_angles, training_curves, views_at_test_time
from shotcount.report.size_chart import accuracy_vs_size
from shotcount.report.style import LOOKS, spread
from shotcount.uncertainty.intervals import Estimate
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


@functools.cache
def some_answer() -> Answer:
    return make_results()[1]


def answer(strategy: str = "frozen", angles: int = 2, shown: bool = True, **given: Any) -> Answer:
    """Of a study of 60 samples x 10 angles, of which `angles` are enough."""
    enough = Enough(
        samples=60, angles=angles, photos=Estimate(60 * angles, 60, 600), largest=600, shown=shown,
        at_all_samples=Estimate(angles, 1, 10), loss=Estimate(0.005, 0, 0.009), tested=60,
        to_show=40.0,
    )  # fmt: skip
    same: dict[str, Any] = {
        "metric": METRICS["accuracy"], "strategy": strategy, "score": Estimate(0.9, 0.85, 0.95),
        "enough": enough, "guessing": 0.5, "tolerance": 0.01, "comparisons": [], "rules": [],
        "curve_of": None, "more_samples": None, "more_angles": None,
    }  # fmt: skip
    return dataclasses.replace(some_answer(), **same | given)


NOT_ENOUGH = {"angles": 10}
MORE = {
    "curve_of": "frozen",
    "more_samples": More(120, 10.0, Estimate(0.96, 0.9, 0.99), Estimate(0.02, 0.01, 0.03)),
    "more_angles": More(60, 20.0, Estimate(0.93, 0.9, 0.96), Estimate(0.0, 0.0, 0.01)),
}


def marks(axes: Axes, least: float = 5) -> list[Line2D]:
    """The measured marks from this size on, without those beside the strategies' names."""
    shapes = [look.marker for look in LOOKS.values()]
    return [
        line for line in axes.lines
        if line.get_marker() in shapes and line.get_markersize() >= least
        and line.get_transform() != axes.get_yaxis_transform()
    ]  # fmt: skip


def curves(axes: Axes) -> list[Line2D]:
    """The lines along sizes, without the interval of the count that is enough."""
    return [
        line for line in axes.lines
        if line.get_marker() == "None" and line.get_color() != "#bbbbbb"
        and line.get_transform() != axes.get_xaxis_transform()
    ]  # fmt: skip


def texts(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.texts}


def points(lines: list[Line2D]) -> set[tuple[float, float]]:
    return {(x, round(y, 6)) for line in lines for x, y in line.get_xydata()}


# ---- accuracy against size ----------------------------------------------------------


def test_large_marks_are_all_samples_and_small_ones_the_others_of_one_strategy(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    axes = accuracy_vs_size(curve, fitted, {}, answer()).axes[0]
    full = curve[curve["samples"] == 60]
    assert points(marks(axes)) == {(r.photos, round(r.accuracy, 6)) for r in full.itertuples()}
    fewer = curve[(curve["samples"] == 30) & (curve["strategy"] == "frozen")]
    small = [line for line in marks(axes, 0) if line not in marks(axes)]
    assert points(small) == {(r.photos, round(r.accuracy, 6)) for r in fewer.itertuples()}
    assert "30 samples" in texts(axes)


def test_fewer_samples_are_those_of_the_strategy_to_use_or_else_of_another(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    own = accuracy_vs_size(curve, fitted, {}, answer("finetune")).axes[0]
    rest = curve[(curve["strategy"] != "finetune") | (curve["samples"] == 60)]
    other = accuracy_vs_size(rest, fitted, {}, answer("finetune")).axes[0]
    for axes, strategy in ((own, "finetune"), (other, "scratch")):
        (small,) = [line for line in marks(axes, 0) if line not in marks(axes)]
        assert small.get_marker() == LOOKS[strategy].marker


def test_every_large_mark_has_its_interval_and_strategies_stand_side_by_side(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    figure = accuracy_vs_size(curve, fitted, {}, answer(**NOT_ENOUGH))
    axes = figure.axes[0]
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    ends = {tuple(map(tuple, np.round(s, 6))) for bar in bars for s in bar.get_segments()}
    assert ends == {
        ((r.photos, round(r.accuracy_low, 6)), (r.photos, round(r.accuracy_high, 6)))
        for r in curve[curve["samples"] == 60].itertuples()
    }
    places = [bar.get_transform().transform((600, 0.8))[0] for bar in bars]
    assert len({round(place, 3) for place in places}) == 3
    assert not any(isinstance(c, PolyCollection) for c in axes.collections)  # no bands


def test_lines_are_the_fitted_curve_or_join_the_marks(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    axes = accuracy_vs_size(curve, fitted, {}, answer()).axes[0]
    sizes = sorted(list(line.get_xdata()) for line in curves(axes))
    fitted_sizes = [[n * k for k in range(1, 11)] for n in (30, 60)]
    assert sizes == sorted([*fitted_sizes, [60, 120, 600], [60, 120, 600]])
    # As the tables of a study without curves come: without rows and without types
    nothing = pd.DataFrame(columns=fitted.columns)
    axes = accuracy_vs_size(curve, nothing, {}, answer()).axes[0]
    assert sorted(list(line.get_xdata()) for line in curves(axes)) == [
        [30, 60, 300], *[[60, 120, 600]] * 3,
    ]  # fmt: skip


def test_lines_follow_the_samples_where_there_is_one_angle(curve: pd.DataFrame) -> None:
    one_angle, nothing = curve[curve["angles"] == 1], curve.assign(extrapolated=False)[:0]
    axes = accuracy_vs_size(one_angle, nothing, {}, answer(**NOT_ENOUGH)).axes[0]
    assert [list(line.get_xdata()) for line in curves(axes)] == [[30, 60]] * 3
    assert not any("angle" in text for text in texts(axes))


def test_forecasts_lead_from_the_curve_to_twice_the_samples_and_angles(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    figure = accuracy_vs_size(curve, fitted, {}, answer("finetune", **MORE))
    ahead = {
        (round(float(line.get_xdata()[-1])), round(float(line.get_ydata()[-1]), 6))
        for line in curves(figure.axes[0]) if line.get_linestyle() != "-"
    }  # fmt: skip
    assert ahead == {(1200, 0.96), (1200, 0.93)}
    starts = {
        (line.get_xdata()[0], round(line.get_ydata()[0], 6), line.get_color())
        for line in curves(figure.axes[0]) if line.get_linestyle() != "-"
    }  # fmt: skip
    assert starts == {(600, 0.95, LOOKS["frozen"].colour)}
    caption = figure.texts[-1].get_text().replace("\n", " ")
    assert "forecast for twice the samples. Dotted: forecast for twice the angles." in caption
    known = answer("finetune", **MORE | {"more_samples": None})
    assert "Dashed" not in accuracy_vs_size(curve, fitted, {}, known).texts[-1].get_text()


def test_strategies_are_named_with_their_scores_at_the_right(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    axes = accuracy_vs_size(curve, fitted, {}, answer()).axes[0]
    names = {
        text.get_text(): text.get_weight() for text in axes.texts if text.get_text()[-1] == "%"
    }
    assert names == {
        "from scratch\n80.0 %": "normal", "frozen features\n90.0 %": "bold",
        "fine-tuned\n92.0 %": "normal",
    }  # fmt: skip
    assert axes.get_legend() is None


def test_what_is_shown_to_be_enough_is_solid_and_a_best_guess_is_not(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    looks = []
    for shown, called in ((True, "shown to be enough"), (False, "best guess")):
        axes = accuracy_vs_size(curve, fitted, {}, answer(shown=shown)).axes[0]
        assert {f"{called}: 120 photos", "60 samples × 2 angles"} <= texts(axes)
        (mark,) = (line for line in axes.lines if line.get_marker() == "D")
        assert mark.get_xdata()[0] == 120
        (drop,) = (
            c for c in axes.collections if isinstance(c, LineCollection) and len(c.get_paths()) == 1
        )
        (top,) = drop.get_segments()
        assert tuple(top[1]) == (120, pytest.approx(0.6 + 0.02 * 2 + 0.1))
        looks.append((mark.get_markerfacecolor(), drop.get_linestyle()[0][1]))
    (filled, solid), (hollow, dotted) = looks
    assert solid is None
    assert dotted
    assert hollow == "white" != filled


def test_the_flat_part_is_what_lies_within_the_tolerance(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    figure = accuracy_vs_size(curve, fitted, {}, answer(tolerance=0.02))
    (flat,) = (c for c in figure.axes[0].collections if isinstance(c, PolyCollection))
    (x0, y0), (x1, y1) = flat.get_datalim(figure.axes[0].transData).get_points()
    assert (x0, x1) == (120, 600)
    assert (y0, y1) == (pytest.approx(0.88), pytest.approx(0.9))
    caption = figure.texts[-1].get_text().replace("\n", " ")
    assert "Shaded: within 2 points of all 600 photos." in caption


def test_where_all_photos_may_not_be_enough_the_chart_says_so(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    figure = accuracy_vs_size(curve, fitted, {}, answer(**NOT_ENOUGH))
    (axes,) = figure.axes
    assert {
        "all 600 photos may not be enough", "enough: 60 to 600 (95 % interval)",
    } <= texts(axes)  # fmt: skip
    assert not any(text.startswith(("shown", "best guess")) for text in texts(axes))
    assert [line.get_marker() for line in axes.lines].count(">") == 1
    assert "Shaded" not in figure.texts[-1].get_text()


def test_where_guessing_is_not_beaten_nothing_is_called_enough(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    unbeaten = answer(guessing=0.86)
    figure = accuracy_vs_size(curve, fitted, {}, unbeaten)
    assert figure.texts[0].get_text() == "No answer: guessing isn't shown to be beaten"
    assert not any("enough" in text for text in texts(figure.axes[0]))
    assert not any(
        "enough" in text for text in texts(samples_and_angles(curve, fitted, unbeaten).axes[1])
    )


@pytest.mark.parametrize("shown", [True, False])
def test_the_title_is_the_answer(curve: pd.DataFrame, fitted: pd.DataFrame, shown: bool) -> None:
    a = answer(shown=shown)
    title, note, _ = (
        text.get_text().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")
        for text in accuracy_vs_size(curve, fitted, {}, a).texts
    )
    assert title == words.title(a)
    assert note.startswith("With all 600 photos frozen features got 90.0 % of the test photos")


def test_ticks_are_sizes_of_the_study_and_angles_stand_above_the_marks(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    axes = accuracy_vs_size(curve, fitted, {}, answer()).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["30", "60", "120", "300", "600"]
    assert {"1 angle", "2 angles", "10 angles"} <= texts(axes)


def test_references_are_drawn_only_where_given(curve: pd.DataFrame, fitted: pd.DataFrame) -> None:
    without, with_ = (
        accuracy_vs_size(curve, fitted, given, answer()).axes[0] for given in ({}, {"frozen": 0.4})
    )
    assert texts(with_) - texts(without) == {"blog, frozen features"}
    assert with_.get_ylim()[0] < 0.4 < without.get_ylim()[0]
    near = accuracy_vs_size(curve, fitted, {"frozen": 0.885, "finetune": 0.892}, answer())
    places = [box for name, box in written(near).items() if "blog" in name]
    assert not places[0].overlaps(places[1])


def test_rules_of_thumb_are_marked_in_the_range_of_the_chart(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    def marked(*photos: int, **given: Any) -> dict[str, float]:
        """The cells have 30 to 600 photos, forecasts 1,200."""
        rules = [Rule(f"rule {n}", n, 1, n, "frozen", None, False) for n in photos]
        axes = accuracy_vs_size(curve, fitted, {}, answer(rules=rules, **given)).axes[0]
        return {t.get_text(): t.xy[0] for t in axes.texts if t.get_text().startswith("rule")}

    assert marked(10, 1200) == {}
    assert marked(100, 1200, **MORE) == {"rule 100": 100, "rule 1200": 1200}
    assert marked(100, 100) == {"rule 100, rule 100": 100}


def shapes(curve: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, Answer]]:
    """Studies of several shapes, and their answers."""
    alike = curve.assign(accuracy=0.8, accuracy_low=0.75, accuracy_high=0.85)
    twelve = pd.concat(
        [
            curve[curve["angles"] == 10].assign(
                angles=k,
                photos=lambda t, k=k: t["samples"] * k,
                accuracy=lambda t, k=k: t["accuracy"] + k / 1000,
            )
            for k in range(1, 13)
        ]
    )
    enough = dataclasses.replace(answer().enough, largest=720)
    return {
        "shown": (curve, answer(**MORE)),
        "best guess": (curve, answer(shown=False, angles=1)),
        "not enough": (curve, answer(**NOT_ENOUGH, **MORE)),
        "two strategies": (curve[curve["strategy"] != "scratch"], answer()),
        "alike": (alike, answer()),
        "twelve angles": (twelve, answer(enough=enough)),
        "twelve angles of all samples": (twelve[twelve["samples"] == 60], answer(enough=enough)),
        "one angle": (curve[curve["angles"] == 1], answer(angles=1)),
        "one size": (curve[curve["photos"] == 600], answer(**NOT_ENOUGH)),
    }  # fmt: skip


SHAPES = [
    "shown", "best guess", "not enough", "two strategies", "alike", "twelve angles",
    "twelve angles of all samples", "one angle", "one size",
]  # fmt: skip


def written(figure: Figure) -> dict[str, Any]:
    """The box of every text in the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        found += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    return {
        f"{n}: {text.get_text()}": text.get_window_extent(canvas.get_renderer())
        for n, text in enumerate(found)
        if text.get_text() and text.get_visible()
    }


@pytest.mark.parametrize("draw", [accuracy_vs_size, samples_and_angles])
@pytest.mark.parametrize("shape", SHAPES)
def test_labels_lie_in_the_picture_and_not_on_one_another(
    curve: pd.DataFrame, fitted: pd.DataFrame, shape: str, draw: Any
) -> None:
    cells, a = shapes(curve)[shape]
    known = fitted if shape in ("shown", "best guess", "not enough") else fitted[:0]
    arguments = ({}, a) if draw is accuracy_vs_size else (a,)
    figure = draw(cells, known, *arguments)
    boxes = written(figure)
    for name, box in boxes.items():
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1, name
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1, name
    for (one, box), (other, next_) in combinations(boxes.items(), 2):
        assert not box.shrunk(0.96, 0.8).overlaps(next_), (one, other)


def test_places_are_spread_as_little_as_needed() -> None:
    assert np.allclose(spread([0.1, 0.5, 0.9], 0.1), [0.1, 0.5, 0.9])
    assert np.allclose(spread([0.5, 0.5, 0.9], 0.1), [0.45, 0.55, 0.9])
    assert np.allclose(spread([0.5, 0.52, 0.54], 0.1), [0.42, 0.52, 0.62])


# ---- samples and angles -------------------------------------------------------------


def test_surface_has_a_panel_a_strategy_and_contours_where_fitted(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    figure = samples_and_angles(curve, fitted, answer())
    panels = figure.axes
    titles = [axes.get_title() for axes in panels]
    assert titles == ["from scratch", "frozen features", "fine-tuned"]
    contours = [[c for c in axes.collections if isinstance(c, ContourSet)] for axes in panels]
    assert [len(c) for c in contours] == [0, 1, 0]
    discs = next(c for c in panels[0].collections if isinstance(c, PathCollection))
    assert len(discs.get_offsets()) == 6
    assert "enough" in texts(panels[1])
    assert not any("enough" in text for axes in panels[::2] for text in texts(axes))
    assert {"62.0", "64.0", "80.0"} <= texts(panels[0])
    assert any(text.endswith(" %") for text in texts(panels[1]))  # a contour's
    assert figure.texts[0].get_text().startswith("Ten angles of one sample are worth")
    assert "steeper" in figure.texts[1].get_text()
    without = samples_and_angles(curve, fitted[:0], answer())
    assert not any("ontours" in text.get_text() for text in without.texts)


@pytest.mark.parametrize(("shown", "label"), [(True, "enough"), (False, "best guess")])
def test_the_cell_that_is_enough_is_circled(
    curve: pd.DataFrame, fitted: pd.DataFrame, shown: bool, label: str
) -> None:
    a = answer(shown=shown)
    axes = samples_and_angles(curve, fitted, a).axes[1]
    circle = (
        axes.collections[-2]
        if isinstance(axes.collections[-1], ContourSet)
        else axes.collections[-1]
    )
    assert circle.get_offsets().tolist() == [[60, 2]]
    assert (circle.get_linestyle()[0][1] is None) == shown
    assert label in texts(axes)
    assert label not in texts(samples_and_angles(curve, fitted, answer(**NOT_ENOUGH)).axes[1])


def test_scores_are_in_the_discs_where_there_is_room(
    curve: pd.DataFrame, fitted: pd.DataFrame
) -> None:
    close, a = shapes(curve)["twelve angles"]
    figure = samples_and_angles(close, fitted[:0], a)
    assert not any(text.replace(".", "").isdigit() for axes in figure.axes for text in texts(axes))
    assert "brighter is higher" in figure.texts[-1].get_text()


@pytest.mark.parametrize("shape", ["one angle", "twelve angles of all samples"])
def test_one_number_of_samples_or_angles_is_a_row_a_strategy(
    curve: pd.DataFrame, fitted: pd.DataFrame, shape: str
) -> None:
    cells, a = shapes(curve)[shape]
    figure = samples_and_angles(cells, fitted, a)
    (axes,) = figure.axes
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    assert rows == ["from scratch", "frozen features", "fine-tuned"]
    discs = [c.get_offsets() for c in axes.collections]
    assert sum(map(len, discs)) == len(cells) + 1  # and the circle
    assert "enough" in texts(axes)
    title = figure.texts[0].get_text()
    if shape == "one angle":
        assert title == "What more angles bring can't be told: all subsets have 1 angle"
        assert axes.get_xlabel() == "training samples"
    else:
        assert title == "What more samples bring can't be told: all subsets have 60 samples"
        assert axes.get_xlabel() == "angles of each sample"


# ---- other charts -------------------------------------------------------------------


@pytest.mark.parametrize(("most", "bars"), [(3, [1, 2, 3]), (41, list(range(1, 42, 3)))])
def test_views_have_a_line_a_strategy_and_bars_with_room(most: int, bars: list[int]) -> None:
    rows = [
        {"strategy": s, "views": v, "accuracy": 0.8 + v / 1000, "accuracy_low": 0.7,
         "accuracy_high": 0.9}
        for s in ("scratch", "frozen") for v in range(1, most + 1)
    ]  # fmt: skip
    axes = views_at_test_time(pd.DataFrame(rows), METRICS["accuracy"]).axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [list(range(1, most + 1))] * 2
    drawn = [[segment[0][0] for segment in lines.get_segments()] for lines in axes.collections]
    assert drawn == [bars] * 2
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 1 < most < right
    assert bottom < 0.7 < 0.9 < top


def test_small_differences_look_small_and_one_view_is_one_view() -> None:
    low = {"strategy": "frozen", "accuracy": 0.025, "accuracy_low": 0.013, "accuracy_high": 0.041}
    high = {"strategy": "frozen", "accuracy": 0.99, "accuracy_low": 0.98, "accuracy_high": 1.0}
    for near, ticks in ((low, ["0 %", "5 %", "10 %", "15 %", "20 %"]),
                        (high, ["80 %", "85 %", "90 %", "95 %", "100 %"])):  # fmt: skip
        curve = pd.DataFrame([near | {"samples": n, "angles": 1, "photos": n} for n in (342, 489)])
        nothing = curve.assign(extrapolated=False)[:0]
        axes = accuracy_vs_size(curve, nothing, {}, answer(**NOT_ENOUGH)).axes[0]
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ticks
    by_views = views_at_test_time(pd.DataFrame([low | {"views": 1}]), METRICS["accuracy"])
    by_views.canvas.draw()
    assert "2.5 %" in [tick.get_text() for tick in by_views.axes[0].get_yticklabels()]
    ticks = by_views.axes[0].get_xticklabels()
    left, right = by_views.axes[0].get_xlim()
    assert [tick.get_text() for tick in ticks if left <= tick.get_position()[0] <= right] == ["1"]


def test_the_last_digits_of_the_layout_change_no_byte(
    curve: pd.DataFrame, fitted: pd.DataFrame, tmp_path: Path
) -> None:
    made = []
    for shift in (0.0, 1e-13):  # as the solver's results differ from process to process
        drawn = samples_and_angles(curve, fitted, answer())
        drawn.draw_without_rendering()
        drawn.set_layout_engine("none")
        for axes in drawn.axes:
            axes.set_position([side + shift for side in axes.get_position().bounds])
        save(drawn, tmp_path / "made.svg")
        made.append((tmp_path / "made.svg").read_bytes())
    assert made[0] == made[1]


def test_same_figure_same_bytes(curve: pd.DataFrame, fitted: pd.DataFrame, tmp_path: Path) -> None:
    def draw(chart: str, path: Path) -> bytes:
        a = answer(**MORE)
        drawn = {
            "size": lambda: accuracy_vs_size(curve, fitted, {}, a),
            "angles": lambda: samples_and_angles(curve, fitted, a),
        }[chart]()
        save(drawn, path)
        return path.read_bytes()

    for chart in ("size", "angles"):
        for suffix in (".svg", ".png"):
            path = tmp_path / f"{chart}{suffix}"
            assert draw(chart, path) == draw(chart, path)


def test_training_curves_have_a_line_a_run() -> None:
    runs = [
        {"strategy": s, "samples": 60, "angles": 1, "photos": 60, "seed": seed, "step": step,
         "val_loss": 0.5, "val_accuracy": 0.8}
        for s in ("frozen", "finetune") for seed in (0, 1, 2) for step in (10, 20)
    ]  # fmt: skip
    figure = training_curves(pd.DataFrame(runs), OF_CLASSES)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3, 3]
    assert np.array_equal(figure.axes[0].lines[0].get_xdata(), [10, 20])
