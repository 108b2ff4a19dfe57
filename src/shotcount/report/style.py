"""The look of the charts: each strategy's names, colour and marker; shared settings."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes


@dataclass(frozen=True)
class Look:
    """A strategy's names in texts, and its colour and marker in charts."""

    method: str  # in a sentence: "use fine-tuning"
    model: str  # in a legend: "fine-tuned"
    colour: str
    marker: str


# Okabe and Ito's palette: colour-blind readers can distinguish its colours, also in grey.
LOOKS = {
    "scratch": Look("training from scratch", "from scratch", "#D55E00", "s"),
    "frozen": Look("frozen features", "frozen features", "#0072B2", "o"),
    "finetune": Look("fine-tuning", "fine-tuned", "#009E73", "^"),
}
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


def percent(value: float, place: float | None = None) -> str:
    """Label a tick of an axis, with as many digits as it needs: where all is near 2 %, "2.5%"."""
    return f"{100 * value:.4g}%"


def draw_band(axes: Axes, x: pd.Series, line: pd.DataFrame, metric: str) -> None:
    """Draw a strategy's 95 % intervals of a metric, a column of `SCORES`, as a band."""
    axes.fill_between(
        x,
        line[f"{metric}_low"],
        line[f"{metric}_high"],
        color=LOOKS[line["strategy"].iloc[0]].colour,
        alpha=0.13,
        linewidth=0,
    )


def apart(sizes: pd.Series) -> list[int]:
    """Return sizes whose labels have room on a log axis; the largest is always among them."""
    kept: list[int] = []
    for size in sorted(sizes.unique(), reverse=True):
        if not kept or size <= 0.75 * kept[-1]:
            kept.append(int(size))
    return kept[::-1]
