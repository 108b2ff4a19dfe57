"""Jobs in several processes: the same results as in one, and no process is left over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from conftest import PARAMS, processes, wait_for

from shotcount.core.errors import UserError
from shotcount.parallel import side_by_side
from shotcount.parallel.side_by_side import network_count, run_side_by_side

CPU = torch.device("cpu")


def children() -> set[psutil.Process]:
    """The processes of this one that run jobs."""
    return set(psutil.Process().children())


def multiply(job: int, report: Callable[[str], None]) -> tuple[float, int]:
    """A number that depends on the job alone, and the threads that computed it."""
    report(f"begun {job}")
    x = torch.randn(50, 50, generator=torch.Generator().manual_seed(job))
    report(f"ended {job}")
    return float((x @ x).sum()), torch.get_num_threads()


@pytest.mark.parametrize("threads", [1, 2])
def test_results_are_those_of_one_process(threads: int) -> None:
    jobs = [7, 8, 9] if threads == 1 else [7, 8]  # a process of more threads is slow to start
    before, found = torch.get_num_threads(), []
    for at_once in (1, 2):
        reports: list[list[str]] = [[] for _ in jobs]

        def take(number: int, report: str, reports: list[list[str]] = reports) -> None:
            reports[number].append(report)

        results = dict(run_side_by_side(multiply, jobs, at_once, threads, CPU, take))
        assert {own for _, own in results.values()} == {threads}
        assert reports == [[f"begun {job}", f"ended {job}"] for job in jobs]
        found.append([results[number][0] for number in range(len(jobs))])
    assert found[0] == pytest.approx(found[1], abs=0 if threads == 1 else 1e-3)
    assert torch.get_num_threads() == before


def fail(job: int, report: Callable[[str], None]) -> None:
    """The second fails at once; the first one would take long."""
    if job == 1:
        raise UserError("the photo is damaged")
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [([0, 1], "^the photo is damaged$"), ([0, 2], "killed .* lower parallel.networks, and run")],
)
def test_a_fault_is_told_and_ends_the_others(jobs: list[int], message: str) -> None:
    before, start = children(), time.perf_counter()
    with pytest.raises(UserError, match=message):
        list(run_side_by_side(fail, jobs, 2, 1, CPU))
    assert time.perf_counter() - start < 30
    assert children() <= before


def test_who_takes_no_more_results_leaves_no_process() -> None:
    before, told = children(), run_side_by_side(multiply, range(9), 2, 1, CPU)
    next(told)
    assert len(children() - before) in (1, 2)
    told.close()
    assert children() <= before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    program = """if True:
        import time
        from pathlib import Path
        import torch
        from shotcount.parallel.side_by_side import run_side_by_side

        def wait(job, report):
            Path(f"begun{job}").touch()
            time.sleep(60)

        list(run_side_by_side(wait, range(3), 3, 1, torch.device("cpu")))
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: len(list(tmp_path.glob("begun*"))) == 3, parent)
    assert len(processes("run_side_by_side", tmp_path)) == 4
    parent.send_signal(how)
    parent.communicate()  # returns once nobody holds its output any more
    assert not processes("run_side_by_side", tmp_path)


def test_as_many_networks_as_the_cores_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side.os, "sched_getaffinity", lambda own: range(8))

    def count(device: str, **changes: object) -> int:
        return network_count(PARAMS.parallel.model_copy(update=changes), torch.device(device))

    assert count("cpu", threads=1) == 8
    assert count("cpu", threads=3) == 2
    assert count("cpu", threads=16) == 1
    assert count("cuda", threads=1) == 2
    assert count("cpu", networks=5) == count("cuda", networks=5) == 5
