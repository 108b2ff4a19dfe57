"""Where the grid's tasks run: on Ray, on SLURM, or in processes of this machine."""

import ctypes
import io
import logging
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

from shotcount import files
from shotcount.errors import UserError

JOBS = files.UNFINISHED / "jobs"  # what submitit keeps, and the output of each job
MISSING = "pip install -r requirements-cluster.txt"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One stage, to be run anywhere."""

    name: str  # as DVC addresses it: train@scratch-0.5-1
    command: str
    folder: Path  # where it runs; a relative one is the node's own, below where its Ray was started
    threads: int
    # Only for a node's own folder:
    project: Mapping[str, bytes] = field(default_factory=dict)  # code, parameters, DVC's files
    inputs: Sequence[str] = ()  # what DVC has to fetch
    outputs: Sequence[str] = ()  # what to hand back


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended."""

    status: int  # of its command
    said: str  # the last lines
    node: str
    seconds: float = 0.0
    made: bytes = b""  # its outputs, as a tar file, if they are in a node's own folder


class Engine(Protocol):
    """Starts tasks and tells how they end. A handle stands for a task that was started."""

    limit: int | None  # how many to start at once; None: all, the engine lets them wait
    description: str

    def start(self, task: Task) -> Any:
        """Hand a task over and return its handle."""

    def wait(self, handles: Sequence[Any]) -> Collection[Any]:
        """Return those of the handles whose tasks have ended, after the first one has."""

    def outcome(self, handle: Any) -> Outcome | str:
        """Return how an ended task has ended, or why its worker died."""

    def stop(self) -> None:
        """End whatever still runs."""


def perform(task: Task) -> Outcome:
    """Run a task on this node, to its end."""
    start, made = time.perf_counter(), b""
    try:
        folder = _prepare(task)
        status, said = _execute(task, folder)
        if status == 0 and not task.folder.is_absolute():
            made = _pack(folder, task.outputs)
    except UserError as error:
        status, said = 2, f"error: {error}\n"
    except OSError as error:  # this node's disk or mount: it may pass, or not be another node's
        status, said = 1, f"{error}\n"
    seconds = time.perf_counter() - start
    return Outcome(status=status, said=said, node=platform.node(), seconds=seconds, made=made)


def _execute(task: Task, folder: Path) -> tuple[int, str]:
    """Run the command; return its status, and the last that it said."""
    # The programs that this one runs with, and the folder's own sources, come first.
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
    """Return the folder to run in, with all there that the task needs."""
    if task.folder.is_absolute():
        if not (task.folder / "dvc.yaml").exists():
            raise UserError(
                f"{platform.node()} doesn't see {task.folder}: share that folder with every node, "
                "or give --files remote"
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
                # Whole paths: DVC takes others to be relative to where this process works.
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
    # Ray and SLURM kill the worker alone. A stage that outlived it would hold its lock, and the
    # next attempt would be refused.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# ---- Ray ----------------------------------------------------------------------------


class OnRay(Engine):
    """Ray: many tasks to a node, as many as its CPUs and GPUs allow.

    Parameters
    ----------
    address : str
        Of a running cluster; "auto": this machine's; "local": start Ray here, for this run.
    cpus : int
        For each task.
    gpus : float, optional
        For each task: 0.25 lets four share one. By default 1 where there are any.
    """

    limit = None

    def __init__(self, address: str, cpus: int, gpus: float | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        if not sys.stdout.isatty():
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")
        try:
            import ray
        except ImportError:
            raise UserError(f"--on ray: Ray isn't installed: {MISSING}") from None
        self._ray = ray
        try:
            ray.init(address=address, logging_level=logging.WARNING)
        except (ConnectionError, ValueError) as error:
            raise UserError(f"--address {address}: no Ray cluster answers: {error}") from None
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has = {kind: [int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU")}
        gpus = min(1, max(has["GPU"])) if gpus is None else gpus
        for option, kind, asked in (("--cpus", "CPU", cpus), ("--gpus", "GPU", gpus)):
            if asked > max(has[kind]):
                self.stop()
                raise UserError(
                    f"{option} {asked:g}: no node of the cluster has more than {max(has[kind])}"
                )
        self._perform = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(perform)
        self.description = (
            f"Ray, nodes: {len(nodes)}, CPUs: {sum(has['CPU'])}, GPUs: {sum(has['GPU'])}; "
            f"each task {cpus} CPUs, {gpus:g} GPUs"
        )

    def start(self, task: Task) -> Any:
        return self._perform.options(name=task.name).remote(task)

    def wait(self, handles: Sequence[Any]) -> Collection[Any]:
        ended, _ = self._ray.wait(list(handles))
        return list(ended)

    def outcome(self, handle: Any) -> Outcome | str:
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayError as error:
            return str(error)

    def stop(self) -> None:
        self._ray.shutdown()


# ---- SLURM --------------------------------------------------------------------------


class OnSubmitit(Engine):
    """SLURM, or processes of this machine that behave as its jobs do: one job a task.

    Parameters
    ----------
    cluster : {"slurm", "local"}
    cpus, gpus : int
        For each job.
    minutes : int
        That a job may take until it is requeued, to go on where it was.
    options : mapping
        Further options of sbatch: {"partition": "gpu"}.
    """

    def __init__(
        self, cluster: str, cpus: int, gpus: int, minutes: int, options: Mapping[str, str]
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError(f"--on {cluster}: submitit isn't installed: {MISSING}") from None
        try:
            # A requeued job goes on where it was, so as often as need be.
            often = {f"{cluster}_max_num_timeout": 1000}
            self._executor = submitit.AutoExecutor(JOBS, cluster=cluster, **often)
        except RuntimeError as error:
            raise UserError(f"--on {cluster}: {error}") from None
        self._executor.update_parameters(
            name="shotcount",
            cpus_per_task=cpus,
            gpus_per_node=gpus,
            timeout_min=minutes,
            slurm_additional_parameters=dict(options),
        )
        self._jobs: list[Any] = []
        self.limit = None if cluster == "slurm" else max(1, (os.cpu_count() or 1) // cpus)
        self.description = f"{cluster}; each job {cpus} CPUs, {gpus} GPUs, {minutes} minutes"

    def start(self, task: Task) -> Any:
        job = self._executor.submit(_Requeueable(), task)
        self._jobs.append(job)
        return job

    def wait(self, handles: Sequence[Any]) -> Collection[Any]:
        while not (ended := [job for job in handles if job.done()]):
            time.sleep(0.5)
        return ended

    def outcome(self, handle: Any) -> Outcome | str:
        import submitit

        try:
            return handle.result()
        except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError) as e:
            return str(e)

    def stop(self) -> None:
        for job in self._jobs:
            if not job.done():
                job.cancel()


class _Requeueable:
    """A task for submitit, which calls `checkpoint` when the job is about to be stopped."""

    def __call__(self, task: Task) -> Outcome:
        return perform(task)

    def checkpoint(self, task: Task) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, task)  # the stage itself has saved where it stands
