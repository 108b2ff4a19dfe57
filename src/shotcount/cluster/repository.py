"""Ask DVC what is out of date, and record what was made."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.stage.cache import RunCacheNotFoundError

from shotcount.cluster.tasks import Options, Task
from shotcount.core.errors import UserError

PHASES = (("tune",), ("train", "train_grid"), ("evaluate", "refit"))  # each needs those before it
# What a node with its own folder needs besides the inputs that DVC fetches. All sources, since they
# are part of the key of unfinished work.
PROJECT = (
    "dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", "stages/*.py", "src/shotcount/**/*.py",
)  # fmt: skip
OWN_FOLDER = Path("shotcount-cells")  # on such a node, below the folder where its Ray was started


@contextmanager
def open_repo() -> Iterator[Repo]:
    """Open DVC's repository; its errors become UserErrors."""
    try:
        # Like the option --wait-for-lock: a `dvc push` at the same time must not stop the cells.
        with Repo(_wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"DVC: {error}") from None


def run_dvc(*arguments: str) -> None:
    """Run a dvc command in a process of its own."""
    ended = subprocess.run([sys.executable, "-m", "dvc", "--wait-for-lock", *arguments])
    if ended.returncode:
        raise UserError(f"dvc {' '.join(arguments)} failed: fix what it names above and run again")


def stages_of(repo: Repo, names: Iterable[str]) -> list[Any]:
    """List the stages with these names; a matrix stage stands for all its cells."""
    return [stage for name in names for stage in repo.stage.collect(name)]


def inputs_of(repo: Repo, stages: Iterable[Any]) -> dict[str, str]:
    """Return the inputs of the stages that other stages make: path → name of that stage."""
    read = {Path(dep.fs_path) for stage in stages for dep in stage.deps}
    made = {Path(out.fs_path): out.stage.addressing for out in repo.index.outs}
    return {
        path.relative_to(repo.root_dir).as_posix(): stage
        for path, stage in made.items()
        if any(path.is_relative_to(dep) or dep.is_relative_to(path) for dep in read)
    }


def out_of_date(phase: Sequence[str], options: Options) -> list[Task]:
    """Return the stages of a phase that must run.

    Like `dvc repro`, this removes their old outputs and restores those that the run cache has.
    """
    with open_repo() as repo, lock_repo(repo):
        stale = repo.status(list(phase))
        stages = [stage for stage in stages_of(repo, phase) if stage.addressing in stale]
        if options.pull and stages:
            repo.stage_cache.pull(None)
        to_run = []
        for stage in stages:
            stage.remove_outs()
            try:
                repo.stage_cache.restore(stage, pull=options.pull)
            except RunCacheNotFoundError:
                to_run.append(stage)
        known = [stage.addressing for stage in stages if stage not in to_run]
    commit(known)
    if known:
        print(f"{phase[0]}: {len(known)} stages were in the run cache")
    if not to_run:
        return []
    with open_repo() as repo:
        return _tasks(repo, to_run, options)


def _tasks(repo: Repo, stages: Sequence[Any], options: Options) -> list[Task]:
    if options.shared:
        return [
            Task(name=s.addressing, command=s.cmd, threads=options.threads, folder=Path.cwd())
            for s in stages
        ]
    inputs = {stage.addressing: list(inputs_of(repo, [stage])) for stage in stages}
    repo.push(sorted({path for read in inputs.values() for path in read}))
    paths = [path for pattern in PROJECT for path in sorted(Path().glob(pattern)) if path.is_file()]
    project = {path.as_posix(): path.read_bytes() for path in paths}
    return [
        Task(
            name=stage.addressing,
            command=stage.cmd,
            threads=options.threads,
            folder=OWN_FOLDER,
            project=project,
            inputs=inputs[stage.addressing],
            outputs=[out.def_path for out in stage.outs],
        )
        for stage in stages
    ]


def commit(names: Iterable[str]) -> None:
    """Record the outputs of these stages in dvc.lock and in DVC's cache."""
    with open_repo() as repo:
        for name in names:
            repo.commit(name, force=True)
