"""How a stage's script runs: alone, and ending with a status and at most one message."""

import errno
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from shotcount import files
from shotcount.errors import UserError

SECONDS = Path("data/seconds")  # how long each stage took: told in the report, in no metric
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def run_stage(stage: Callable[[], None]) -> None:
    """Run `stage`; exit with status 2 and one message if the user can mend what stopped it.

    Two processes of one stage would write into each other's files: the second one is refused.
    """
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
        print("interrupted: run again to go on", file=sys.stderr)
        sys.exit(130)


def recorded_seconds(runs: Iterable[str]) -> dict[str, float]:
    """Return the seconds that each of these runs took when it last came to its end on this machine.

    Parameters
    ----------
    runs : iterable of str
        Script and arguments, joined by hyphens: "train-frozen-1.0-3". What was never run here, as
        where DVC fetched the outputs, is left out.
    """
    return {
        run: float((SECONDS / run).read_text(encoding="utf-8"))
        for run in runs
        if (SECONDS / run).exists()
    }
