"""The tables that one stage writes and another reads: every column and its type.

A table that a person may want to open is a CSV file. A table with one row per photo or more, which
can become long, is a folder that holds table.csv or, beyond `LONG` rows, table.parquet: an output
of DVC needs one name, whatever its size.
"""

from pathlib import Path

import pandas as pd

from shotcount.core import files
from shotcount.core.errors import UserError

Table = dict[str, str]  # column → pandas dtype
LONG = 200_000  # rows; a CSV with more takes every stage over a second to read

PHOTO: Table = {
    "photo": "int64",  # row of the pixel array
    "path": "str",  # relative to data.path
    "label": "str",  # the class; of photos with boxes, the scene's stratum (boxes.preparing.strata)
    # <label>/<sample>: sample 7 of one class is not sample 7 of another. With boxes, <scene>.
    "sample": "str",
    "angle": "str",
}
MANIFEST: Table = PHOTO | {
    "given_split": "str",  # what the pattern's group `split` matched, or empty
    "width": "int64",  # px, upright, as on disk
    "height": "int64",
    "sha256": "str",
}
# Photos that can't be used. A row without a path tells of a box that can't be used, or counts the
# files that aren't photos.
LEFT_OUT: Table = {"path": "str", "reason": "str"}
CORNERS = ["left", "top", "right", "bottom"]
# Objects in the photos that the network sees, corners in px. A study of classes has none.
BOXES: Table = {
    "photo": "int64",
    "label": "str",
    **dict.fromkeys(CORNERS, "float64"),
    "ignored": "bool",  # neither right nor wrong to find: COCO's crowd, Pascal VOC's difficult
}
DETECTED: Table = {
    "photo": "int64",
    "label": "str",
    **dict.fromkeys(["score", *CORNERS], "float64"),  # the score is 0 to 1
}
SPLIT: Table = {"seed": "int64"} | PHOTO  # each training seed has a split of its own
# The subset of n samples x k angles of a seed: its rows with sample_position < n and
# angle_position < k.
SUBSETS: Table = {
    "seed": "int64",
    "photo": "int64",
    "label": "str",
    "sample": "str",
    "sample_position": "int64",  # in this seed's order of the samples
    "angle_position": "int64",  # in this seed's order of the sample's angles
}
CELL: Table = {
    "strategy": "str",
    "samples": "int64",  # training samples
    "angles": "int64",  # photos of each sample
    "photos": "int64",  # training photos
}
LOOK: Table = {  # one look at the validation split; a solved head has one, at step 0
    "step": "int64",
    "epoch": "float64",
    "learning_rate": "float64",
    "train_loss": "float64",  # mean cross-entropy (nats) of the batches since the last row
    "val_loss": "float64",  # after temperature scaling (networks.heads.calibrate)
    "val_accuracy": "float64",
    "factor": "float64",  # of the logits: the inverse temperature
    "kept": "bool",  # whether the model has the weights of this look
}
HISTORY: Table = CELL | {"seed": "int64"} | LOOK
TRIALS: Table = {  # one trial of learning rates
    "learning_rate": "float64",
    "backbone_rate": "float64",
    "steps": "int64",
    "val_loss": "float64",  # at the end; infinite if the training diverged
    "val_accuracy": "float64",
}
SHEET: Table = {  # some training samples
    "label": "str",
    "sample": "str",
    "angles": "str",  # from left to right
    "file": "str",  # picture in data/gallery
}


def is_detection(boxes: pd.DataFrame) -> bool:
    """Tell a study of photos with boxes from one of classes, by its table `BOXES`."""
    return len(boxes) > 0


def largest_cell(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the cell with the most photos; on a tie, the one with the most samples.

    Parameters
    ----------
    rows : DataFrame
        Has the columns of `CELL`. The result has the rows of all strategies with that cell.
    """
    rows = rows[rows["photos"] == rows["photos"].max()]
    return rows[rows["samples"] == rows["samples"].max()]


def of_seed(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the rows of one training seed."""
    return rows[rows["seed"] == seed]


# Relative difference of validation losses up to which trials are alike. With random weights, high
# rates do as well in a trial and worse in a training.
ALIKE = {"scratch": 0.0, "frozen": 0.05, "finetune": 0.05}


def best_trial(trials: pd.DataFrame, strategy: str) -> pd.Series:
    """Return the row of `TRIALS` whose rates are chosen for a strategy.

    Of the longest trials whose validation loss is like the lowest (`ALIKE`), it is the one with the
    highest rate of the backbone. A trial is shorter than a training, which favours rates that are
    too low (Wu et al., "Understanding Short-Horizon Bias in Stochastic Meta-Optimization", ICLR
    2018).
    """
    longest = trials[trials["steps"] == trials["steps"].max()]
    lowest = longest["val_loss"].min()
    alike = longest[longest["val_loss"] <= lowest * (1 + ALIKE[strategy])]
    rates = (alike["learning_rate"] * alike["backbone_rate"]).round(12)
    return alike.loc[alike.loc[rates == rates.max(), "val_loss"].idxmin()]


def read(path: Path, table: Table) -> pd.DataFrame:
    """Read a CSV file or a folder with one table; it must have exactly the columns of `table`.

    Dtypes are declared, never guessed: sample "007" stays text, class "NA" is not missing.

    Raises
    ------
    UserError
        If the file is missing or has other columns.
    """
    file = table_file(path)
    try:
        if file.suffix == ".parquet":
            frame = pd.read_parquet(file)
        else:
            # With lineterminator given, pandas keeps a carriage return in a file name.
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
    """Write the columns of `table`: a CSV file if `path` ends in .csv, else a folder.

    CSV files keep 6 significant digits of floats, Parquet keeps all.
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
