"""Run the study's cells side by side, recorded as if `dvc repro` had run them.

DVC tells which stages are out of date and how to run them; an engine runs their commands; the
outputs of each are recorded with `dvc commit` as soon as it ends.
"""

import io
import sys
import tarfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from shotcount.cluster.repository import (
    PHASES,
    commit,
    inputs_of,
    open_repo,
    out_of_date,
    run_dvc,
    stages_of,
)
from shotcount.cluster.tasks import Engine, Options, Outcome, Task
from shotcount.core import files
from shotcount.core.errors import UserError


def run_cells(options: Options, make_engine: Callable[[], Engine]) -> None:
    """Bring the stages tune, train, train_grid, evaluate and refit, and those before, up to date.

    Parameters
    ----------
    options : Options
    make_engine : callable
        Returns the engine; called only if there is something to run.

    Raises
    ------
    UserError
        If a stage fails. The stages that succeeded are recorded.
    """
    _print_whole_lines()
    with open_repo() as repo:
        before = sorted(set(inputs_of(repo, stages_of(repo, PHASES[0])).values()))
    run_dvc("repro", *(["--pull"] if options.pull else []), "params", *before)
    engine = None
    try:
        for phase in PHASES:
            tasks = out_of_date(phase, options)
            if not tasks:
                print(f"{phase[0]}: up to date")
                continue
            engine = engine or make_engine()
            print(f"{phase[0]}: {len(tasks)} stages out of date; {engine.description}")
            _run_all(tasks, engine, options)
    except KeyboardInterrupt:
        print("interrupted: run again to resume", file=sys.stderr)
        raise
    finally:
        if engine is not None:
            engine.stop()
    with open_repo() as repo:
        left = ", ".join(repo.status())
    print(f"left for dvc repro: {left or 'nothing'}")


def _print_whole_lines() -> None:
    """Write every line to stdout and stderr in one piece, since Ray's threads print there too.

    DVC wraps these streams (colorama), and most containers turn off their buffers
    (PYTHONUNBUFFERED). Then the text and the end of a line are written separately, and another
    thread's line may come between them.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, f"__{name}__")
        stream.reconfigure(line_buffering=True, write_through=False)
        setattr(sys, name, stream)


def _run_all(tasks: Sequence[Task], engine: Engine, options: Options) -> None:
    """Run the tasks, several at once; record each one when it ends; retry where it may help."""
    todo, running, failed = deque(tasks), dict[Any, Task](), dict[str, str]()
    tries, done = Counter[str](), 0
    limit = options.jobs or engine.limit or len(tasks)
    while todo or running:
        while todo and len(running) < limit:
            task = todo.popleft()
            tries[task.name] += 1
            running[engine.start(task)] = task
        for handle in engine.wait(list(running)):
            task, outcome = running.pop(handle), engine.outcome(handle)
            if isinstance(outcome, Outcome) and outcome.status == 0:
                _unpack(outcome.made, task.outputs)
                commit([task.name])
                done += 1
                where = f"{outcome.seconds:.1f} s on {outcome.node}"
                print(f"[{done}/{len(tasks)}] {task.name}: {where}")
                continue
            why = _reason(outcome)
            # Status 2: the user has to fix something; another attempt would fail, too.
            for_good = isinstance(outcome, Outcome) and outcome.status == 2
            if for_good or tries[task.name] > options.retries:
                failed[task.name] = why
            else:
                todo.append(task)
                tried = f"{tries[task.name]} of {options.retries}"
                print(f"{task.name}: {why}: retrying ({tried})")
    if failed:
        listing = "".join(f"\n       {name}: {why}" for name, why in failed.items())
        raise UserError(
            f"{len(failed)} of {len(tasks)} stages failed, the others are recorded:{listing}"
        )


def _reason(outcome: Outcome | str) -> str:
    """Say in one line why a task failed."""
    if isinstance(outcome, str):
        return f"its worker died ({outcome.strip().splitlines()[0]})"
    _, error, message = outcome.said.rpartition("error: ")
    if outcome.status == 2 and error:
        return message.strip()
    last = (outcome.said.strip().splitlines() or ["no output"])[-1]
    return f"status {outcome.status} on {outcome.node} ({last})"


def _unpack(made: bytes, outputs: Iterable[str]) -> None:
    """Move the outputs that were made in a node's own folder to their place here."""
    if not made:
        return
    files.UNFINISHED.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=files.UNFINISHED) as folder:
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            tar.extractall(folder, filter="data")
        for name in outputs:
            files.publish(Path(folder, name), Path(name))
