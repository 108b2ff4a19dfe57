"""Tables → figures. Draws numbers, computes none."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from shotcount import files
from shotcount.answers import Answer

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey.
COLOURS = {"scratch": "#D55E00", "frozen": "#0072B2", "finetune": "#009E73"}
NAMES = {"scratch": "from scratch", "frozen": "frozen features", "finetune": "fine-tuned"}
MARKERS = {"scratch": "s", "frozen": "o", "finetune": "^"}
STYLE: Any = {
    "font.size": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "svg.hashsalt": "shotcount",  # the same figure gives the same bytes
    "svg.fonttype": "none",
}


def draw_all(
    results: Mapping[str, pd.DataFrame], reference: Mapping[Any, float], answer: Answer
) -> dict[str, Figure]:
    """Draw every chart of a study, by the name of its file.

    Parameters
    ----------
    results : mapping of str to DataFrame
        Those of `tables.METRICS`.
    reference : mapping of strategy to accuracy
        Published figures; may be empty.
    answer : Answer
    """
    curve, fitted = results["curve"], results["fitted"]
    return {
        "accuracy_vs_size": accuracy_vs_size(curve, fitted, reference, answer),
        "samples_and_angles": samples_and_angles(curve, fitted, answer),
        "views_at_test_time": views_at_test_time(results["views"]),
        "training_curves": training_curves(results["history"]),
    }


def accuracy_vs_size(
    curve: pd.DataFrame, fitted: pd.DataFrame, reference: Mapping[Any, float], answer: Answer
) -> Figure:
    """Draw test accuracy against the number of training photos.

    Marks are cells, with a 95 % band where all samples are used; lines are the fitted curve,
    dashed where it extrapolates, or join the cells of a strategy that has none.

    Parameters
    ----------
    curve : DataFrame
        As in `tables.CURVE`.
    fitted : DataFrame
        As in `tables.FITTED`; may lack strategies.
    reference : mapping of strategy to accuracy
        Published figures, drawn faintly; may be empty.
    answer : Answer
        Names the cell to point out as enough.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 5.4), layout="constrained")
        axes = figure.add_subplot()
        # A line follows the angles where they vary, else the samples.
        along, across = ("angles", "samples")
        if curve["angles"].nunique() == 1:
            along, across = across, along
        for strategy, cells in curve.groupby("strategy", sort=False):
            own = fitted[fitted["strategy"] == strategy]
            if strategy != answer.strategy:  # what more samples would bring: of it alone
                own = own[own["samples"] <= cells["samples"].max()]
            _draw_cells(axes, cells, across, "none" if len(own) else "-")
            _draw_curves(axes, own, across, along, cells)
        for strategy, accuracy in reference.items():
            axes.axhline(accuracy, color=COLOURS[strategy], linestyle=":", linewidth=1, alpha=0.6)
            axes.annotate(
                f"blog, {NAMES[strategy]}",
                (1, accuracy),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=8,
                color=COLOURS[strategy],
                alpha=0.8,
            )
        enough = answer.enough
        if enough.photos.value < enough.largest:
            cell = curve.set_index(["strategy", "samples", "angles"]).loc[
                (answer.strategy, enough.samples, enough.angles)
            ]
            axes.annotate(
                f"{cell['photos']:,.0f} photos\nare enough",
                (cell["photos"], cell["accuracy"]),
                xytext=(0, 24),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                arrowprops={"arrowstyle": "->", "color": "#444444"},
            )
        _size_axes(axes, curve)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylabel("test accuracy (photos of unseen samples)")
        axes.margins(y=0.12)
        lines = "Lines: fitted learning curve, dashed beyond what was measured"
        if fitted["strategy"].nunique() < curve["strategy"].nunique():
            lines += "; where none is identifiable, joined marks"
        axes.legend(
            ncols=curve["strategy"].nunique(),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.13),
            title=f"Thick: all {curve['samples'].max():,} training samples, band: 95 % interval. "
            f"Thin: as many as written.\n{lines}.",
            title_fontsize=8.5,
        )
        return figure


