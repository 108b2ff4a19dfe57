"""The tables between the stages: every column and its type is declared here, once.

What a person may want to open is a CSV. What has a row a photo, or more, and may get long, is a
folder with the one file table.csv or, beyond `LONG` rows, table.parquet: DVC knows an output by one
name, whatever its size.
"""

from pathlib import Path

import pandas as pd

from shotcount import files
from shotcount.errors import UserError

Table = dict[str, str]  # column → pandas dtype
# Rows from which on a table is Parquet: about where reading it as CSV, in every stage that does,
# begins to take a second.
LONG = 200_000

PHOTO: Table = {
    "photo": "int64",  # row of the pixel array
    "path": "str",  # relative to data.path
    "label": "str",
    "sample": "str",  # <label>/<sample>: sample 7 of one class is not sample 7 of another
    "angle": "str",
}
MANIFEST: Table = PHOTO | {
    "given_split": "str",  # what the pattern's group `split` matched, or empty
    "width": "int64",  # px, upright, as on disk
    "height": "int64",
    "sha256": "str",
}
LEFT_OUT: Table = {"path": "str", "reason": "str"}  # photos that can't be used
SPLIT: Table = PHOTO
# The subset of n samples x k angles of a seed is its rows with sample_rank < n, angle_rank < k.
SUBSETS: Table = {
    "seed": "int64",
    "photo": "int64",
    "label": "str",
    "sample": "str",
    "sample_rank": "int64",
    "angle_rank": "int64",
}
HISTORY: Table = {
    "seed": "int64",
    "step": "int64",
    "epoch": "float64",
    "learning_rate": "float64",
    "train_loss": "float64",  # mean cross-entropy (nats) since the last row
    "val_loss": "float64",
    "val_accuracy": "float64",
}
CELL: Table = {
    "strategy": "str",
    "samples": "int64",  # training samples
    "angles": "int64",  # photos of each
    "photos": "int64",  # training photos
}
SCORES: Table = CELL | {
    "seeds": "int64",
    "accuracy": "float64",
    "balanced_accuracy": "float64",
    "macro_f1": "float64",
    "log_loss": "float64",  # nats
    "ece": "float64",  # expected calibration error
}
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
CONFUSION: Table = CELL | {"actual": "str", "predicted": "str", "photos_per_seed": "float64"}
MISTAKES: Table = {  # test photos that the classifier gets wrong
    "photo": "int64",
    "path": "str",
    "actual": "str",
    "predicted": "str",
    "confidence": "float64",
    "map_size": "int64",  # places a side of the feature map that explains it; 0: there is none
    "file": "str",  # of the picture, in data/gallery; with the explanation beside the photo
}
SHEET: Table = {  # some training samples
    "label": "str",
    "sample": "str",
    "angles": "str",  # from left to right
    "file": "str",  # of the picture, in data/gallery
}
METRICS: dict[str, Table] = {  # metrics/<name>.csv
    "curve": CURVE,
    "comparisons": COMPARISONS,
    "fits": FITS,
    "fitted": FITTED,
    "equal_budgets": BUDGETS,
    "views": VIEWS,
    "confusion": CONFUSION,
    "history": CELL | HISTORY,
}


def predictions(labels: list[str]) -> Table:
    """Return the columns of the predictions for these classes: one probability each."""
    key = CELL | {"seed": "int64", "photo": "int64", "sample": "str", "label": "str"}
    return key | {probability(label): "float64" for label in labels}


def tested(strategy: Path, samples: int, angles: int) -> Path:
    """Name a cell's predictions, in the folder of what its strategy was tested for.

    A file of its own, since memory may not hold the predictions of all cells.
    """
    return strategy / "predictions" / f"{samples}x{angles}"


def probability(label: str) -> str:
    """Name the column that holds the predicted probability of `label`."""
    return f"p({label})"


def read(path: Path, table: Table) -> pd.DataFrame:
    """Read a CSV, or a folder with the one or the other file, with exactly the columns of `table`.

    Dtypes are declared, never guessed: sample "007" stays text, class "NA" is no gap.

    Raises
    ------
    UserError
        If the file is missing or its columns are others.
    """
    file = table_file(path)
    try:
        if file.suffix == ".parquet":
            frame = pd.read_parquet(file)
        else:
            # Told where lines end, pandas leaves a carriage return in a file's name alone.
            frame = pd.read_csv(
                file, dtype=table, keep_default_na=False, encoding="utf-8", lineterminator="\n"
            )
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro`") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: {error}: remove {path} and run `dvc repro`") from None
    _check_columns(frame, table, file)
    return frame.astype(table)


def write(path: Path, frame: pd.DataFrame, table: Table) -> None:
    """Write the columns of `table`: a CSV if `path` has its suffix, else a folder.

    CSV has floats with 6 significant digits; Parquet has them whole.
    """
    _check_columns(frame, table, path)
    frame = frame[list(table)].astype(table)
    with files.atomic(path) as temporary:
        if path.suffix == ".csv":
            file = temporary
        else:
            temporary.mkdir()
            file = temporary / ("table.parquet" if len(frame) > LONG else "table.csv")
        if file.suffix == ".parquet":
            frame.to_parquet(file, index=False)
        else:
            frame.to_csv(
                file, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8"
            )


def table_file(path: Path) -> Path:
    """Return the file that holds the table `path`."""
    if path.suffix == ".csv":
        return path
    long = path / "table.parquet"
    return long if long.exists() else path / "table.csv"


def _check_columns(frame: pd.DataFrame, table: Table, path: Path) -> None:
    if set(frame.columns) != set(table):
        raise UserError(
            f"{path}: columns {sorted(frame.columns)}, expected {sorted(table)}: "
            "remove it and run `dvc repro`"
        )
