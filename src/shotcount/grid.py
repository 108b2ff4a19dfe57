"""The study's cells side by side, on a cluster, recorded as if `dvc repro` had run them.

DVC says what is out of date, and by which command it is made; an engine runs these commands; as
each of them ends, `dvc commit` makes DVC take its outputs for its own.
"""

import io
import subprocess
import sys
import tarfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.stage.cache import RunCacheNotFoundError

from shotcount import files
from shotcount.engines import Engine, Outcome, Task
from shotcount.errors import UserError

PHASES = (("train", "train_grid"), ("evaluate",))  # the second one needs what the first one makes
# What a node needs that shares no folder with this one, beside what DVC fetches. All the sources,
# since unfinished work is found again by them.
PROJECT = ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", "stages/*.py", "src/shotcount/*")
OWN_FOLDER = Path("shotcount-grid")  # such a node's, below where its Ray was started


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run the grid, whatever the engine."""

    threads: int  # of each task
    jobs: int | None  # tasks at once; None: as many as the engine takes
    retries: int  # of a task whose command or worker died
    shared: bool  # whether every node sees this folder
    pull: bool  # whether to look for finished work in the DVC remote, too


def run(settings: Settings, make_engine: Callable[[], Engine]) -> None:
    """Bring train, train_grid and evaluate up to date, and what they need.

    Parameters
    ----------
    settings : Settings
    make_engine : callable
        Returns the engine. Called only if there is something to run.

    Raises
    ------
    UserError
        If something can't be brought up to date. All that could be is recorded.
    """
    _print_whole_lines()
    with _repo() as repo:
        before = sorted(set(_inputs(repo, _stages(repo, PHASES[0])).values()))
    _dvc("repro", *(["--pull"] if settings.pull else []), *before)
    engine = None
    try:
        for phase in PHASES:
            tasks = _out_of_date(phase, settings)
            if not tasks:
                print(f"{phase[0]}: up to date")
                continue
            engine = engine or make_engine()
            print(f"{phase[0]}: {len(tasks)} stages out of date; {engine.description}")
            _run_all(tasks, engine, settings)
    except KeyboardInterrupt:
        print("interrupted: run again to go on", file=sys.stderr)
        raise
    finally:
        if engine is not None:
            engine.stop()
    with _repo() as repo:
        left = ", ".join(repo.status())
    print(f"left for dvc repro: {left or 'nothing'}")


def _print_whole_lines() -> None:
    """Show at once, and line by line, what this process prints: Ray's threads do so, too.

    DVC wraps the streams (colorama), Python can be told not to buffer (PYTHONUNBUFFERED, as in
    most containers): either way, a line's text and its end come apart, and another thread's line
    between them.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, f"__{name}__")
        stream.reconfigure(line_buffering=True, write_through=False)
        setattr(sys, name, stream)


def _run_all(tasks: Sequence[Task], engine: Engine, settings: Settings) -> None:
    todo, running, failed = deque(tasks), dict[Any, Task](), dict[str, str]()
    tries, done = Counter[str](), 0
    limit = settings.jobs or engine.limit or len(tasks)
    while todo or running:
        while todo and len(running) < limit:
            task = todo.popleft()
            tries[task.name] += 1
            running[engine.start(task)] = task
        for handle in engine.wait(list(running)):
            task, outcome = running.pop(handle), engine.outcome(handle)
            if isinstance(outcome, Outcome) and outcome.status == 0:
                _unpack(outcome.made, task.outputs)
                _commit([task.name])
                done += 1
                where = f"{outcome.seconds:.1f} s on {outcome.node}"
                print(f"[{done}/{len(tasks)}] {task.name}: {where}")
                continue
            why = _reason(outcome)
            # Status 2: the user has to mend something, and trying again won't.
            for_good = isinstance(outcome, Outcome) and outcome.status == 2
            if for_good or tries[task.name] > settings.retries:
                failed[task.name] = why
            else:
                todo.append(task)
                tried = f"{tries[task.name]} of {settings.retries}"
                print(f"{task.name}: {why}: again ({tried})")
    if failed:
        listing = "".join(f"\n       {name}: {why}" for name, why in failed.items())
        raise UserError(
            f"{len(failed)} of {len(tasks)} stages failed, the others are recorded:{listing}"
        )


def _reason(outcome: Outcome | str) -> str:
    """Say in a line why a task has failed."""
    if isinstance(outcome, str):
        return f"its worker died ({outcome.strip().splitlines()[0]})"
    _, error, message = outcome.said.rpartition("error: ")
    if outcome.status == 2 and error:
        return message.strip()
    last = (outcome.said.strip().splitlines() or ["it said nothing"])[-1]
    return f"status {outcome.status} on {outcome.node} ({last})"


def _unpack(made: bytes, outputs: Iterable[str]) -> None:
    """Put what was made in a node's own folder in its place here."""
    if not made:
        return
    files.UNFINISHED.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=files.UNFINISHED) as folder:
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            tar.extractall(folder, filter="data")
        for name in outputs:
            files.publish(Path(folder, name), Path(name))


# ---- DVC ----------------------------------------------------------------------------


@contextmanager
def _repo() -> Iterator[Repo]:
    try:
        # As the option --wait-for-lock: a `dvc push` beside the grid must not stop it.
        with Repo(_wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"DVC: {error}") from None


def _dvc(*arguments: str) -> None:
    ended = subprocess.run([sys.executable, "-m", "dvc", "--wait-for-lock", *arguments])
    if ended.returncode:
        raise UserError(f"dvc {' '.join(arguments)} failed: mend what it names above, run again")


def _stages(repo: Repo, names: Iterable[str]) -> list[Any]:
    return [stage for name in names for stage in repo.stage.collect(name)]


def _inputs(repo: Repo, stages: Iterable[Any]) -> dict[str, str]:
    """Return what the stages read and other stages make: path → name of the stage."""
    read = {Path(dep.fs_path) for stage in stages for dep in stage.deps}
    made = {Path(out.fs_path): out.stage.addressing for out in repo.index.outs}
    return {
        path.relative_to(repo.root_dir).as_posix(): stage
        for path, stage in made.items()
        if any(path.is_relative_to(dep) or dep.is_relative_to(path) for dep in read)
    }


def _out_of_date(phase: Sequence[str], settings: Settings) -> list[Task]:
    """Return the stages of a phase that must run.

    As in `dvc repro`, their old outputs go, and what the run cache knows is taken from there.
    """
    with _repo() as repo, lock_repo(repo):
        stale = repo.status(list(phase))
        stages = [stage for stage in _stages(repo, phase) if stage.addressing in stale]
        if settings.pull and stages:
            repo.stage_cache.pull(None)
        to_run = []
        for stage in stages:
            stage.remove_outs()
            try:
                repo.stage_cache.restore(stage, pull=settings.pull)
            except RunCacheNotFoundError:
                to_run.append(stage)
        known = [stage.addressing for stage in stages if stage not in to_run]
    _commit(known)
    if known:
        print(f"{phase[0]}: {len(known)} stages were in the run cache")
    if not to_run:
        return []
    with _repo() as repo:
        return _tasks(repo, to_run, settings)


def _tasks(repo: Repo, stages: Sequence[Any], settings: Settings) -> list[Task]:
    if settings.shared:
        return [
            Task(name=s.addressing, command=s.cmd, threads=settings.threads, folder=Path.cwd())
            for s in stages
        ]
    inputs = {stage.addressing: list(_inputs(repo, [stage])) for stage in stages}
    repo.push(sorted({path for read in inputs.values() for path in read}))
    paths = [path for pattern in PROJECT for path in sorted(Path().glob(pattern)) if path.is_file()]
    project = {path.as_posix(): path.read_bytes() for path in paths}
    return [
        Task(
            name=stage.addressing,
            command=stage.cmd,
            threads=settings.threads,
            folder=OWN_FOLDER,
            project=project,
            inputs=inputs[stage.addressing],
            outputs=[out.def_path for out in stage.outs],
        )
        for stage in stages
    ]


def _commit(names: Iterable[str]) -> None:
    with _repo() as repo:
        for name in names:
            repo.commit(name, force=True)
