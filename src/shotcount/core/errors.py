"""The error that a user can fix. Any other exception shows its traceback."""


class UserError(Exception):
    """Its message names the file or parameter at fault and how to fix it."""
