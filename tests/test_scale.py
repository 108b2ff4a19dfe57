"""A collection of a million photos: its tables and its statistics fit an ordinary memory."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import scaling
from conftest import ROOT


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
    scripts = {command.split()[0] for command in scaling.STAGES}
    assert scripts == {path.name for path in (ROOT / "stages").glob("*.py")} - {"demo.py"}


def test_the_benchmark_tells_what_a_stage_costs(tmp_path: Path) -> None:
    scaling.make_project(tmp_path, 200)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/size.json").write_text(str(scaling.SIZE))
    costs = [
        scaling.run(tmp_path, stage, scaling.STAGES[stage]) for stage in ("prepare.py", "split.py")
    ]
    assert costs[0].disk > 200 * scaling.SIZE**2 * 3
    assert all(cost.seconds > 0 and cost.memory > 10 for cost in costs)
