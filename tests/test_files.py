import os
from pathlib import Path

import pytest

from shotcount import files


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_folder_replaces_the_older_folder_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("first", "second"):
        with files.atomic(folder) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert os.listdir(folder) == ["second"]
    assert os.listdir(tmp_path) == ["model"]


def test_json_refuses_what_json_has_no_word_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"accuracy": float("nan")})
    assert os.listdir(tmp_path) == []


def test_sha256_is_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(b"abc")
    assert files.sha256(path).startswith("ba7816bf8f01cfea")
