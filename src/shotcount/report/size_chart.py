"""The chart of the metric, mostly accuracy, against the number of training photos."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from shotcount.findings.answer import Answer
from shotcount.findings.plan import Rule
from shotcount.report.style import LOOKS, STYLE, apart, draw_band, percent
from shotcount.uncertainty.terms import Terms


def accuracy_vs_size(
    curve: pd.DataFrame, fitted: pd.DataFrame, reference: Mapping[Any, float], answer: Answer
) -> Figure:
    """Draw the metric of the test photos against the number of training photos.

    Marks are cells; those with all samples have a 95 % band. Lines are the fitted curve, dashed
    where it extrapolates; if a strategy has no curve, lines join its cells.

    Parameters
    ----------
    curve : DataFrame
        The table `curve` of findings.tables.
    fitted : DataFrame
        The table `fitted` of findings.tables; may lack strategies.
    reference : mapping of strategy to float
        Published values of the metric, drawn faintly; may be empty.
    answer : Answer
        Names the metric, and the cell that is marked as enough. Its rules of thumb are marked where
        they lie in or near the range of the cells.
    """
    metric, terms = answer.metric.key, answer.metric.terms
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 5.4), layout="constrained")
        axes = figure.add_subplot()
        # A line follows the angles where they vary, else the samples.
        along, across = ("angles", "samples")
        if curve["angles"].nunique() == 1:
            along, across = across, along
        for strategy, cells in curve.groupby("strategy", sort=False):
            own = fitted[fitted["strategy"] == strategy]
            if strategy != answer.strategy:  # only the answer's curve shows more samples
                own = own[own["samples"] <= cells["samples"].max()]
            _draw_cells(axes, cells, across, "none" if len(own) else "-", metric)
            _draw_curves(axes, own, across, along, cells, metric)
        _draw_reference(axes, reference)
        _draw_rules(axes, curve, answer.rules)
        if answer.enough.photos.value < answer.enough.largest:
            _point_out_enough(axes, curve, answer)
        _size_axes(axes, curve, terms)
        axes.yaxis.set_major_formatter(percent)
        axes.set_ylabel(f"test {answer.metric.name} (photos of unseen {terms.sample}s)")
        axes.margins(y=0.12)
        lines = "Lines: fitted learning curve, dashed beyond what was measured"
        if fitted["strategy"].nunique() < curve["strategy"].nunique():
            lines += "; where none is identifiable, joined marks"
        axes.legend(
            ncols=curve["strategy"].nunique(),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            title=f"Thick: all {curve['samples'].max():,} training {terms.sample}s, band: 95 % "
            f"interval. Thin: as many as written.\n{lines}.",
            title_fontsize=8.5,
        )
        return figure


def _draw_reference(axes: Axes, reference: Mapping[Any, float]) -> None:
    """Draw published values as faint dotted lines."""
    for strategy, value in reference.items():
        colour = LOOKS[strategy].colour
        axes.axhline(value, color=colour, linestyle=":", linewidth=1, alpha=0.6)
        axes.annotate(
            f"blog, {LOOKS[strategy].model}",
            (1, value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
            color=colour,
            alpha=0.8,
        )


def _draw_rules(axes: Axes, curve: pd.DataFrame, rules: Sequence[Rule]) -> None:
    """Mark rules of thumb from the smallest subset to twice the largest, where there is room."""
    near = [r for r in rules if curve["photos"].min() <= r.photos <= 2 * curve["photos"].max()]
    for photos in apart(pd.Series([rule.photos for rule in near], dtype="int64")):
        axes.axvline(photos, color="#999999", linestyle=":", linewidth=0.8, zorder=1)
        axes.annotate(
            ", ".join(rule.name for rule in near if rule.photos == photos),
            (photos, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-2, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="bottom",
            fontsize=7,
            color="#777777",
        )


def _point_out_enough(axes: Axes, curve: pd.DataFrame, answer: Answer) -> None:
    """Point an arrow at the subset that is enough, or the best guess."""
    enough = answer.enough
    cell = curve.set_index(["strategy", "samples", "angles"]).loc[
        (answer.strategy, enough.samples, enough.angles)
    ]
    axes.annotate(
        f"{cell['photos']:,.0f} photos\n{'are enough' if enough.shown else '(best guess)'}",
        (cell["photos"], cell[answer.metric.key]),
        xytext=(0, 24),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        arrowprops={"arrowstyle": "->", "color": "#444444"},
    )


def _draw_cells(axes: Axes, cells: pd.DataFrame, across: str, linestyle: str, metric: str) -> None:
    """Draw a strategy's cells; those with the most samples are bold and have intervals."""
    strategy, full = cells["strategy"].iloc[0], cells[across].max()
    colour = LOOKS[strategy].colour
    for count, line in cells.sort_values("photos").groupby(across):
        main = count == full
        axes.plot(
            line["photos"],
            line[metric],
            color=colour,
            marker=LOOKS[strategy].marker,
            markersize=6 if main else 3.5,
            markerfacecolor=colour if main else "white",
            linestyle=linestyle,
            linewidth=2 if main else 1,
            label=LOOKS[strategy].model if main else None,
            zorder=3 if main else 2,
        )
        if main:
            draw_band(axes, line["photos"], line, metric)


def _draw_curves(
    axes: Axes, fitted: pd.DataFrame, across: str, along: str, cells: pd.DataFrame, metric: str
) -> None:
    """Draw a strategy's fitted curve: one line per number of samples, written at its start."""
    full = cells[across].max()
    for count, line in fitted.groupby(across):
        main, colour = count == full, LOOKS[line["strategy"].iloc[0]].colour
        inside = line[~line["extrapolated"]]
        beyond = line[line["extrapolated"] | (line[along] == inside[along].max())]
        style: Any = {"color": colour, "linewidth": 1.8 if main else 0.8}
        axes.plot(inside["photos"], inside[metric], **style, zorder=2)
        axes.plot(beyond["photos"], beyond[metric], **style, linestyle=(0, (4, 2)))
        if not main:
            start = line.sort_values("photos").iloc[0]
            axes.annotate(
                f"{count:,}",
                (start["photos"], start[metric]),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=6.5,
                color=colour,
            )


def _size_axes(axes: Axes, curve: pd.DataFrame, terms: Terms) -> None:
    """Set photos on a log axis below, and on top the angles of the cells with all samples."""
    full = curve[curve["samples"] == curve["samples"].max()]
    axes.set_xscale("log", base=2)
    axes.set_xticks(apart(curve["photos"]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{round(x):,}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("training photos (log scale)")
    above = axes.secondary_xaxis("top")
    angles = full.drop_duplicates("photos").set_index("photos")["angles"]
    above.set_xticks(shown := apart(full["photos"]), [str(angles[size]) for size in shown])
    above.xaxis.set_minor_locator(NullLocator())
    above.set_xlabel(f"{terms.angle}s of each {terms.sample}, all {terms.sample}s")
