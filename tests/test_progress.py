"""What a terminal shows, what a log holds, and that both are of the whole cell."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, in_a_terminal

from shotcount.core import progress, stage
from shotcount.core.progress import Meter, watch


def written(code: str) -> str:
    """What Python code writes to a terminal."""
    code = f"from shotcount.core.progress import *\n{code}"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return in_a_terminal([sys.executable, "-c", code], env=environment)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = 1000.0

        def perf_counter(self) -> float:
            return self.now

    own = Clock()
    monkeypatch.setattr(progress, "time", own)
    return own


def test_a_log_gets_a_line_each_half_minute_at_most(clock: Any, capsys: Any) -> None:
    with Meter("frozen 8x3", 400, "step") as meter:
        assert not meter.live
        for step in range(201):
            meter.show(step, note=f"loss {step / 1000:.3f}")
            clock.now += 0.5
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"frozen 8x3: {n} of 400 steps, {gone} gone, {to_go} to go, loss {n / 1000:.3f}"
        for n, gone, to_go in (
            (60, "00:30", "02:50"),
            (120, "01:00", "02:20"),
            (180, "01:30", "01:50"),
        )
    ]
    assert err == ""


def test_work_that_may_end_sooner_is_told_as_a_bound(clock: Any, capsys: Any) -> None:
    with Meter("tune", 400, "step", at_most=True) as meter:
        meter.show(0)
        clock.now += 40
        meter.show(100)
    assert "100 of at most 400 steps, 00:40 gone, at most 02:00 to go" in capsys.readouterr().out


def test_what_is_over_sooner_leaves_no_trace_in_a_log(clock: Any, capsys: Any) -> None:
    assert list(watch("abc", "photos", 3, "photo")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_what_was_done_before_says_nothing_of_the_pace(clock: Any, capsys: Any) -> None:
    with Meter("features", 1000, "photo") as meter:
        meter.show(900)
        clock.now += 40
        meter.show(910)
    assert "910 of 1000 photos, 00:40 gone, 06:00 to go" in capsys.readouterr().out


def test_a_terminal_gets_one_bar_that_stays_when_full() -> None:
    shown = written(
        "with Meter('scratch 8x3', 6, 'step') as meter:\n"
        "    for n in range(5):\n"
        "        meter.show(n, note=f'seed 1/2, loss 0.{n}')\n"
        "        time.sleep(0.11)\n"
        "    meter.show(4, 4, '2 seeds')\n"
    )
    assert shown.count("\n") == 1
    frames = [frame.strip() for frame in shown.split("\r") if frame.strip()]
    assert frames[0].startswith("scratch 8x3   0%|")
    assert any(frame.endswith("seed 1/2, loss 0.3") for frame in frames)
    assert frames[-1].startswith("scratch 8x3 100%|")
    assert frames[-1].endswith("2 seeds")
    assert max(map(len, frames)) <= 100


def test_an_error_leaves_the_bar_on_its_own_line() -> None:
    shown = written(
        "try:\n"
        "    for item in watch([1, 2], 'photos', 2, 'photo'):\n"
        "        raise KeyboardInterrupt\n"
        "except KeyboardInterrupt:\n"
        "    pass\n"
        "print('interrupted')\n"
    )
    assert shown.splitlines()[-1] == "interrupted"


def test_a_training_run_says_how_far_the_study_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SECONDS", tmp_path)
    runs = ["train-scratch-1.0-1", "train-scratch-1.0-2", "train-frozen-1.0-1"]

    def ended(run: str, seconds: float, when: int) -> None:
        (tmp_path / run).write_text(str(seconds), encoding="utf-8")
        os.utime(tmp_path / run, (when, when))

    assert stage.how_far(runs) == "cell 1 of 3"
    ended("train-frozen-1.0-1", 30, when=1)  # of an earlier study
    ended("tune-frozen", 1, when=2)
    ended("tune-scratch", 100, when=3)
    ended("train-scratch-1.0-1", 240, when=4)
    assert stage.how_far(runs) == "cell 2 of 3, about 5 min to go"
    ended("train-scratch-1.0-2", 240, when=5)
    assert stage.how_far(runs) == "cell 3 of 3, about 1 min to go"
