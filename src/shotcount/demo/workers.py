"""Render on all cores, one process each."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from shotcount.core.errors import UserError
from shotcount.core.progress import watch


def render_each(
    render: Callable[..., None],
    *columns: Sequence[str | int],
    stage: str,
    noun: str,
    workers: int | None = None,
) -> None:
    """Call `render` with each row of the columns, as `map` does, and show how far it is.

    Parameters
    ----------
    render : callable
        A function of a module, or a partial of one.
    columns : sequences of the same length
        One for each argument.
    stage, noun : str
        What the progress bar calls the work and a row.
    workers : int or None
        Processes; None: one per core.

    Raises
    ------
    UserError
        If a worker is killed.
    """
    # Spawned, since the renderer's threads don't survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or _cores(), spawn, initializer=_start_worker) as pool:
        # Workers start with Ctrl-C blocked: the parent decides when to stop.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        finished = pool.map(render, *columns)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            for _ in watch(finished, stage, len(columns[0]), noun):
                pass
        except BrokenProcessPool:
            raise UserError(
                "a rendering process was killed, perhaps for lack of memory: run again to resume"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)  # don't finish the queue when interrupted


def _start_worker() -> None:
    """Let this worker end with its parent, however the parent ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cores() -> int:
    """Count the cores that this process may use: perhaps fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
