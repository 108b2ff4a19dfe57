"""The tables that one stage writes and another reads: every column and its type.

A table that a person may want to open is a CSV file. A table with a row a photo or more, which can
become long, is a folder that holds table.csv or, beyond `LONG` rows, table.parquet: DVC knows an
output by one name, whatever its size.
"""

from pathlib import Path

import pandas as pd

from shotcount.core import files
from shotcount.core.errors import UserError

Table = dict[str, str]  # column → pandas dtype
LONG = 200_000  # rows: reading more of them from a CSV would take a second in every stage

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
    "angles": "int64",  # photos of each
    "photos": "int64",  # training photos
}
LOOK: Table = {  # a look at validation while training
    "step": "int64",
    "epoch": "float64",
    "learning_rate": "float64",
    "train_loss": "float64",  # mean cross-entropy (nats) since the last row
    "val_loss": "float64",
    "val_accuracy": "float64",
}
HISTORY: Table = CELL | {"seed": "int64"} | LOOK
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


def largest_cell(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the cell with the most photos; of equals, the one with more samples.

    Parameters
    ----------
    rows : DataFrame
        With the columns of `CELL`. Every strategy that has the cell has rows in the result.
    """
    rows = rows[rows["photos"] == rows["photos"].max()]
    return rows[rows["samples"] == rows["samples"].max()]


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
            # With lineterminator given, pandas keeps a carriage return in a file's name.
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

    A CSV file has floats with 6 significant digits; Parquet has all digits.
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
