"""Three charts: samples and angles, views at test time, training curves."""

import math
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from shotcount.findings.answer import Answer
from shotcount.report import words
from shotcount.report.style import (
    LOOKS,
    STYLE,
    apart,
    closest,
    dodged,
    draw_intervals,
    frame,
    octaves,
    percent,
    set_sizes,
    write,
)
from shotcount.uncertainty.metrics import Metric
from shotcount.uncertainty.terms import Terms
from shotcount.uncertainty.writing import capitalised, counted

BARS = 14  # of each strategy that have room side by side
DISC, SMALL = 25.0, 8.0  # pt across: with the score inside, without
ON_WHITE: Any = {  # a label over lines
    "ha": "center",
    "va": "center",
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8},
}

NO_VIEWS = "Not averaged: each view of a scene shows its objects in other places."


def samples_and_angles(curve: pd.DataFrame, fitted: pd.DataFrame, answer: Answer) -> Figure:
    """Draw the metric by samples and angles, one panel per strategy: discs and fitted contours.

    Along a dotted line the number of photos is the same, so where contours are steeper than it,
    more samples are better than more angles. A strategy without a curve has no contours. If the
    study has one number of samples or of angles, there are no panels but a row for each strategy.
    """
    if min(curve["samples"].nunique(), curve["angles"].nunique()) == 1:
        return _rows_of_sizes(curve, answer)
    metric, terms = answer.metric.key, answer.metric.terms
    cells = dict(list(curve.groupby("strategy", sort=False)))
    widths = [octaves(own["samples"]) for own in cells.values()]
    across, up = 490 / sum(widths), 240 / octaves(curve["angles"])  # pt for an octave, about
    room = min(across * closest(curve["samples"]), up * closest(curve["angles"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 5), layout="constrained")
        panels = figure.subplots(1, len(cells), sharey=True, squeeze=False, width_ratios=widths)[0]
        fitted = fitted[~fitted["extrapolated"].astype(bool)]
        contours = False
        for axes, (strategy, own) in zip(panels, cells.items(), strict=True):
            _scale_axes(axes, own["samples"], curve, across, up)
            places = own["samples"], own["photos"] / own["samples"]
            _draw_discs(axes, places, own[metric], curve[metric], room)
            taken = np.stack(places, axis=1)
            if strategy == answer.strategy and answer.has_enough:
                n, side = answer.enough.samples, _freer(curve["angles"], answer)
                k = answer.enough.photos.value / n
                _circle_enough(axes, (n, k), answer, room, side)
                taken = np.vstack([taken, (n, k * 2 ** (side * DISC / up))])
            contours |= _draw_contours(axes, fitted[fitted["strategy"] == strategy], taken, metric)
            weight = "bold" if strategy == answer.strategy else "normal"
            axes.set_title(LOOKS[strategy].model, fontsize=10, weight=weight)
            axes.set_xlabel(f"training {terms.sample}s")
        panels[0].set_ylabel(f"{terms.angle}s of each {terms.sample}")
        inside = " in %" if room >= DISC else "; brighter is higher"
        caption, note = f"Discs: measured {answer.metric.name}{inside}.", ""
        if contours:
            caption += " Contours: fitted. Along a dotted line, the number of photos is the same."
            note = (
                f"Where contours are steeper than the dotted lines, new {terms.sample}s help more "
                f"than new {terms.angle}s."
            )
        frame(figure, capitalised(words.worth_of_angles(answer)), note, caption)
        return figure


def _freer(angles: pd.Series, answer: Answer) -> int:
    """Return 1 if there is more room above the row of the cell that is enough, else -1."""
    own = answer.enough.angles
    below, above = angles[angles < own].max(), angles[angles > own].min()
    return 1 if (above / own if above > 0 else 1.5) >= (own / below if below > 0 else 1.5) else -1


def _rows_of_sizes(curve: pd.DataFrame, answer: Answer) -> Figure:
    """Draw the cells of a study with one number of samples or of angles, a row per strategy."""
    metric, terms = answer.metric.key, answer.metric.terms
    along, other = (
        ("samples", "angles") if curve["samples"].nunique() > 1 else ("angles", "samples")
    )
    noun = {"samples": terms.sample, "angles": terms.angle}
    strategies = list(curve["strategy"].unique())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 1.9 + 0.5 * len(strategies)), layout="constrained")
        axes = figure.add_subplot()
        axes.set_ylim(len(strategies) - 0.4, -0.6)
        axes.set_yticks(range(len(strategies)), [LOOKS[name].model for name in strategies])
        per_octave = 400 / octaves(curve[along])  # pt, about
        set_sizes(axes, "x", curve[along], per_octave)
        axes.grid(axis="x", visible=False)
        numbered = curve[along].isin(apart(sorted(curve[along])[::-1], 2 ** (-DISC / per_octave)))
        rows = curve["strategy"].map(strategies.index)
        for shown, room in ((~numbered, 0), (numbered, DISC)):
            places = curve.loc[shown, along], rows[shown]
            _draw_discs(axes, places, curve.loc[shown, metric], curve[metric], room)
        if answer.has_enough:
            place = getattr(answer.enough, along), strategies.index(answer.strategy)
            _circle_enough(axes, place, answer, DISC, 1)
        axes.set_xlabel(
            f"training {terms.sample}s"
            if along == "samples"
            else f"{terms.angle}s of each {terms.sample}"
        )
        only = counted(curve[other].iloc[0], noun[other])
        title = f"What more {noun[other]}s bring can't be told: all subsets have {only}"
        frame(figure, title, "", f"Discs: measured {answer.metric.name} in %.")
        return figure


