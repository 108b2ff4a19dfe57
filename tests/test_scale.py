"""A million photos: their tables and statistics fit the memory. What a photo costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import measure
import pytest
import scaling
from conftest import ROOT

from shotcount.training import batches


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("photos", "angles", "mib"),
    [
        (10_000, 1, 700),  # as many samples as photos: the widest of the bootstrap's tables
        pytest.param(1_000_000, 10, 4096, marks=pytest.mark.slow),
        pytest.param(1_000_000, 1, 4096, marks=pytest.mark.slow),
    ],
)
def test_from_the_manifest_to_the_answer_within_the_memory(
    tmp_path: Path, photos: int, angles: int, mib: int
) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "tests/through_tables.py", str(photos), str(angles)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    seconds, accuracy, most = json.loads(ran.stdout)
    for step, value in seconds.items():
        print(f"| {step} | {value:.1f} |")
    print(f"{photos:,} photos, {angles} angles a sample: {most:.0f} MiB")
    assert accuracy["low"] < 0.85 < accuracy["high"] < accuracy["low"] + 0.02
    assert most < mib


def test_the_benchmark_runs_the_stages_by_their_names() -> None:
    scripts = {stage.split()[0] for stage in scaling.STAGES}
    # None of them has to do with the number of photos.
    others = {"demo", "params"}
    assert scripts == {path.stem for path in (ROOT / "stages").glob("*.py")} - others


def test_the_benchmark_measures_what_a_stage_takes(tmp_path: Path) -> None:
    scaling.make_project(tmp_path, 200)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/size.json").write_text("32")
    costs = [measure.run_stage(tmp_path, stage) for stage in ("prepare", "split")]
    assert costs[0].disk > 200 * 32**2 * 3
    assert all(0 < cost.seconds < cost.wall and 10 < cost.memory < 400 for cost in costs)


def test_the_table_of_stages_shows_what_a_further_photo_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cost(folder: Path, stage: str) -> measure.Cost:
        photos = len(list((folder / "photos").rglob("*.png")))
        return measure.Cost(2 + 0.01 * photos, 0.01 * photos, 100 + photos, 3072 * photos)

    monkeypatch.setattr(scaling, "run_stage", cost)
    heads, _, row = scaling.stage_table(20, 40, stages=["prepare"]).splitlines()
    names, cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in (heads, row))
    assert names == [
        "stage", "s at 20", "s at 40", "ms a further photo", "MiB resident at 20",
        "MiB resident at 40", "bytes a further photo",
    ]  # fmt: skip
    assert cells == ["prepare", "2.2", "2.4", "10.000", "120", "140", "3072"]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs Linux's page cache")
def test_the_benchmark_reads_photos_in_every_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "WINDOW", batches.WINDOW)  # which the benchmark lowers
    monkeypatch.setattr(scaling, "ROOT", tmp_path)
    _, _, *rows = scaling.measure_reads(70).splitlines()
    assert len(rows) == 4 and all(float(row.split("|")[2]) > 0 for row in rows)
