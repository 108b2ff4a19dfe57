"""Errors that a user can fix, and names that are safe to print in them."""


class UserError(Exception):
    """Its message names the file or parameter at fault and how to fix it.

    Any other exception is a bug and shows its traceback.
    """


def printable(path: object) -> str:
    """Escape characters that would break a line or a terminal; file names may contain any."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
