"""How the speed report writes numbers, tables and sections."""

import math
import textwrap
from collections.abc import Sequence

from shotcount.uncertainty.writing import markdown_table


def number(value: float) -> str:
    """Write three significant digits, larger numbers whole: 1,234, 56.8, 0.0123. NaN is blank."""
    return "" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Write a time that may be long: 42.3 s, 10 min, 2.5 h. NaN is blank."""
    unit, name = (1, "s") if seconds < 120 else (60, "min") if seconds < 7200 else (3600, "h")
    return "" if math.isnan(seconds) else f"{number(seconds / unit)} {name}"


def table(rows: Sequence[dict[str, str]]) -> str:
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows])


def section(title: str, text: str, *tables: str) -> str:
    return "\n\n".join([f"## {title}", textwrap.fill(" ".join(text.split()), 100), *tables]) + "\n"
