"""The look of the charts: each strategy's names, colour and marker; shared settings."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform
from scipy.optimize import isotonic_regression


def mixed(colour: str, other: str, share: float) -> tuple[float, ...]:
    """Mix a colour with a share of another one."""
    return tuple(
        (1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True)
    )


@dataclass(frozen=True)
class Look:
    """A strategy's names in texts, and its colour and marker in charts."""

    method: str  # in a sentence: "use fine-tuning"
    model: str  # in a legend: "fine-tuned"
    colour: str
    marker: str

    @property
    def ink(self) -> tuple[float, ...]:
        """The colour to write with: dark enough to read on white."""
        return mixed(self.colour, "black", 0.25)


# Okabe and Ito's palette: colour-blind readers can distinguish its colours, also in grey.
LOOKS = {
    "scratch": Look("training from scratch", "from scratch", "#D55E00", "s"),
    "frozen": Look("frozen features", "frozen features", "#0072B2", "o"),
    "finetune": Look("fine-tuning", "fine-tuned", "#009E73", "^"),
}
GREY = "#555555"  # of notes: dark enough to read
LABEL, MARGIN = 26.0, 1.5  # pt that the label of a size takes; at the ends of an axis of sizes
DODGE = 4.0  # pt between strategies that were measured at the same size
LEAST_SPAN = 0.2  # of an axis of a score: small differences look small
STYLE: Any = {
    "font.size": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.edgecolor": "#888888",
    "xtick.color": "#888888",
    "xtick.labelcolor": "black",
    "ytick.color": "#888888",
    "ytick.labelcolor": "black",
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "svg.hashsalt": "shotcount",  # the same figure gives the same bytes
    "svg.fonttype": "none",
}


def percent(value: float, place: float | None = None) -> str:
    """Label a tick of an axis, with as many digits as it needs: where all is near 2 %, "2.5 %"."""
    return f"{100 * value:.4g} %"


def frame(figure: Figure, title: str, note: str, caption: str) -> None:
    """Write a title and a note above the panels, a caption below; the layout leaves their room."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    top, bottom = 6.0, 6.0  # pt
    heads: Sequence[tuple[str, float, float, Any]] = (
        (title, 13, 1.65, {"weight": "bold"}),
        (note, 9.5, 1.9, {"color": GREY}),
    )
    for text, size, letters, look in heads:  # letters: as many as a line takes in its height
        text, tall = _wrapped(text, size, letters * width / size)
        figure.text(8 / width, 1 - top / height, text, fontsize=size, va="top", **look)
        top += tall + 4
    text, tall = _wrapped(caption, 8.5, 1.9 * width / 8.5)
    figure.text(8 / width, bottom / height, text, fontsize=8.5, color=GREY)
    bottom += tall + 4
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0, bottom / height, 1, 1 - (top + bottom) / height))


def _wrapped(text: str, size: float, most: float) -> tuple[str, float]:
    """Break a text into lines of at most so many letters, about equally long; give their height.

    An interval in brackets stays in one line.
    """
    text = re.sub(r"\(.*?\)", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    widths = range(1, int(most) + 1)
    fewest = len(textwrap.wrap(text, widths[-1]))
    lines = next(broken for n in widths if len(broken := textwrap.wrap(text, n)) <= fewest)
    return "\n".join(lines), 1.25 * size * len(lines)


def set_metric_axis(axes: Axes, low: float, high: float, room: float) -> None:
    """Show scores from `low` to `high` in percent, with a share of `room` below them.

    Differences are not exaggerated: the axis has a fifth of the scale at least.
    """
    middle = (low + high) / 2
    low, high = min(low, middle - LEAST_SPAN / 2), max(high, middle + LEAST_SPAN / 2)
    shift = max(0.0 - low, 0.0) - max(high - 1.0, 0.0)
    low, high = low + shift, high + shift
    span = high - low
    axes.set_ylim(low - room * span, high + 0.12 * span)
    ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9])
    axes.yaxis.set_major_formatter(percent)


def dodged(axes: Axes, strategies: Sequence[Any]) -> dict[Any, Transform]:
    """Move strategies a little to the left or the right, so that their intervals stay apart."""
    points = DODGE * (np.arange(len(strategies)) - (len(strategies) - 1) / 2)
    scale = axes.figure.dpi_scale_trans
    return {
        name: axes.transData + ScaledTranslation(shift / 72, 0, scale)
        for name, shift in zip(strategies, points, strict=True)
    }


def spread(places: Sequence[float], gap: float) -> np.ndarray:
    """Move rising places as little as needed for a gap between each two."""
    gaps = gap * np.arange(len(places))
    return isotonic_regression(np.array(places) - gaps).x + gaps


def draw_intervals(
    axes: Axes, line: pd.DataFrame, across: str, metric: str, shift: Transform
) -> None:
    """Draw a strategy's 95 % intervals of a metric, a column of `SCORES`, as bars."""
    axes.vlines(
        line[across],
        line[f"{metric}_low"],
        line[f"{metric}_high"],
        transform=shift,
        color=mixed(LOOKS[line["strategy"].iloc[0]].colour, "white", 0.4),
        linewidth=1.4,
        zorder=3,
    )


def write(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **look: Any
) -> None:
    """Write a text beside a place, so many points to the right and above."""
    look["fontsize"] = look.get("fontsize", 8.5)
    axes.annotate(text, place, xytext=offset, textcoords="offset points", **look)


def apart(sizes: Iterable[int], ratio: float = 0.75) -> list[int]:
    """Return sizes whose labels have room on a log axis; of two that don't, the one given first."""
    kept: list[int] = []
    for size in sizes:
        if all(min(size, other) <= ratio * max(size, other) for other in kept):
            kept.append(int(size))
    return sorted(kept)


def octaves(sizes: pd.Series) -> float:
    """Return the length of a log axis of these sizes, as `set_sizes` makes it."""
    return math.log2(MARGIN**2 * sizes.max() / sizes.min())


def closest(sizes: pd.Series) -> float:
    """Return the least distance of two different sizes, in octaves."""
    return min((math.log2(b / a) for a, b in pairwise(sorted(sizes.unique()))), default=math.inf)


def set_sizes(axes: Axes, which: str, sizes: pd.Series, octave: float) -> tuple[float, float]:
    """Make the axis "x" or "y" a log axis of sizes, labelled where there is room.

    An octave takes so many points. Returns the limits.
    """
    shown = apart(sorted(sizes)[::-1], 2 ** (-LABEL / octave))
    limits = sizes.min() / MARGIN, sizes.max() * MARGIN
    axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(shown, [f"{size:,}" for size in shown])
    axis.set_minor_locator(NullLocator())
    return limits
