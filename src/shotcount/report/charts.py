"""All charts of a study, and their files. Charts only draw numbers; none is computed here."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from shotcount.core import files
from shotcount.findings.answer import Answer
from shotcount.report.panels import samples_and_angles, training_curves, views_at_test_time
from shotcount.report.size_chart import accuracy_vs_size
from shotcount.report.style import STYLE


def draw_all(
    results: Mapping[str, pd.DataFrame], reference: Mapping[Any, float], answer: Answer
) -> dict[str, Figure]:
    """Draw every chart of a study; the keys are file names without suffix.

    Parameters
    ----------
    results : mapping of str to DataFrame
        The tables of `metrics_tables` in findings.tables.
    reference : mapping of strategy to float
        Published values of the metric; may be empty.
    answer : Answer
    """
    curve, fitted = results["curve"], results["fitted"]
    return {
        "accuracy_vs_size": accuracy_vs_size(curve, fitted, reference, answer),
        "samples_and_angles": samples_and_angles(curve, fitted, answer),
        "views_at_test_time": views_at_test_time(results["views"], answer.metric),
        "training_curves": training_curves(results["history"], answer.metric.terms),
    }


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the suffix; the same figure gives the same bytes."""
    metadata = {".svg": {"Date": None}, ".png": {"Software": None}}[path.suffix]
    drawn = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        _settle(figure)
        figure.savefig(drawn, format=path.suffix[1:], dpi=150, metadata=metadata)
    files.write_bytes(path, drawn.getvalue())


def _settle(figure: Figure) -> None:
    """Lay the figure out, and round where its axes are.

    The last digits of the layout's solver may differ from process to process.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position().bounds, 6).tolist())
