"""Run tasks on Ray."""

import logging
import os
import sys
from collections.abc import Collection, Sequence
from typing import Any

from shotcount.cluster.tasks import MISSING, Engine, Outcome, Task, perform
from shotcount.core.errors import UserError


class OnRay(Engine):
    """Ray: a node runs as many tasks at once as its CPUs and GPUs allow.

    Parameters
    ----------
    address : str
        A running cluster; "auto": the one on this machine; "local": start Ray here for this run.
    cpus : int
        CPUs for each task.
    gpus : float, optional
        GPUs for each task: 0.25 lets four tasks share one. By default 1 if the cluster has any.
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
