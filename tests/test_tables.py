from pathlib import Path

import pandas as pd
import pytest

from shotcount.core import tables
from shotcount.core.errors import UserError


@pytest.fixture(params=["t.csv", "short", "long"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CSV, a folder with one, and one with Parquet."""
    if request.param == "long":
        monkeypatch.setattr(tables, "LONG", 0)
    return tmp_path / request.param


def test_a_long_table_is_parquet_and_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LONG", 3)
    table, path = {"photo": "int64", "label": "str"}, tmp_path / "t"
    for rows, name in ((3, "table.csv"), (4, "table.parquet"), (1, "table.csv")):
        frame = pd.DataFrame({"label": ["é", "NA", "", "1"][:rows], "photo": range(rows)})
        tables.write(path, frame, table)
        assert [file.name for file in path.iterdir()] == [name]
        assert tables.table_file(path) == path / name
        read = tables.read(path, table)
        pd.testing.assert_frame_equal(read, frame[["photo", "label"]].astype(table))


def test_names_that_look_like_numbers_or_gaps_stay_text(path: Path) -> None:
    row = {
        "seed": 0,
        "photo": 0,
        "path": "NA/007/1e3.jpg",
        "label": "NA",
        "sample": "007",
        "angle": "1e3",
    }
    tables.write(path, pd.DataFrame([row]), tables.SPLIT)
    assert tables.read(path, tables.SPLIT).iloc[0].to_dict() == row


def test_names_with_commas_quotes_and_line_breaks_survive(path: Path) -> None:
    row = {
        "seed": 0,
        "photo": 0,
        "path": 'a "b",\nc\r.jpg\r',
        "label": "é",
        "sample": "x,y",
        "angle": "",
    }
    tables.write(path, pd.DataFrame([row]), tables.SPLIT)
    assert tables.read(path, tables.SPLIT).iloc[0].to_dict() == row


def test_missing_file_and_wrong_columns_say_what_to_do(path: Path) -> None:
    with pytest.raises(UserError, match=rf"{path.name} is missing: run `dvc repro`"):
        tables.read(path, tables.SPLIT)
    colours: tables.Table = {"photo": "int64", "colour": "str"}
    tables.write(path, pd.DataFrame({"photo": [1], "colour": ["red"]}), colours)
    with pytest.raises(UserError, match="colour"):
        tables.read(path, tables.SPLIT)


def test_a_damaged_table_says_what_to_do(path: Path) -> None:
    tables.write(path, pd.DataFrame({"photo": [1, 2]}), {"photo": "int64"})
    tables.table_file(path).write_bytes(b"photo\n1\nred\x00")
    with pytest.raises(UserError, match=rf"remove {path} and run `dvc repro`"):
        tables.read(path, {"photo": "int64"})
