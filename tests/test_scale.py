"""A million photos: their tables and statistics fit the memory. What a photo costs."""

import json
import os
import re
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
        (20_000, 1, 600),  # as many samples as photos: the widest of the bootstrap's tables
        pytest.param(1_000_000, 10, 4096, marks=pytest.mark.slow),
        pytest.param(1_000_000, 1, 4096, marks=pytest.mark.slow),
    ],
)
def test_from_the_manifest_to_the_answer_within_the_memory(
    tmp_path: Path, photos: int, angles: int, mib: int
) -> None:
    program = (
        "from pathlib import Path; import json, scaling; "
        f"seconds, answer = scaling.through_tables({photos}, Path(), angles={angles}); "
        "assert answer.strategy == 'frozen'; "
        "assert answer.accuracy.low < 0.85 < answer.accuracy.high; "
        "assert answer.accuracy.high - answer.accuracy.low < 0.02; "
        "print(json.dumps([seconds, Path('/proc/self/status').read_text()]))"
    )
    # A process of its own, for its memory.
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}/benchmarks", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    seconds, status = json.loads(ran.stdout)
    # Not getrusage's figure, which counts what the parent had when it forked.
    most = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    print(
        f"{photos} photos, {angles} angles a sample: {most:.0f} MiB, {sum(seconds.values()):.0f} s"
    )
    assert most < mib


def test_the_benchmark_runs_the_stages_by_their_names() -> None:
    scripts = {stage.split()[0] for stage in scaling.STAGES}
    # Neither has to do with the number of photos.
    others = {"demo", "params"}
    assert scripts == {path.stem for path in (ROOT / "stages").glob("*.py")} - others


def test_the_benchmark_measures_what_a_stage_takes(tmp_path: Path) -> None:
    scaling.make_project(tmp_path, 200)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/size.json").write_text("32")
    costs = [measure.run_stage(tmp_path, stage) for stage in ("prepare", "split")]
    assert costs[0].disk > 200 * 32**2 * 3
    assert all(0 < cost.seconds < cost.wall and 10 < cost.memory < 400 for cost in costs)


def test_the_table_of_stages_tells_what_a_further_photo_takes() -> None:
    def make(folder: Path, count: int) -> None:
        scaling.make_project(folder, count)
        (folder / "data").mkdir()
        (folder / "data/size.json").write_text("32")

    heads, _, row = scaling.stage_table(120, 220, stages=["prepare"], make=make).splitlines()
    names, cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in (heads, row))
    assert names == [
        "stage", "s at 120", "s at 220", "ms a further photo", "MiB resident at 120",
        "MiB resident at 220", "bytes a further photo",
    ]  # fmt: skip
    assert cells[0] == "prepare" and float(cells[-1]) == pytest.approx(32**2 * 3, rel=0.1)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs Linux's page cache")
def test_the_benchmark_reads_photos_in_every_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "WINDOW", batches.WINDOW)  # which the benchmark lowers
    monkeypatch.setattr(scaling, "ROOT", tmp_path)
    _, _, *rows = scaling.measure_reads(70).splitlines()
    assert len(rows) == 4 and all(float(row.split("|")[2]) > 0 for row in rows)