def _draw_cells(axes: Axes, cells: pd.DataFrame, across: str, linestyle: str) -> None:
    """Mark a strategy's cells, those of most samples boldly and with their intervals."""
    strategy, full = cells["strategy"].iloc[0], cells[across].max()
    colour = COLOURS[strategy]
    for count, line in cells.sort_values("photos").groupby(across):
        main = count == full
        axes.plot(
            line["photos"],
            line["accuracy"],
            color=colour,
            marker=MARKERS[strategy],
            markersize=6 if main else 3.5,
            markerfacecolor=colour if main else "white",
            linestyle=linestyle,
            linewidth=2 if main else 1,
            label=NAMES[strategy] if main else None,
            zorder=3 if main else 2,
        )
        if main:
            _draw_band(axes, line["photos"], line)


def _draw_band(axes: Axes, x: pd.Series, line: pd.DataFrame) -> None:
    axes.fill_between(
        x,
        line["accuracy_low"],
        line["accuracy_high"],
        color=COLOURS[line["strategy"].iloc[0]],
        alpha=0.13,
        linewidth=0,
    )


def _draw_curves(
    axes: Axes, fitted: pd.DataFrame, across: str, along: str, cells: pd.DataFrame
) -> None:
    """Draw a strategy's fitted curve, a line for each count of samples, written at its start."""
    full, last = cells[across].max(), cells[along].max()
    for count, line in fitted.groupby(across):
        main, colour = count == full, COLOURS[line["strategy"].iloc[0]]
        inside = line[~line["extrapolated"]]
        beyond = line[line["extrapolated"] | (line[along] == last)]
        style: Any = {"color": colour, "linewidth": 1.8 if main else 0.8}
        axes.plot(inside["photos"], inside["accuracy"], **style, zorder=2)
        axes.plot(beyond["photos"], beyond["accuracy"], **style, linestyle=(0, (4, 2)))
        if not main:
            start = line.sort_values("photos").iloc[0]
            axes.annotate(
                f"{count:,}",
                (start["photos"], start["accuracy"]),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=6.5,
                color=colour,
            )


def samples_and_angles(curve: pd.DataFrame, fitted: pd.DataFrame, answer: Answer) -> Figure:
    """Draw the accuracy of samples x angles: measured as discs, fitted as contours, per strategy.

    Along a dotted line the number of photos is the same, so it shows which way to spend them. A
    strategy without a curve has no contours.
    """
    strategies = list(curve["strategy"].unique())
    lowest, highest = curve["accuracy"].min(), curve["accuracy"].max()
    levels = MaxNLocator(nbins=14, steps=[1, 2, 5, 10]).tick_values(lowest, highest)
    scale = Normalize(lowest, highest)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.1 * len(strategies), 4.2), layout="constrained")
        panels = figure.subplots(1, len(strategies), sharex=True, sharey=True, squeeze=False)[0]
        for axes, strategy in zip(panels, strategies, strict=True):
            cells = curve[curve["strategy"] == strategy]
            own = fitted[(fitted["strategy"] == strategy) & ~fitted["extrapolated"]]
            surface = own.pivot(index="angles", columns="samples", values="accuracy")
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
            discs = axes.scatter(
                cells["samples"],
                cells["angles"],
                c=cells["accuracy"],
                norm=scale,
                cmap="viridis",
                s=70,
                edgecolor="white",
                zorder=3,
            )
            enough = answer.enough
            if strategy == answer.strategy and enough.photos.value < enough.largest:
                axes.scatter(
                    enough.samples,
                    enough.angles,
                    s=220,
                    facecolor="none",
                    edgecolor="#D55E00",
                    linewidth=1.8,
                    zorder=4,
                    clip_on=False,
                )
                axes.annotate(
                    "enough",
                    (enough.samples, enough.angles),
                    xytext=(0, 12),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color="#D55E00",
                )
            axes.set(xscale="log", yscale="log")
            axes.grid(False)
            axes.set_title(NAMES[strategy], fontsize=10)
            axes.set_xlabel("training samples")
            samples, angles = curve["samples"], curve["angles"]
            axes.set_xticks(shown := _apart(samples), [f"{n:,}" for n in shown])
            axes.set_yticks(shown := _apart(angles), [str(k) for k in shown])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_xlim(samples.min() / 1.4, samples.max() * 1.4)
            axes.set_ylim(angles.min() / 1.4, angles.max() * 1.4)
            for photos in sorted(curve["photos"].unique()):
                ends = (samples.min() / 2, samples.max() * 2)
                axes.plot(ends, [photos / n for n in ends], ":", color="#bbbbbb", linewidth=0.8)
        panels[0].set_ylabel("angles of each")
        figure.colorbar(discs, ax=panels, format=PercentFormatter(1), label="accuracy")
        figure.suptitle("Measured (discs) and fitted (contours); dotted: equally many photos",
                        fontsize=10)  # fmt: skip
        return figure