def _draw_discs(
    axes: Axes,
    places: tuple[pd.Series, pd.Series],
    scores: pd.Series,
    scale: pd.Series,
    room: float,
) -> None:
    """Draw measured cells; if the places are at least a disc apart, their scores are in them."""
    norm, colours = Normalize(scale.min(), scale.max()), matplotlib.colormaps["viridis"]
    size = DISC if room >= DISC else SMALL
    axes.scatter(*places, c=scores, norm=norm, cmap=colours, s=size**2, edgecolor="white", zorder=3)
    if room >= DISC:
        for x, y, score in zip(*places, scores, strict=True):
            ink = "black" if norm(score) > 0.6 else "white"
            axes.text(
                x,
                y,
                f"{100 * score:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color=ink,
                zorder=4,
            )


def _draw_contours(axes: Axes, fitted: pd.DataFrame, taken: np.ndarray, metric: str) -> bool:
    """Draw lines of equal fitted scores, labelled far from all places taken; say whether any is."""
    surface = fitted.pivot(index="angles", columns="samples", values=metric)
    if min(surface.shape) < 2:
        return False
    lines = axes.contour(
        surface.columns,
        surface.index,
        surface,
        locator=MaxNLocator(nbins=6, steps=[1, 2, 5, 10]),
        colors="#555555",
        linewidths=1,
    )
    taken, others = np.log2(taken), len(taken)
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        parts = [
            Path(part).interpolated(8).vertices for part in path.to_polygons(closed_only=False)
        ]
        if not parts:
            continue
        places = np.log2(np.concatenate(parts))
        nearest = np.linalg.norm(places[:, None] - taken, axis=2).min(axis=1)
        if nearest.max() > 0.25:  # octaves
            taken = np.vstack([taken, place := places[nearest.argmax()]])
            x, y = 2**place
            axes.text(x, y, percent(level), fontsize=8.5, color="#333333", **ON_WHITE)
    return len(taken) > others


def _circle_enough(
    axes: Axes, place: tuple[float, float], answer: Answer, room: float, side: int
) -> None:
    """Circle the cell that is enough: solidly if that is shown, with dots for a best guess."""
    shown, size = answer.enough.shown, (DISC if room >= DISC else SMALL) + 5
    axes.scatter(
        *place, s=size**2, facecolor="none", edgecolor="#222222", linewidth=2,
        linestyle="solid" if shown else (0, (1, 1)), zorder=4, clip_on=False,
    )  # fmt: skip
    text, look = "enough" if shown else "best guess", ON_WHITE | {"weight": "bold"}
    write(axes, text, place, (0, side * (size / 2 + 7)), zorder=5, **look)


def _scale_axes(
    axes: Axes, samples: pd.Series, curve: pd.DataFrame, across: float, up: float
) -> None:
    """Set log axes for samples and angles; draw dotted lines of equally many photos.

    `across` and `up` are the points that an octave takes.
    """
    axes.grid(False)
    left, right = set_sizes(axes, "x", samples, across)
    _, top = set_sizes(axes, "y", curve["angles"], up)
    if samples.nunique() == 1:
        return
    for photos in apart(sorted(curve["photos"])[::-1], 0.35):
        ends = photos / left, photos / right
        axes.plot([left, right], ends, ":", color="#999999", linewidth=1, zorder=1, scaley=False)
        if left * 1.2 < photos / top < right / 1.2:  # it enters the panel above all discs
            x, y, look = photos / top * 1.1, top / 1.1, ON_WHITE | {"color": "#777777"}
            axes.text(x, y, f"{photos:,} photos", fontsize=8, **look)


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
        shifts = dodged(axes, views["strategy"].unique())
        step = math.ceil(views["views"].nunique() / BARS)
        for strategy, line in views.groupby("strategy", sort=False):
            axes.plot(
                line["views"],
                line[metric.key],
                color=LOOKS[strategy].colour,
                marker=LOOKS[strategy].marker,
                markersize=5,
                markevery=step,
                label=LOOKS[strategy].model,
                transform=shifts[strategy],
                zorder=4,
            )
            draw_intervals(axes, line.iloc[::step], "views", metric.key, shifts[strategy])
        ends = views["views"].agg(["min", "max"])  # lines that are moved don't scale the axes
        low, high = views[f"{metric.key}_low"].min(), views[f"{metric.key}_high"].max()
        axes.update_datalim([(ends["min"], low), (ends["max"], high)])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(percent)
        axes.set_xlabel("angles of a test sample, predictions averaged")
        axes.set_ylabel(f"{metric.name} for samples")
        figure.legend(loc="outside upper center", ncols=3)
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
