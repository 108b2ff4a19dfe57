"""The chart of the metric, mostly accuracy, against the number of training photos."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Transform

from shotcount.findings.answer import Answer
from shotcount.findings.plan import More, Rule
from shotcount.report import words
from shotcount.report.style import (
    LOOKS,
    STYLE,
    apart,
    dodged,
    draw_intervals,
    frame,
    mixed,
    set_metric_axis,
    spread,
    write,
)
from shotcount.uncertainty.writing import capitalised, counted, percent, points

LABEL = 0.1  # width of a label on the axis of photos, as a share of the axis
FOOT = 0.27  # room below the scores, for the count of photos that is enough
DOTTED: Any = (0, (1, 1.5))


def accuracy_vs_size(
    curve: pd.DataFrame, fitted: pd.DataFrame, reference: Mapping[Any, float], answer: Answer
) -> Figure:
    """Draw the metric of the test photos against the number of training photos.

    Large marks are the cells with all samples, with their 95 % intervals. Small marks are those
    with fewer, of one strategy alone: the chart of samples and angles has them all. Lines are the
    fitted curve; if a strategy has none, they join its cells.

    Parameters
    ----------
    curve : DataFrame
        The table `curve` of findings.tables.
    fitted : DataFrame
        The table `fitted` of findings.tables; may lack strategies.
    reference : mapping of strategy to float
        Published values of the metric, drawn faintly; may be empty.
    answer : Answer
        Gives the title, the cell that is marked as enough, and what more photos would bring. Its
        rules of thumb are marked where they lie in the range of the chart.
    """
    # A line follows the angles where they vary, else the samples.
    across = "samples" if curve["angles"].nunique() > 1 else "angles"
    whole = curve[across] == curve[across].max()
    full, fewer = curve[whole].sort_values("photos"), curve[~whole].sort_values("photos")
    traced = fitted[~fitted["extrapolated"].astype(bool)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 5.0), layout="constrained")
        axes = figure.add_subplot()
        _scale_photos(axes, curve, full, answer)
        _scale_scores(axes, curve, full, reference.values(), answer)
        _draw_reference(axes, reference)
        _draw_rules(axes, answer.rules)
        _draw_fewer(axes, fewer, traced, answer)
        _draw_forecasts(axes, traced, answer)
        shifts = dodged(axes, curve["strategy"].unique())
        for strategy, cells in full.groupby("strategy"):
            own = traced[traced["strategy"] == strategy]
            line = own[own[across] == own[across].max()] if len(own) else cells
            _draw_strategy(axes, cells, line, answer, shifts[strategy])
        _name_strategies(axes, full, answer)
        if across == "samples":
            best = full[full["strategy"] == answer.strategy]
            _write_angles(axes, best, answer, shifts[answer.strategy])
        if answer.beats_guessing:
            _mark_enough(axes, curve, answer)
        if answer.has_enough:
            _shade_flat(axes, traced if answer.curve_of == answer.strategy else full, answer)
        verdict = words.verdict(answer, LOOKS[answer.strategy].method)
        caption = _caption(full, fewer, traced, answer)
        frame(figure, words.title(answer), f"{capitalised(verdict)}.", caption)
        return figure


def _scale_photos(axes: Axes, curve: pd.DataFrame, full: pd.DataFrame, answer: Answer) -> None:
    """Set photos on a log axis, with room for labels and forecasts."""
    photos, first = curve["photos"], curve["photos"].min()
    last = max([photos.max(), *(more.samples * more.angles for more, *_ in _forecasts(answer))])
    width = max(last / first, 2.0)
    axes.set_xscale("log", base=2)
    axes.set_xlim(first / width ** (0.21 if len(full) < len(curve) else 0.07), last * width**0.03)
    best = full.loc[full["strategy"] == answer.strategy, "photos"]
    sizes = [size for own in (best, full["photos"], photos) for size in sorted(own, reverse=True)]
    axes.set_xticks(apart(sizes, width**-LABEL))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{round(x):,}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("training photos (log scale)")


def _scale_scores(
    axes: Axes, curve: pd.DataFrame, full: pd.DataFrame, others: Iterable[float], answer: Answer
) -> None:
    """Set the metric in percent, with room for all of it and for the count that is enough."""
    metric, ahead = answer.metric.key, (more.score.value for more, *_ in _forecasts(answer))
    drawn = [*full[f"{metric}_low"], *full[f"{metric}_high"], *curve[metric], *others, *ahead]
    set_metric_axis(axes, min(drawn), max(drawn), FOOT if answer.beats_guessing else 0.1)
    axes.set_ylabel(f"test {answer.metric.name} (photos of unseen {answer.metric.terms.sample}s)")


def _draw_reference(axes: Axes, reference: Mapping[Any, float]) -> None:
    """Draw published values as faint dotted lines."""
    shown = sorted(reference.items(), key=lambda pair: pair[1])
    bottom, top = axes.get_ylim()
    places = spread([value for _, value in shown], 0.045 * (top - bottom))
    for place, (strategy, value) in zip(places, shown, strict=True):
        look = LOOKS[strategy]
        axes.axhline(value, color=look.colour, linestyle=DOTTED, linewidth=1, alpha=0.6)
        at: Any = {"xycoords": ("axes fraction", "data"), "color": look.ink}
        write(axes, f"blog, {look.model}", (0, place), (4, 2), **at)


def _draw_rules(axes: Axes, rules: Sequence[Rule]) -> None:
    """Mark the two rules of thumb above the panel, where they lie in its range."""
    left, right = axes.get_xlim()
    shown = sorted({rule.photos for rule in rules if left <= rule.photos <= right})
    for photos, side in zip(shown, ("right", "left"), strict=False):
        names = ", ".join(rule.name for rule in rules if rule.photos == photos)
        axes.axvline(photos, 0.97, 1, color="#777777", linewidth=0.8)
        at = {"xycoords": ("data", "axes fraction"), "ha": side, "color": "#777777"}
        write(axes, names, (photos, 1), (2 if side == "right" else -2, 2), **at)


def _draw_fewer(axes: Axes, cells: pd.DataFrame, fitted: pd.DataFrame, answer: Answer) -> None:
    """Draw the cells with fewer samples faintly, a line for each number of them."""
    metric, strategy = answer.metric.key, _of_fewer(cells, answer)
    own, lines = (table[table["strategy"] == strategy] for table in (cells, fitted))
    (bottom, top), free = axes.get_ylim(), 0.0  # above the last label
    for samples, line in own.groupby("samples"):
        traced = lines[lines["samples"] == samples]
        drawn = traced if len(traced) else line
        look = LOOKS[strategy]
        pale = mixed(look.colour, "white", 0.45)
        axes.plot(drawn["photos"], drawn[metric], color=pale, linewidth=1, zorder=2)
        axes.plot(
            line["photos"], line[metric], color=pale, marker=look.marker, markersize=4,
            markerfacecolor="white", linestyle="none", zorder=2,
        )  # fmt: skip
        text, start = counted(samples, answer.metric.terms.sample), drawn.iloc[0]
        at: Any = {"ha": "right", "va": "center", "color": look.ink}
        if start[metric] >= free:
            write(axes, text, (start["photos"], start[metric]), (-5, 0), **at)
            free = start[metric] + 0.045 * (top - bottom)


def _of_fewer(cells: pd.DataFrame, answer: Answer) -> str:
    """Return whose cells with fewer samples are shown: the strategy to use if it has any."""
    of = set(cells["strategy"])
    return answer.strategy if answer.strategy in of or not of else str(cells["strategy"].iloc[0])


def _draw_strategy(
    axes: Axes, cells: pd.DataFrame, line: pd.DataFrame, answer: Answer, shift: Transform
) -> None:
    """Draw a strategy's cells with intervals, and its line; the strategy to use is bolder."""
    metric, strategy = answer.metric.key, cells["strategy"].iloc[0]
    look, best = LOOKS[strategy], strategy == answer.strategy
    width = 2.4 if best else 1.5
    draw_intervals(axes, cells, "photos", metric, shift)
    axes.plot(
        line["photos"], line[metric], color=look.colour, linewidth=width, transform=shift, zorder=3
    )
    axes.plot(
        cells["photos"], cells[metric], color=look.colour, marker=look.marker, linestyle="none",
        markersize=9 if best else 7, markeredgecolor="white", transform=shift, zorder=4,
    )  # fmt: skip


