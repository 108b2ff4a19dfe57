"""Write numbers, their intervals, names from the data and tables of them."""

import html
import re
from collections.abc import Sequence

from shotcount.core.errors import printable

# What Markdown takes for markup in a line or a table; between letters it takes _ for a letter.
MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


def percent(fraction: float) -> str:
    """Write a fraction in percent.

    >>> percent(0.766)
    '76.6 %'
    """
    return f"{100 * fraction:.1f} %"


def counted(number: int | str, noun: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "angle"), counted(3, "angle")
    ('1 angle', '3 angles')
    """
    return f"{number} {noun}{'' if str(number) == '1' else 's'}"


def capitalised(text: str) -> str:
    """Begin with a capital, as a sentence does.

    >>> capitalised("macro F1")
    'Macro F1'
    """
    return text[:1].upper() + text[1:]


def markdown_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True
) -> str:
    """Lay out a table in Markdown: columns of numbers aligned on the right, or columns of words."""
    widths = [numbers * max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = [heads, ["-" * (width - 1) + ":" if numbers else "---" for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def range_in_percent(low: float, high: float) -> str:
    """Write a 95 % interval of a fraction.

    >>> range_in_percent(0.701, 0.832)
    '95 % interval 70.1 to 83.2'
    """
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f}"


def cell_in_percent(value: float, low: float, high: float) -> str:
    """Write a fraction and its interval for a table in percent.

    >>> cell_in_percent(0.766, 0.701, 0.832)
    '76.6 (70.1–83.2)'
    """
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def in_points(value: float, low: float, high: float) -> str:
    """Write a difference of fractions and its interval for a table in points.

    >>> in_points(0.016, -0.001, 0.035)
    '+1.6 (-0.1 to +3.5)'
    """
    first, *ends = (f"{round(100 * v, 1) + 0.0:+.1f}" for v in (value, low, high))  # never -0.0
    return f"{first} ({' to '.join(ends)})"


def plain_points(fraction: float) -> str:
    """Write a difference of fractions in points.

    >>> plain_points(0.03)
    '3.0 points'
    """
    return f"{100 * fraction:.1f} points"


def points(fraction: float) -> str:
    """Write a difference of fractions in points, with no more digits than it needs.

    >>> points(0.03), points(0.01), points(0.0153)
    ('3 points', '1 point', '1.5 points')
    """
    return counted(f"{round(100 * fraction, 1):g}", "point")


def listed(names: Sequence[str], most: int = 3) -> str:
    """List names, at most so many of them.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c", "d", "e"])
    ('a', 'a, b and c', 'a, b, c and 2 more')
    """
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def escaped(name: str) -> str:
    """Write a name from the data in Markdown: it may contain HTML, Markdown or line ends.

    >>> escaped("fishing_net"), escaped("a|b <i>")
    ('fishing_net', 'a&#124;b &lt;i&gt;')
    """
    return MARKUP.sub(
        lambda found: f"&#{ord(found[0])};", html.escape(printable(name), quote=False)
    )
