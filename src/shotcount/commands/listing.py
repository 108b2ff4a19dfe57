"""Counts and lists in a sentence, shortened where they are long."""

from collections.abc import Sequence

import pandas as pd

from shotcount.core.errors import printable
from shotcount.core.tables import of_seed

SHOWN = 5  # examples of each kind, at most


def some(names: Sequence[object] | pd.Series, count: int | None = None) -> str:
    """Write the first names, and how many more there are (of `count`, if given)."""
    more = (count or len(names)) - SHOWN
    shown = ", ".join(printable(name) for name in names[:SHOWN])
    return f"{shown} and {more:,} more" if more > 0 else shown


def many(count: int, one: str, several: str = "") -> str:
    """Write a count with its noun: 1 photo, 2 photos, 1,200 boxes."""
    plural = several or (f"{one}es" if one.endswith("x") else f"{one}s")
    return f"{count:,} {one if count == 1 else plural}"


def parts_of_split(parts: dict[str, pd.DataFrame]) -> list[str]:
    """Count what the first seed trains, validates and tests on; `parts` are of `split_samples`."""
    lines = ["", "split by sample, for the first seed (not saved):"]
    for name, every in parts.items():
        part = of_seed(every, 0)
        classes = part.drop_duplicates("sample")["label"].value_counts(sort=False)
        each = some([f"{label} {count:,}" for label, count in classes.items()])
        lines.append(
            f"  {name}: {part['sample'].nunique():,} samples ({each}), {len(part):,} photos"
        )
    return lines
