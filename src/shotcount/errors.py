"""What a user can mend is told in one message; anything else stays a traceback."""


class UserError(Exception):
    """Names the file or parameter at fault and what would mend it."""
