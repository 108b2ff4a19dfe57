import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from shotcount.core import files


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


def test_a_folder_is_never_there_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, path = tmp_path / "made", tmp_path / "model"
    for folder in (made, path):
        folder.mkdir()
        for name in "abc":
            (folder / name).write_text(folder.name)
    removed: list[Path] = []
    monkeypatch.setattr(files, "_remove", removed.append)
    files.publish(made, path)
    assert path not in removed
    assert [p.read_text() for p in path.iterdir()] == ["made"] * 3


def test_json_refuses_what_json_has_no_word_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"accuracy": float("nan")})
    assert os.listdir(tmp_path) == []


def test_sha256_is_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(b"abc")
    assert files.sha256(path).startswith("ba7816bf8f01cfea")


# ---- unfinished work ----------------------------------------------------------------


@pytest.fixture
def unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOTCOUNT_UNFINISHED", str(tmp_path / "unfinished"))
    return tmp_path / "unfinished"


def interrupt(name: str, *key: object, leave: str = "half") -> None:
    with pytest.raises(KeyboardInterrupt), files.workspace(name, *key) as work:
        (work / leave).touch()
        raise KeyboardInterrupt


def test_unfinished_work_is_found_again_under_the_same_key_only(
    tmp_path: Path, unfinished: Path
) -> None:
    data = tmp_path / "data"
    data.write_text("photos")
    interrupt("train", 1, data)
    with pytest.raises(ZeroDivisionError), files.workspace("train", 2, data) as work:
        assert not (work / "half").exists()
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), files.workspace("train", 1, data) as work:
        assert (work / "half").exists()
        raise ZeroDivisionError
    data.write_text("others")
    with files.workspace("train", 1, data) as work:
        assert not (work / "half").exists()


def test_what_a_program_adds_to_the_search_path_makes_no_other_work(
    tmp_path: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt("train", 1)
    (tmp_path / "added" / "thing-1.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "added")  # as Ray does
    with files.workspace("train", 1) as work:
        assert (work / "half").exists()


def test_unfinished_work_is_keyed_by_the_script_and_the_packages_that_it_imports(
    tmp_path: Path,
) -> None:
    script = tmp_path / "stage.py"
    code = "from shotcount.core.files import _code; from shotcount.sampling import subsets"
    script.write_text(f"{code}; print(*_code(), sep='\\n')")
    shown = subprocess.run([sys.executable, script], capture_output=True, check=True, text=True)
    first, *others = map(Path, shown.stdout.splitlines())
    assert first == script
    package = ROOT / "src/shotcount"
    assert set(others) == {*package.glob("core/*.py"), *package.glob("sampling/*.py")}


def test_finished_work_leaves_nothing_of_any_key(unfinished: Path) -> None:
    interrupt("train", 1)
    interrupt("test", 1)
    with files.workspace("train", 2):
        pass
    assert [path.name.partition("-")[0] for path in unfinished.iterdir()] == ["test"]


def test_begun_work_is_left_for_its_own_workspace(unfinished: Path) -> None:
    with files.workspace("train", 1), files.begun("next", 1) as work:
        (work / "half").touch()
    with files.workspace("next", 1) as work:
        assert (work / "half").exists()
    assert not list(unfinished.iterdir())


def test_work_that_is_half_removed_is_not_gone_on_with(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files.shutil, "rmtree", stop)
        with files.workspace("train", 1) as work:
            (work / "whole").touch()
    with files.workspace("train", 1) as work:
        assert not (work / "whole").exists()
    assert not list(unfinished.iterdir())


def test_one_process_at_a_time(unfinished: Path) -> None:
    program = (
        "from shotcount.core import files\n"
        "with files.workspace('train', 1):\n"
        "    input(print('at work', flush=True))"
    )  # fmt: skip
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "at work\n"
        second = subprocess.run(command, capture_output=True, text=True)
        first.communicate("\n")
    assert (first.returncode, second.returncode) == (0, 1)
    assert "another process is at work (" in second.stderr


def test_a_name_on_another_file_system_is_reached(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        for kind in ("file", "folder"):
            made = Path(folder, kind)
            if kind == "folder":
                made.mkdir()
                (made / "inside").write_text("content")
            else:
                made.write_text("content")
            files.publish(made, tmp_path / kind)
    assert (tmp_path / "folder/inside").read_text() == (tmp_path / "file").read_text() == "content"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_npy_header_is_that_of_an_array(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    (tmp_path / "a.npy").write_bytes(files.npy_header("<f4", (3, 4)) + array.tobytes())
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