def views_at_test_time(views: pd.DataFrame) -> Figure:
    """Draw the accuracy for whole samples against the angles whose predictions are averaged.

    Parameters
    ----------
    views : DataFrame
        As in `tables.VIEWS`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for strategy, line in views.groupby("strategy", sort=False):
            axes.plot(
                line["views"],
                line["accuracy"],
                color=COLOURS[strategy],
                marker=MARKERS[strategy],
                markersize=5,
                label=NAMES[strategy],
            )
            _draw_band(axes, line["views"], line)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("angles of a test sample, predictions averaged")
        axes.set_ylabel("accuracy for samples")
        axes.legend(loc="best")
        return figure


def _size_axes(axes: Axes, curve: pd.DataFrame) -> None:
    """Photos below, on a log scale; angles a sample above, at the sizes of all samples."""
    full = curve[curve["samples"] == curve["samples"].max()]
    axes.set_xscale("log", base=2)
    axes.set_xticks(_apart(curve["photos"]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{round(x):,}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("training photos (log scale)")
    above = axes.secondary_xaxis("top")
    angles = full.drop_duplicates("photos").set_index("photos")["angles"]
    above.set_xticks(shown := _apart(full["photos"]), [str(angles[size]) for size in shown])
    above.xaxis.set_minor_locator(NullLocator())
    above.set_xlabel("angles of each sample, all samples")


def _apart(sizes: pd.Series) -> list[int]:
    """Return the sizes whose labels have room on the log axis, the largest among them."""
    kept: list[int] = []
    for size in sorted(sizes.unique(), reverse=True):
        if not kept or size <= 0.75 * kept[-1]:
            kept.append(int(size))
    return kept[::-1]


def training_curves(history: pd.DataFrame) -> Figure:
    """Draw validation loss and accuracy against the step, one thin line a run.

    Parameters
    ----------
    history : DataFrame
        `tables.CELL` and `tables.HISTORY` joined. The runs on the most photos are drawn darker.
    """
    strategies = list(history["strategy"].unique())
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
                        color=COLOURS[strategy],
                        alpha=alpha,
                        linewidth=1,
                        marker="." if len(run) == 1 else None,  # which makes no line
                    )
            grid[0, column].set_title(NAMES[strategy], fontsize=10)
            grid[1, column].set_xlabel("optimisation step")
        grid[0, 0].set_ylabel("validation loss (nats)")
        grid[1, 0].set_ylabel("validation accuracy")
        grid[1, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.suptitle("Each run's validation; darker lines had more photos", fontsize=10)
        return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format that the suffix names, the same bytes each time."""
    metadata = {".svg": {"Date": None}, ".png": {"Software": None}}[path.suffix]
    drawn = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(drawn, format=path.suffix[1:], dpi=150, metadata=metadata)
    files.write_bytes(path, drawn.getvalue())
