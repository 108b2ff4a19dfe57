"""Train several networks at a time, each in a process with a fixed number of threads.

Small networks gain less from more threads than from more processes, and results don't depend on how
many processes there are.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from shotcount.core.errors import UserError
from shotcount.parallel.settings import ParallelSettings

Job = TypeVar("Job")
Result = TypeVar("Result")
Report = Callable[[Any], None]  # tells the parent how far the job is


def network_count(parallel: ParallelSettings, device: torch.device) -> int:
    """Return how many networks are trained at a time on this machine."""
    if parallel.networks != "auto":
        return parallel.networks
    if device.type == "cpu":
        own = hasattr(os, "sched_getaffinity")  # the cores that this process may use
        cores = len(os.sched_getaffinity(0)) if own else os.cpu_count() or 1
        return max(1, cores // parallel.threads)
    return 2  # one prepares its batch while the other computes


def run_side_by_side(
    work: Callable[[Job, Report], Result],
    jobs: Sequence[Job],
    at_once: int,
    threads: int,
    device: torch.device,
    on_report: Callable[[int, Any], None] = lambda job, report: None,
) -> Generator[tuple[int, Result], None, None]:
    """Yield the number of each job, as it ends, and its result.

    Parameters
    ----------
    work : callable
        Called with a job and a function that passes reports on.
    jobs : sequence
    at_once : int
        Processes at a time; 1 works in this process.
    threads : int
        CPU threads of each.
    device : torch.device
        Where the networks are.
    on_report : callable
        Called in this process with the number of a job and what it reports.

    Raises
    ------
    UserError
        If a process was killed, or if a job raises it. Any exception of a job ends the others.
    """
    if at_once == 1 or len(jobs) < 2:
        for number, job in enumerate(jobs):
            with _threads(threads):
                result = work(job, partial(on_report, number))
            yield number, result
        return
    context = _context(threads, device)
    waiting = list(enumerate(jobs))
    running: dict[Any, tuple[int, Any]] = {}  # by the connection that it sends on
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, job = waiting.pop(0)
                receiver, process = _start(context, work, job, threads)
                running[receiver] = number, process
            for ready in wait(list(running)):
                number, process = running[ready]
                kind, value = _receive(ready, process)
                if kind == "report":
                    on_report(number, value)
                    continue
                del running[ready]
                process.join()
                if kind == "error":
                    raise value
                yield number, value
    finally:
        for _, process in running.values():
            process.kill()
            process.join()


def _context(threads: int, device: torch.device) -> Any:
    # A forked process has all modules imported and all data mapped. Threads and CUDA don't survive
    # a fork.
    forks = sys.platform == "linux" and device.type == "cpu" and threads == 1
    return multiprocessing.get_context("fork" if forks else "spawn")


def _start(context: Any, work: Callable[[Job, Report], Any], job: Job, threads: int) -> Any:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, job, threads, sender))
    with _interrupts_held():
        process.start()
    sender.close()
    return receiver, process


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while a process starts, which can't ignore it yet; not on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _receive(receiver: Any, process: Any) -> tuple[str, Any]:
    try:
        kind, value = receiver.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"a training process was killed (exit status {process.exitcode}), perhaps for lack of "
            "memory: lower parallel.networks, and run again to resume"
        ) from None
    return kind, value


def _run(work: Callable[[Job, Report], Any], job: Job, threads: int, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with _threads(threads):
        try:
            message = "result", work(job, lambda report: sender.send(("report", report)))
        except Exception as error:
            message = "error", error
    sender.send(message)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
