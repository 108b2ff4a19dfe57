"""Three charts: samples and angles, views at test time, training curves."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from shotcount.findings.answer import Answer
from shotcount.report.style import LOOKS, STYLE, apart, draw_band, percent
from shotcount.uncertainty.metrics import Metric
from shotcount.uncertainty.terms import Terms

NO_VIEWS = "Not averaged: each view of a scene shows its objects in other places."


def samples_and_angles(curve: pd.DataFrame, fitted: pd.DataFrame, answer: Answer) -> Figure:
    """Draw the metric by samples and angles, one panel per strategy: discs and fitted contours.

    Along a dotted line the number of photos is the same, so values along it show whether more
    samples or more angles are better. A strategy without a curve has no contours.
    """
    strategies = list(curve["strategy"].unique())
    metric, terms = answer.metric.key, answer.metric.terms
    lowest, highest = curve[metric].min(), curve[metric].max()
    levels = MaxNLocator(nbins=14, steps=[1, 2, 5, 10]).tick_values(lowest, highest)
    scale = Normalize(lowest, highest)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.1 * len(strategies), 4.2), layout="constrained")
        panels = figure.subplots(1, len(strategies), sharex=True, sharey=True, squeeze=False)[0]
        for axes, strategy in zip(panels, strategies, strict=True):
            own = fitted[(fitted["strategy"] == strategy) & ~fitted["extrapolated"]]
            _draw_contours(axes, own, metric, levels)
            cells = curve[curve["strategy"] == strategy]
            discs = axes.scatter(
                cells["samples"],
                cells["photos"] / cells["samples"],
                c=cells[metric],
                norm=scale,
                cmap="viridis",
                s=70,
                edgecolor="white",
                zorder=3,
            )
            if strategy == answer.strategy and answer.enough.photos.value < answer.enough.largest:
                _circle_enough(axes, answer)
            axes.set_title(LOOKS[strategy].model, fontsize=10)
            _scale_axes(axes, curve, terms)
        panels[0].set_ylabel(f"{terms.angle}s of each")
        figure.colorbar(discs, ax=panels, format=FuncFormatter(percent), label=answer.metric.name)
        figure.suptitle("Measured (discs) and fitted (contours); dotted: equally many photos",
                        fontsize=10)  # fmt: skip
        return figure


def _draw_contours(axes: Axes, fitted: pd.DataFrame, metric: str, levels: Sequence[float]) -> None:
    surface = fitted.pivot(index="angles", columns="samples", values=metric)
    if min(surface.shape) > 1:
        lines = axes.contour(
            surface.columns,
            surface.index,
            surface,
            levels=levels,
            colors="#555555",
            linewidths=0.9,
        )
        axes.clabel(lines, fmt=lambda level: f"{100 * level:.4g} %", fontsize=7)


def _circle_enough(axes: Axes, answer: Answer) -> None:
    enough, colour = answer.enough, "#D55E00"
    place = enough.samples, enough.photos.value / enough.samples
    axes.scatter(
        *place,
        s=220,
        facecolor="none",
        edgecolor=colour,
        linewidth=1.8,
        zorder=4,
        clip_on=False,
    )
    axes.annotate(
        "enough" if enough.shown else "best guess",
        place,
        xytext=(0, 12),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=colour,
    )


def _scale_axes(axes: Axes, curve: pd.DataFrame, terms: Terms) -> None:
    """Set log axes for samples and angles; draw dotted lines of equally many photos."""
    samples, angles = curve["samples"], curve["photos"] / curve["samples"]
    axes.set(xscale="log", yscale="log")
    axes.grid(False)
    axes.set_xlabel(f"training {terms.sample}s")
    axes.set_xticks(shown := apart(samples), [f"{n:,}" for n in shown])
    axes.set_yticks(shown := apart(curve["angles"]), [str(k) for k in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(samples.min() / 1.4, samples.max() * 1.4)
    axes.set_ylim(angles.min() / 1.4, angles.max() * 1.4)
    for photos in sorted(curve["photos"].unique()):
        ends = (samples.min() / 2, samples.max() * 2)
        axes.plot(ends, [photos / n for n in ends], ":", color="#bbbbbb", linewidth=0.8)


def views_at_test_time(views: pd.DataFrame, metric: Metric) -> Figure:
    """Draw the metric for whole samples against the number of angles averaged.

    Parameters
    ----------
    views : DataFrame
        The table `views` of findings.tables. If it is empty, the chart says why.
    metric : Metric
    """
    with matplotlib.rc_context(STYLE):
        if views.empty:
            figure = Figure(figsize=(6.4, 0.6))
            figure.text(0.5, 0.5, NO_VIEWS, ha="center", va="center")
            return figure
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for strategy, line in views.groupby("strategy", sort=False):
            axes.plot(
                line["views"],
                line[metric.key],
                color=LOOKS[strategy].colour,
                marker=LOOKS[strategy].marker,
                markersize=5,
                label=LOOKS[strategy].model,
            )
            draw_band(axes, line["views"], line, metric.key)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(percent)
        axes.set_xlabel("angles of a test sample, predictions averaged")
        axes.set_ylabel(f"{metric.name} for samples")
        axes.legend(loc="best")
        return figure


def training_curves(history: pd.DataFrame, terms: Terms) -> Figure:
    """Draw validation loss and accuracy against the step, one thin line per run.

    Parameters
    ----------
    history : DataFrame
        With the columns `HISTORY` of core.tables. Runs on more photos are drawn darker. A strategy
        whose heads are solved has no steps to draw.
    terms : Terms
    """
    looks = history.groupby("strategy", sort=False)["step"].nunique()
    strategies = [name for name, count in looks.items() if count > 1] or list(looks.index)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(strategies), 4.6), layout="constrained")
        grid = figure.subplots(2, len(strategies), sharex="col", sharey="row", squeeze=False)
        for column, strategy in enumerate(strategies):
            own = history[history["strategy"] == strategy]
            for (photos, _, _), run in own.groupby(["photos", "samples", "seed"]):
                alpha = 0.15 + 0.6 * photos / own["photos"].max()
                for row, value in enumerate(["val_loss", "val_accuracy"]):
                    grid[row, column].plot(
                        run["step"],
                        run[value],
                        color=LOOKS[strategy].colour,
                        alpha=alpha,
                        linewidth=1,
                        marker="." if len(run) == 1 else None,  # one point doesn't make a line
                    )
            grid[0, column].set_title(LOOKS[strategy].model, fontsize=10)
            grid[1, column].set_xlabel("optimisation step")
        grid[0, 0].set_ylabel(f"validation {terms.loss}")
        grid[1, 0].set_ylabel(f"validation {terms.share}")
        grid[1, 0].yaxis.set_major_formatter(percent)
        figure.suptitle("Each run's validation; darker lines had more photos", fontsize=10)
        return figure
