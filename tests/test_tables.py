from pathlib import Path

import pandas as pd
import pytest

from shotcount import tables
from shotcount.errors import UserError


def test_names_that_look_like_numbers_or_gaps_stay_text(tmp_path: Path) -> None:
    row = {"photo": 0, "path": "NA/007/1e3.jpg", "label": "NA", "sample": "007", "angle": "1e3"}
    tables.write(tmp_path / "t.csv", pd.DataFrame([row]), tables.SPLIT)
    assert tables.read(tmp_path / "t.csv", tables.SPLIT).iloc[0].to_dict() == row


def test_names_with_commas_quotes_and_line_breaks_survive(tmp_path: Path) -> None:
    row = {"photo": 0, "path": 'a "b",\nc\r.jpg\r', "label": "é", "sample": "x,y", "angle": ""}
    tables.write(tmp_path / "t.csv", pd.DataFrame([row]), tables.SPLIT)
    assert tables.read(tmp_path / "t.csv", tables.SPLIT).iloc[0].to_dict() == row


def test_missing_file_and_wrong_columns_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv is missing: run `dvc repro`"):
        tables.read(tmp_path / "t.csv", tables.SPLIT)
    (tmp_path / "t.csv").write_text("photo,colour\n1,red\n")
    with pytest.raises(UserError, match="colour"):
        tables.read(tmp_path / "t.csv", tables.SPLIT)