def _forecasts(answer: Answer) -> list[tuple[More, Any, str]]:
    """Return what more photos would bring, as far as it is known, with its line and its name."""
    terms = answer.metric.terms
    both = (
        (answer.more_samples, (0, (4, 2)), f"Dashed: forecast for twice the {terms.sample}s."),
        (answer.more_angles, DOTTED, f"Dotted: forecast for twice the {terms.angle}s."),
    )
    return [(more, line, said) for more, line, said in both if more is not None]


def _draw_forecasts(axes: Axes, fitted: pd.DataFrame, answer: Answer) -> None:
    """Draw what the curve expects of more photos, from the end of the curve on."""
    own = fitted[fitted["strategy"] == answer.curve_of].sort_values("photos")
    for more, line, _ in _forecasts(answer):
        start = own.iloc[-1]
        axes.plot(
            [start["photos"], more.samples * more.angles],
            [start[answer.metric.key], more.score.value],
            color=LOOKS[start["strategy"]].colour, linestyle=line, linewidth=1.3, zorder=2,
        )  # fmt: skip


def _name_strategies(axes: Axes, cells: pd.DataFrame, answer: Answer) -> None:
    """Write each strategy's name and its score with all photos at the right end of its line."""
    metric, (bottom, top) = answer.metric.key, axes.get_ylim()
    last = cells.groupby("strategy").tail(1).sort_values(metric)
    places = spread(last[metric], 0.11 * (top - bottom))
    for place, strategy, score in zip(places, last["strategy"], last[metric], strict=True):
        look, best = LOOKS[strategy], strategy == answer.strategy
        at: Any = {"transform": axes.get_yaxis_transform(), "clip_on": False}
        axes.plot(1.02, place, color=look.colour, marker=look.marker, markersize=7, **at)
        axes.text(
            1.04, place, f"{look.model}\n{percent(score)}", va="center", fontsize=10,
            color=look.ink, weight="bold" if best else "normal", **at,
        )  # fmt: skip


