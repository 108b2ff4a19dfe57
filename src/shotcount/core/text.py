"""Print and sort the names of files, which may hold anything."""

import re


def printable(path: object) -> str:
    """Escape characters that would break a line or a terminal; file names may contain any."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that puts angle 2 before angle 10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]
