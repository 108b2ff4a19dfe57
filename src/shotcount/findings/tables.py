"""The tables in metrics/."""

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
    "lead": "float64",  # accuracy
    "lead_low": "float64",
    "lead_high": "float64",
    "p_holm": "float64",
}
# error = asymptote + amplitude · g(m / unit), m effective photos; g and its shapes: curves.FAMILIES
FITS: Table = {
    "strategy": "str",
    "family": "str",
    "share": "float64",  # of the replicates whose largest cells this family foretells best
    "extrapolation_error": "float64",  # mean absolute, on the largest cells, as measured
    "residual": "float64",  # root mean square
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
BUDGETS: Table = {  # equally many photos, from more samples or from more angles
    "strategy": "str",
    "photos": "int64",
    "more_samples": "int64",
    "fewer_angles": "int64",
    "fewer_samples": "int64",
    "more_angles": "int64",
    "gain": "float64",  # accuracy of the former over the latter
    "gain_low": "float64",
    "gain_high": "float64",
}
VIEWS: Table = {  # of the largest subset's models
    "strategy": "str",
    "views": "int64",  # angles of a test sample whose predictions are averaged
    "accuracy": "float64",  # of samples
    "accuracy_low": "float64",
    "accuracy_high": "float64",
}
METRICS: dict[str, Table] = {  # metrics/<name>.csv
    "curve": CURVE,
    "comparisons": COMPARISONS,
    "fits": FITS,
    "fitted": FITTED,
    "equal_budgets": BUDGETS,
    "views": VIEWS,
    "confusion": CONFUSION,
    "history": HISTORY,
}


def as_table(rows: Sequence[Any], columns: Table) -> pd.DataFrame:
    """Lay out dataclasses as rows; an `Estimate` becomes name, name_low and name_high."""
    records = []
    for row in rows:
        record = dict(vars(row))
        for name, e in vars(row).items():
            if isinstance(e, Estimate):
                record |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
        records.append(record)
    return pd.DataFrame(records, columns=list(columns))
