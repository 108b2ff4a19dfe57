"""The command `shotcount cluster`: check the options, choose the engine."""

import argparse

from shotcount.cluster.run import run_cells
from shotcount.cluster.tasks import Engine, Options
from shotcount.core.errors import UserError


def run(given: argparse.Namespace) -> int:
    """Run the cells with the options of the command line."""
    _check(given)
    run_cells(
        Options(
            threads=given.cpus,
            jobs=given.jobs,
            retries=given.retries,
            shared=given.files != "remote",
            pull=given.pull,
        ),
        lambda: _engine(given),
    )
    return 0


def _check(given: argparse.Namespace) -> None:
    others = {"ray": ["minutes", "sbatch"], "slurm": ["address", "files"]}
    others["local"] = [*others["slurm"], "sbatch"]
    for option in others[given.on]:
        if getattr(given, option) is not None:
            raise UserError(f"--{option} is not for --on {given.on}: leave it out")
    if given.on != "ray" and (given.gpus or 0) % 1:
        raise UserError(f"--gpus {given.gpus:g}: a job gets whole GPUs; only Ray shares them")
    if bad := [option for option in given.sbatch or [] if "=" not in option]:
        raise UserError(f"--sbatch {bad[0]}: write it as OPTION=VALUE")


def _engine(given: argparse.Namespace) -> Engine:
    if given.on == "ray":
        from shotcount.cluster.on_ray import OnRay

        return OnRay(given.address or "local", given.cpus, given.gpus)
    from shotcount.cluster.on_submitit import OnSubmitit

    options = dict(option.split("=", 1) for option in given.sbatch or [])
    return OnSubmitit(given.on, given.cpus, int(given.gpus or 0), given.minutes or 60, options)
