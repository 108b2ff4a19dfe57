"""Run a stage's script: one process at a time, an exit status, at most one error message."""

import errno
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from shotcount.core import files
from shotcount.core.errors import UserError, print_in_any_encoding

SECONDS = Path("data/seconds")  # how long each stage took: not a metric
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def run_stage(stage: Callable[[], None]) -> None:
    """Run `stage`; on an error that the user can fix, exit with status 2 and one message.

    A second process of the same stage is refused: both would write the same files.
    """
    print_in_any_encoding()
    name = "-".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    try:
        with files.alone(files.UNFINISHED / f"{name}.lock"):
            start = time.perf_counter()
            stage()
            files.write_text(SECONDS / name, f"{time.perf_counter() - start:.1f}\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        print(f"error: no room on the disk ({error}): free some and run again", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run again to resume", file=sys.stderr)
        sys.exit(130)


def recorded_seconds(runs: Iterable[str]) -> dict[str, float]:
    """Return how many seconds each run took when it last finished on this machine.

    Parameters
    ----------
    runs : iterable of str
        Script and arguments, joined by hyphens: "train-frozen-1.0-3". Runs without a record are
        left out, for example where DVC fetched the outputs.
    """
    return {
        run: float((SECONDS / run).read_text(encoding="utf-8"))
        for run in runs
        if (SECONDS / run).exists()
    }


def how_far(runs: Sequence[str]) -> str:
    """Return how many training runs there are, which one this is, and how long the rest takes.

    A run is done for this study if it finished after its strategy was tuned, if ever. The time
    of a run to come is that of its last time, or of the others of its strategy.

    Parameters
    ----------
    runs : sequence of str
        "train-<strategy>-...", as `core.study.training_runs` lists them.
    """
    seconds = recorded_seconds(runs)

    def is_done(run: str) -> bool:
        tuned = SECONDS / f"tune-{_strategy(run)}"
        return run in seconds and (
            not tuned.exists() or (SECONDS / run).stat().st_mtime > tuned.stat().st_mtime
        )

    waiting = [run for run in runs if not is_done(run)]
    times = []
    for run in waiting:
        alike = [took for name, took in seconds.items() if _strategy(name) == _strategy(run)]
        times.append(seconds.get(run, sum(alike) / len(alike) if alike else math.nan))
    cell = f"cell {len(runs) - len(waiting) + 1} of {len(runs)}"
    total = sum(times)
    return cell if math.isnan(total) else f"{cell}, about {math.ceil(total / 60)} min to go"


def time_taken(runs: Iterable[str]) -> str:
    """Return how many minutes the runs took, in all and by stage, when each last ran here."""
    seconds = pd.Series(recorded_seconds(runs), dtype=float)
    minutes = seconds.groupby(lambda run: run.split("-")[0]).sum().sort_values(ascending=False) / 60
    stages = ", ".join(f"{stage} {took:.1f}" for stage, took in minutes.items() if took > 0.05)
    return f"{minutes.sum():.1f} min when each stage last ran here: {stages}"


def _strategy(run: str) -> str:
    return run.split("-")[1]
