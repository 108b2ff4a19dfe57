"""Errors that the user can mend. Anything else stays a traceback."""


class UserError(Exception):
    """Names the file or parameter at fault and what would mend it."""
