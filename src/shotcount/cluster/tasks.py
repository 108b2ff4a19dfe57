"""A stage as a task: what an engine starts, how a node runs it, how it ended."""

import ctypes
import io
import os
import platform
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from shotcount.core.errors import UserError

MISSING = "pip install -r requirements-cluster.txt"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run the cells, whatever the engine."""

    threads: int  # for each task
    jobs: int | None  # tasks at once; None: as many as the engine takes
    retries: int  # further attempts at a task whose command or worker died
    shared: bool  # whether every node sees this folder
    pull: bool  # whether to take finished work from the DVC remote, too


@dataclass(frozen=True, kw_only=True)
class Task:
    """One stage, to be run anywhere."""

    name: str  # as DVC addresses it: train@scratch-0.5-1
    command: str
    folder: Path  # where it runs; a relative path is the node's own, below where Ray was started
    threads: int
    # Only for a node's own folder:
    project: Mapping[str, bytes] = field(default_factory=dict)  # code, parameters, DVC's files
    inputs: Sequence[str] = ()  # fetched by DVC
    outputs: Sequence[str] = ()  # sent back


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended."""

    status: int  # exit status of its command
    said: str  # the last lines of its output
    node: str
    seconds: float = 0.0
    made: bytes = b""  # its outputs as a tar file, if the folder is the node's own


class Engine(Protocol):
    """Starts tasks and says how they ended. A handle stands for a started task."""

    limit: int | None  # tasks to start at once; None: all, the engine queues them
    description: str

    def start(self, task: Task) -> Any:
        """Start a task and return its handle."""

    def wait(self, handles: Sequence[Any]) -> Collection[Any]:
        """Wait until a task ends; return the handles of all that have ended."""

    def outcome(self, handle: Any) -> Outcome | str:
        """Return how a task ended, or why its worker died."""

    def stop(self) -> None:
        """Stop all running tasks."""


def perform(task: Task) -> Outcome:
    """Run a task on this node."""
    start, made = time.perf_counter(), b""
    try:
        folder = _prepare(task)
        status, said = _execute(task, folder)
        if status == 0 and not task.folder.is_absolute():
            made = _pack(folder, task.outputs)
    except UserError as error:
        status, said = 2, f"error: {error}\n"
    except OSError as error:  # this node's disk or mount: another attempt may succeed
        status, said = 1, f"{error}\n"
    seconds = time.perf_counter() - start
    return Outcome(status=status, said=said, node=platform.node(), seconds=seconds, made=made)


def _execute(task: Task, folder: Path) -> tuple[int, str]:
    """Run the command; return its exit status and the last lines of its output."""
    # This interpreter's programs, and the folder's own sources, come first.
    paths = {"PATH": Path(sys.executable).parent, "PYTHONPATH": folder / "src"}
    joined = {name: f"{path}{os.pathsep}{os.environ.get(name, '')}" for name, path in paths.items()}
    process = subprocess.Popen(
        shlex.split(task.command),
        cwd=folder,
        env=os.environ | joined | {"OMP_NUM_THREADS": str(task.threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_die_with_parent,
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=30)
    for line in process.stdout:
        print(line, end="", flush=True)
        last.append(line)
    return process.wait(), "".join(last)


def _prepare(task: Task) -> Path:
    """Return the folder to run in, after everything that the task needs is there."""
    if task.folder.is_absolute():
        if not (task.folder / "dvc.yaml").exists():
            raise UserError(
                f"{platform.node()} doesn't see {task.folder}: share that folder with every node, "
                "or use --files remote"
            )
        return task.folder

    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    folder = task.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # several tasks share the folder
        for name, content in task.project.items():
            path = folder / name
            if not path.exists() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        try:
            with Repo(str(folder), config={"core": {"no_scm": True}}) as repo:
                # Absolute paths: DVC reads others as relative to this process's folder.
                repo.pull([str(folder / name) for name in task.inputs], force=True)
        except DvcException as error:
            raise UserError(
                f"{platform.node()} can't fetch the inputs from the DVC remote: {error}"
            ) from None
    return folder


def _pack(folder: Path, outputs: Sequence[str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in outputs:
            tar.add(folder / name, name)
    return packed.getvalue()


_libc = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    # Ray and SLURM kill only the worker. A stage that survived it would hold its lock and block
    # the next attempt.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
