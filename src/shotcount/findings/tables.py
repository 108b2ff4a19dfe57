"""The tables in metrics/: their columns, and dataclasses as rows."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from shotcount.core.tables import CELL, HISTORY, Table
from shotcount.scoring.detections import DETECTION_SCORES
from shotcount.scoring.faults import COSTS
from shotcount.scoring.scores import CONFUSION, SCORES
from shotcount.uncertainty.intervals import Estimate

COMPARISONS: Table = {  # at the largest subset that all strategies have
    "better": "str",
    "worse": "str",
    "lead": "float64",  # difference of the metric
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
BUDGETS: Table = {  # pairs of cells with equally many photos
    "strategy": "str",
    "photos": "int64",
    "more_samples": "int64",
    "fewer_angles": "int64",
    "fewer_samples": "int64",
    "more_angles": "int64",
    "gain": "float64",  # metric of the former minus that of the latter
    "gain_low": "float64",
    "gain_high": "float64",
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
OBJECTS: Table = {  # of each class, and the metric of it alone; as CLASSES
    "strategy": "str",
    "label": "str",
    "test_samples": "int64",  # that hold it
    "test_objects": "int64",
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


def metrics_tables(metric: str, finds: bool = False) -> dict[str, Table]:
    """Return the columns of metrics/<name>.csv in a study of this metric, a column of its scores.

    `finds` tells whether the study's networks find objects, instead of naming the class of a photo.
    """
    with_ends = {metric: "float64", f"{metric}_low": "float64", f"{metric}_high": "float64"}
    # The same in every study, for `dvc plots`
    score = {"score": "float64", "score_low": "float64", "score_high": "float64"}
    # Of whole samples, whose predictions of so many angles are averaged; largest subset
    views = {"strategy": "str", "views": "int64"}
    return {
        "curve": (DETECTION_SCORES if finds else SCORES) | with_ends | score,
        "comparisons": COMPARISONS,
        "fits": FITS,
        "fitted": CELL | with_ends | {"extrapolated": "bool"},
        "equal_budgets": BUDGETS,
        "views": views | with_ends,
        "classes": OBJECTS | with_ends if finds else CLASSES,
        "gains": GAINS,
        "angles": ANGLES,
        "confusion": CELL | COSTS if finds else CONFUSION,
        "history": HISTORY,
    }


def as_table(rows: Sequence[Any], metric: str, columns: Table) -> pd.DataFrame:
    """Write dataclasses as rows; an `Estimate` becomes the columns name, name_low, name_high.

    A field `score` is named as the metric.
    """
    records = []
    for row in rows:
        record = dict(vars(row))
        for field, e in vars(row).items():
            if isinstance(e, Estimate):
                name = metric if field == "score" else field
                record |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
        records.append(record)
    return pd.DataFrame(records, columns=list(columns))
