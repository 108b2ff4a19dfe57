"""The tables in metrics/: their columns, and dataclasses as rows."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from shotcount.core.tables import CELL, HISTORY, Table
from shotcount.scoring.scores import CONFUSION, SCORES
from shotcount.uncertainty.intervals import Estimate

CURVE: Table = SCORES | {"accuracy_low": "float64", "accuracy_high": "float64"}
COMPARISONS: Table = {  # at the largest subset that all strategies have
    "better": "str",
    "worse": "str",
    "lead": "float64",  # difference of the accuracies
    "lead_low": "float64",
    "lead_high": "float64",
    "p_holm": "float64",
    "settled": "bool",  # False: the worse one's training had not converged
}
# error = asymptote + amplitude · g(m / unit) at m effective photos; for g see curves.FAMILIES
FITS: Table = {
    "strategy": "str",
    "family": "str",
    "share": "float64",  # of the replicates whose largest cells this family predicts best
    "extrapolation_error": "float64",  # mean absolute error on the largest cells
    "residual": "float64",  # root mean square of the measured cells
    "unit": "float64",
    "parameter": "str",
    "value": "float64",
    "value_low": "float64",
    "value_high": "float64",
}
FITTED: Table = CELL | {
    "accuracy": "float64",
    "accuracy_low": "float64",
    "accuracy_high": "float64",
    "extrapolated": "bool",
}
BUDGETS: Table = {  # pairs of cells with equally many photos
    "strategy": "str",
    "photos": "int64",
    "more_samples": "int64",
    "fewer_angles": "int64",
    "fewer_samples": "int64",
    "more_angles": "int64",
    "gain": "float64",  # accuracy of the former minus that of the latter
    "gain_low": "float64",
    "gain_high": "float64",
}
VIEWS: Table = {  # models of the largest subset
    "strategy": "str",
    "views": "int64",  # angles of a test sample whose predictions are averaged
    "accuracy": "float64",  # for whole samples
    "accuracy_low": "float64",
    "accuracy_high": "float64",
}
CLASSES: Table = {  # the best strategy's largest cell; lowest accuracy first
    "strategy": "str",
    "label": "str",
    "test_samples": "int64",
    "test_photos": "int64",
    "accuracy": "float64",  # share of the class's photos that are named right: its recall
    "accuracy_low": "float64",
    "accuracy_high": "float64",
}
GAINS: Table = {  # what more samples of every class brought each class; most promising first
    "strategy": "str",
    "label": "str",
    "fewer_samples": "int64",  # for training, of all classes
    "more_samples": "int64",
    "angles": "int64",
    "test_samples": "int64",
    "gain": "float64",  # difference of the class's accuracies
    "gain_low": "float64",
    "gain_high": "float64",
}
ANGLES: Table = {  # the best strategy's largest cell; hardest first
    "strategy": "str",
    "angle": "str",
    "test_samples": "int64",
    "accuracy": "float64",  # for the samples' photos from this angle
    "accuracy_low": "float64",
    "accuracy_high": "float64",
    "difference": "float64",  # from the mean accuracy over all angles of the same samples
    "difference_low": "float64",
    "difference_high": "float64",
}
METRICS: dict[str, Table] = {  # metrics/<name>.csv
    "curve": CURVE,
    "comparisons": COMPARISONS,
    "fits": FITS,
    "fitted": FITTED,
    "equal_budgets": BUDGETS,
    "views": VIEWS,
    "classes": CLASSES,
    "gains": GAINS,
    "angles": ANGLES,
    "confusion": CONFUSION,
    "history": HISTORY,
}


def as_table(rows: Sequence[Any], columns: Table) -> pd.DataFrame:
    """Write dataclasses as rows; an `Estimate` becomes the columns name, name_low, name_high."""
    records = []
    for row in rows:
        record = dict(vars(row))
        for name, e in vars(row).items():
            if isinstance(e, Estimate):
                record |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
        records.append(record)
    return pd.DataFrame(records, columns=list(columns))
