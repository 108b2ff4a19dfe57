"""Run tasks as SLURM jobs, or as processes of this machine."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shotcount.cluster.tasks import MISSING, Engine, Outcome, Task, perform
from shotcount.core import files
from shotcount.core.errors import UserError

JOBS = files.UNFINISHED / "jobs"  # submitit's own files, and the output of each job


class OnSubmitit(Engine):
    """SLURM jobs, or processes of this machine that behave like them: one job per task.

    Parameters
    ----------
    cluster : {"slurm", "local"}
    cpus, gpus : int
        CPUs and GPUs for each job.
    minutes : int
        Time limit of a job; it is then requeued and resumes.
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
            # A requeued job resumes, so it may be requeued as often as needed.
            requeues = {f"{cluster}_max_num_timeout": 1000}
            self._executor = submitit.AutoExecutor(JOBS, cluster=cluster, **requeues)
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

        return DelayedSubmission(self, task)  # the stage has saved its own progress
