"""Clocks: photos a second of a loop; seconds and memory of a stage in a process of its own.

`python benchmarks/measure.py train frozen 1.0 10` is such a process: see `run_stage`.
"""

import json
import math
import os
import resource
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:  # not at runtime: a stage that needs no torch must not be charged with it
    import torch

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 2  # steps that load libraries, choose algorithms, start workers
T = TypeVar("T")


class Rate(NamedTuple):
    photos_per_second: float
    waiting: float = 0.0  # share of the time in which training waits for its next batch
    first: float = 0.0  # seconds until the first batch came: a loader's workers start


def now(device: "torch.device") -> float:
    """Read the clock after the device has finished all work that it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


class Stopwatch:
    """Records when each batch was asked for, and when it came."""

    def __init__(self, device: "torch.device") -> None:
        self.device = device
        self.times: list[tuple[float, float]] = []

    def wait_for(self, get: Callable[[], T]) -> T:
        asked, item = now(self.device), get()
        self.times.append((asked, now(self.device)))
        return item

    def rate(self, batch_size: int) -> Rate:
        """Return the rate after the warm-up. A step ends when the next batch is asked for."""
        asked, came = np.array(self.times).T
        seconds, waited = asked[-1] - asked[WARM_UP], came - asked
        photos = (len(asked) - 1 - WARM_UP) * batch_size
        return Rate(photos / seconds, waited[WARM_UP:-1].sum() / seconds, waited[0])


def batches_for(timed: int, batch_size: int) -> int:
    """Return how many batches time `timed` photos, but six steps at least, since steps vary."""
    return WARM_UP + max(6, math.ceil(timed / batch_size)) + 1


def seconds_of(work: Callable[[], object], times: int, device: "torch.device") -> float:
    """Return the mean seconds of `work`, after a warm-up."""
    for _ in range(WARM_UP):
        work()
    start = now(device)
    for _ in range(times):
        work()
    return (now(device) - start) / times


def alternate(measures: Mapping[T, Callable[[], Rate]], repeats: int) -> dict[T, Rate]:
    """Measure each in turn, all of them `repeats` times; return the medians.

    Whatever else slows the machine for a while then slows all of them.
    """
    turns = [{key: measure() for key, measure in measures.items()} for _ in range(repeats)]
    return {key: Rate(*np.median([turn[key] for turn in turns], axis=0)) for key in measures}


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


class Cost(NamedTuple):
    """What a stage took."""

    wall: float  # seconds of its process
    seconds: float  # without Python's start and the loading of packages
    memory: float  # MiB, the most that its process held
    disk: int  # bytes of the files that it made


def run_stage(folder: Path, stage: str) -> Cost:
    """Run a stage, such as "train frozen 1.0 10", in a process of its own, in `folder`."""

    def size() -> int:
        made = (path for top in ("data", "metrics") for path in (folder / top).rglob("*"))
        return sum(path.stat().st_size for path in made if path.is_file())

    command, own = [sys.executable, __file__, *stage.split()], {"PYTHONPATH": f"{ROOT}/src"}
    before, start, env = size(), time.perf_counter(), os.environ | own
    ran = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, check=True)
    wall, (seconds, memory) = time.perf_counter() - start, json.loads(ran.stdout)
    return Cost(wall, seconds, memory, size() - before)


def peak_memory() -> float:
    """Return the most memory that this process has held, in MiB."""
    if sys.platform == "linux":  # where ru_maxrss starts from what the parent process held
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # macOS counts bytes


if __name__ == "__main__":
    del sys.argv[0]  # where the stage's arguments begin
    with redirect_stdout(sys.stderr):
        stage = runpy.run_path(str(ROOT / "stages" / f"{sys.argv[0]}.py"))
        start = time.perf_counter()
        stage["main"]()
        seconds = time.perf_counter() - start
    print(json.dumps([seconds, peak_memory()]))
