"""How a stage's script runs: alone, and ending with a status and at most one message."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

from shotcount import files
from shotcount.errors import UserError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def run_stage(stage: Callable[[], None]) -> None:
    """Run `stage`; exit with status 2 and one message if the user can mend what stopped it.

    Two processes of one stage would write into each other's files: the second one is refused.
    """
    name = "-".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    try:
        with files.alone(files.UNFINISHED / f"{name}.lock"):
            stage()
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
