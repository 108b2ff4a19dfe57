"""What a user can mend is told in one message; anything else stays a traceback."""

import errno
import sys
from collections.abc import Callable

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UserError(Exception):
    """Names the file or parameter at fault and what would mend it."""


def run_stage(stage: Callable[[], None]) -> None:
    """Run `stage`; exit with status 2 and one message if the user can mend what stopped it."""
    try:
        stage()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        print(
            f"error: no room on the disk ({error}): free some and run again; finished work is kept",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: the next run goes on from here", file=sys.stderr)
        sys.exit(130)
