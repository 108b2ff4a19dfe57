"""What a user can mend is told in one message; anything else stays a traceback."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Names the file or parameter at fault and what would mend it."""


def run_stage(stage: Callable[[], None]) -> None:
    """Run `stage`; exit with status 2 and one message if the user's input is at fault."""
    try:
        stage()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
