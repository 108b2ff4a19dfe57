"""Errors that a user can fix, and text that is safe to print."""

import io
import sys


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


def print_in_any_encoding() -> None:
    """Escape what this process prints and its terminal or log can't show: é as \\xe9 in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
