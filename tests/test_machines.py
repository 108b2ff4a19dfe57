"""Terminals, users and folders as machines and containers have them."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, make_collection

from shotcount import cli
from shotcount.commands.predict import find_files
from shotcount.core.errors import UserError
from shotcount.core.stage import run_stage
from shotcount.photos.walking import list_photos


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params_text: str) -> Path:
    """A folder with params.yaml and photos, both under names with blanks and letters like ü."""
    folder = tmp_path / "über uns 收藏"
    photos = make_collection(folder / "meine Fotos é", samples=8, angles=1)
    (photos / "red").rename(photos / "Кот é 猫")
    params = yaml.safe_load(params_text)
    params["data"] |= {"path": photos.name, "size": 32}
    params["study"] |= {"angles": [1], "frozen_grid": {"samples": [0.5], "angles": [1]}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "utf-8"])
def test_output_in_any_encoding(
    project: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    shown, told = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(told, encoding))
    monkeypatch.setattr(sys, "argv", ["shotcount", "check-data"])
    with pytest.raises(SystemExit) as end:
        cli.run()
    sys.stderr.flush()
    assert (end.value.code, told.getvalue()) == (0, b"")
    text = shown.getvalue().decode(encoding)
    assert f"class {'Кот é 猫' if encoding == 'utf-8' else chr(92) + 'u041a'}" in text
    assert "Nothing would stop the study." in text
    assert "é" in text or encoding == "ascii"

    def stage() -> None:
        print("→")
        raise UserError("Кот: →")

    with pytest.raises(SystemExit) as end:
        run_stage(stage)
    sys.stderr.flush()
    assert end.value.code == 2
    arrow = "→" if encoding == "utf-8" else "\\u2192"
    assert told.getvalue().decode(encoding).endswith(f": {arrow}\n")


def test_nothing_is_written_below_the_photos(project: Path) -> None:
    photos = project / "meine Fotos é"
    places = [photos, *photos.rglob("*")]
    before = [(path, path.stat().st_mtime_ns) for path in places]
    for path in places:  # as where they are mounted read-only
        path.chmod(0o555 if path.is_dir() else 0o444)
    (project / "data").mkdir()
    (project / "data/size.json").write_text("32\n", encoding="utf-8")
    stages = [ROOT / "stages/prepare.py", ROOT / "stages/split.py"]
    environment = os.environ | {"HOME": "/nonexistent", "PYTHONPATH": str(ROOT / "src")}
    try:
        assert cli.main(["check-data"]) == 0
        for stage in stages:
            subprocess.run([sys.executable, stage], check=True, env=environment)
    finally:
        for path in places:
            path.chmod(0o755)
    assert [(path, path.stat().st_mtime_ns) for path in [photos, *photos.rglob("*")]] == before


def test_a_folder_that_cannot_be_read_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated, since root may read every folder."""
    scan = os.scandir

    def closed(place: str) -> object:
        if os.fspath(place).endswith("blue/03"):
            raise PermissionError(13, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", closed)
    photos = Path("meine Fotos é")
    for find in (lambda: list_photos(photos), lambda: find_files([photos])):
        with pytest.raises(UserError, match=r"blue/03 can't be read \(Permission denied\): let"):
            find()


@pytest.mark.parametrize(
    ("environment", "user", "folder"),
    [
        ({"HOME": "/nonexistent"}, str(os.getuid()), f"{ROOT}/data/unfinished/matplotlib"),
        ({"HOME": "/tmp", "USER": "me"}, "me", ""),
        ({"HOME": "/tmp", "LOGNAME": "me"}, "", ""),
    ],
)
def test_make_gives_a_container_what_dvc_and_matplotlib_ask_for(
    environment: dict[str, str], user: str, folder: str
) -> None:
    show = 'show: ; @echo "$$USER,$$MPLCONFIGDIR"'
    shown = subprocess.check_output(
        ["make", "--silent", f"--eval={show}", "show"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | environment,
        text=True,
    )
    assert shown.strip() == f"{user},{folder}"
