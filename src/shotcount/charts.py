"""Tables → figures. Draws numbers, computes none."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from shotcount import files

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


def accuracy_vs_size(
    curve: pd.DataFrame, reference: Mapping[Any, float], enough: tuple[str, int, int] | None
) -> Figure:
    """Draw test accuracy against the number of training photos, a line for each strategy.

    Parameters
    ----------
    curve : DataFrame
        As in `tables.CURVE`. All samples make the solid lines with 95 % bands, fewer samples
        the dashed ones.
    reference : mapping of strategy to accuracy
        Published figures, drawn faintly; may be empty.
    enough : (strategy, samples, angles) or None
        The cell to point out.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        full = curve["samples"].max()
        cells = curve.set_index(["strategy", "samples", "angles"]).sort_index()
        sizes = sorted(curve["samples"].unique(), reverse=True)
        for strategy, samples in product(curve["strategy"].unique(), sizes):
            line = cells.loc[strategy, samples]
            line = line.sort_values("photos")
            colour, all_samples = COLOURS[strategy], samples == full
            axes.plot(
                line["photos"],
                line["accuracy"],
                color=colour,
                marker=MARKERS[strategy],
                markersize=6 if all_samples else 4.5,
                markerfacecolor=colour if all_samples else "white",
                linestyle="-" if all_samples else (0, (3, 2)),
                linewidth=2 if all_samples else 1.1,
                label=f"{NAMES[strategy]}, {samples:,} samples",
                zorder=3 if all_samples else 2,
            )
            if all_samples:
                axes.fill_between(
                    line["photos"],
                    line["accuracy_low"],
                    line["accuracy_high"],
                    color=colour,
                    alpha=0.13,
                    linewidth=0,
                )
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
        if enough:
            photos, accuracy = cells.loc[enough, ["photos", "accuracy"]]
            axes.annotate(
                f"{photos:,.0f} photos\nare enough",
                (photos, accuracy),
                xytext=(0, 26),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                arrowprops={"arrowstyle": "->", "color": "#444444"},
            )
        _size_axes(axes, curve["photos"], curve[curve["samples"] == full])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylabel("test accuracy (photos of unseen samples)")
        axes.margins(y=0.12)
        axes.legend(
            ncols=curve["strategy"].nunique(), loc="upper center", bbox_to_anchor=(0.5, -0.13)
        )
        return figure


def _size_axes(axes: Axes, photos: pd.Series, full: pd.DataFrame) -> None:
    """Photos below, on a log scale; angles a sample above, at the sizes of all samples."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(_apart(photos))
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
        if not kept or size <= 0.85 * kept[-1]:
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
                        run["step"], run[value], color=COLOURS[strategy], alpha=alpha, linewidth=1
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
    with files.atomic(path) as temporary, matplotlib.rc_context(STYLE):
        figure.savefig(temporary, dpi=150, metadata=metadata)