def _write_angles(axes: Axes, cells: pd.DataFrame, answer: Answer, shift: Transform) -> None:
    """Write above the intervals of the strategy to use from how many angles its photos are."""
    left, right = axes.get_xlim()
    shown = apart(cells["photos"][::-1], (right / left) ** (-1.2 * LABEL))
    at: Any = {"xycoords": shift, "ha": "center", "color": LOOKS[answer.strategy].ink}
    for cell in cells[cells["photos"].isin(shown)].itertuples():
        place = cell.photos, getattr(cell, f"{answer.metric.key}_high")
        write(axes, counted(cell.angles, answer.metric.terms.angle), place, (0, 3), **at)


def _mark_enough(axes: Axes, curve: pd.DataFrame, answer: Answer) -> None:
    """Mark the count of photos that is enough, with its interval, below its cell.

    What is shown is filled and solid, a best guess is hollow and dotted. If no smaller subset is
    enough, an arrow points to more photos.
    """
    enough, count = answer.enough, answer.enough.photos
    (bottom, top), (left, right) = axes.get_ylim(), axes.get_xlim()
    place, ink, fewer = bottom + 0.05 * (top - bottom), "#222222", answer.has_enough
    axes.plot([count.low, count.high], [place] * 2, color="#bbbbbb", linewidth=4, zorder=2)
    axes.plot(
        count.value, place, marker="D" if fewer else ">", markersize=8, color=ink,
        markerfacecolor=ink if enough.shown and fewer else "white", zorder=4,
    )  # fmt: skip
    if fewer:
        cell = curve.set_index(["strategy", "samples", "angles"]).loc[
            (answer.strategy, enough.samples, enough.angles)
        ]
        axes.vlines(
            count.value, place, cell[answer.metric.key], color=ink, linewidth=1.3,
            linestyle="solid" if enough.shown else DOTTED, zorder=2,
        )  # fmt: skip
    before = count.value**2 > left * right  # in the right half
    offset, side = (-9, "right") if before else (9, "left")
    first, second = _enough_label(answer)
    look = {"ha": side, "color": ink, "fontsize": 9.5}
    write(axes, first, (count.value, place), (offset, 19 if second else 6), weight="bold", **look)
    write(axes, second, (count.value, place), (offset, 6), **look)


def _shade_flat(axes: Axes, curve: pd.DataFrame, answer: Answer) -> None:
    """Shade what is within the tolerance of all photos, from the count that is enough on."""
    own = curve[curve["strategy"] == answer.strategy]
    level = own.sort_values("photos")[answer.metric.key].iloc[-1]
    ends = [answer.enough.photos.value, answer.enough.largest]
    colour = mixed(LOOKS[answer.strategy].colour, "white", 0.75)
    axes.fill_between(ends, level - answer.tolerance, level, color=colour, linewidth=0, zorder=1)


def _enough_label(answer: Answer) -> tuple[str, str]:
    """Say how many photos are enough, and what they are or within which limits the count lies."""
    enough, terms = answer.enough, answer.metric.terms
    count = enough.photos
    if not answer.has_enough:
        limits = f"enough: {count.low:,.0f} to {count.high:,.0f} (95 % interval)"
        return f"all {enough.largest:,} photos may not be enough", limits * (count.low < count.high)
    called = "shown to be enough" if enough.shown else "best guess"
    size = f"{enough.samples:,} {terms.sample}s × {counted(enough.angles, terms.angle)}"
    return f"{called}: {count.value:,.0f} photos", size


def _caption(full: pd.DataFrame, fewer: pd.DataFrame, fitted: pd.DataFrame, answer: Answer) -> str:
    """Say what marks and lines are, of those that are there."""
    terms, said = answer.metric.terms, ["Bars: 95 % intervals."]
    if len(fewer):
        model = LOOKS[_of_fewer(fewer, answer)].model
        most = f"{full['samples'].max():,} {terms.sample}s"
        said.append(f"Large marks: all {most}; small: fewer, {model}.")
    if len(fitted):
        joined = fitted["strategy"].nunique() < full["strategy"].nunique()
        said.append(f"Lines: fitted curves{', or joined marks' if joined else ''}.")
    if answer.has_enough:
        within = f"{points(answer.tolerance)} of all {answer.enough.largest:,} photos"
        said.append(f"Shaded: within {within}.")
    return " ".join([*said, *(text for *_, text in _forecasts(answer))])
