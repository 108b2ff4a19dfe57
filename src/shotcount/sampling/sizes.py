"""The cells of a study: their sizes, names and folders."""

from itertools import product

import pandas as pd

from shotcount.core.errors import UserError
from shotcount.sampling.settings import StudySettings


def sample_count(size: int | float, available: int) -> int:
    """Return a size of `study.samples` as a count: a float is a fraction of those available.

    >>> sample_count(0.5, 120), sample_count(12, 120)
    (60, 12)
    """
    return size if isinstance(size, int) else max(1, round(size * available))


def cell_name(size: int | float, angles: int) -> str:
    """Name a cell's folder after its sizes as written in params.yaml.

    >>> cell_name(0.5, 10)
    '0.5x10'
    """
    return f"{size}x{angles}"


def further_cells(study: StudySettings) -> list[tuple[int | float, int]]:
    """List the sizes of study.frozen_grid that the grid of all strategies doesn't have."""
    shared = set(product(study.samples, study.angles))
    grid = study.frozen_grid
    return [size for size in product(grid.samples, grid.angles) if size not in shared]


def cell_folders(study: StudySettings, strategy: str) -> list[str]:
    """List the folders of a strategy's cells, relative to data/models/<strategy>."""
    names = [cell_name(*size) for size in product(study.samples, study.angles)]
    if strategy == "frozen":
        names += [f"grid/{cell_name(*size)}" for size in further_cells(study)]
    return names


def check_sizes(train: pd.DataFrame, study: StudySettings) -> None:
    """Refuse sizes that the training split can't fill.

    Raises
    ------
    UserError
        If there are such sizes; the message names each, and how much is available.
    """
    angles_of = train.groupby("sample").size()
    classes, available = train["label"].nunique(), len(angles_of)
    largest = max(sample_count(size, available) for size in study.samples)
    counts: dict[int, int | float] = {}
    faults = []
    for name, grid in (("study", study), ("study.frozen_grid", study.frozen_grid)):
        if absent := [str(angles) for angles in grid.angles if angles > angles_of.max()]:
            faults.append(
                f"{name}.angles: {', '.join(absent)} angles asked, but no training sample has more "
                f"than {angles_of.max()}: lower it or photograph more"
            )
        elif (most := max(grid.angles, default=0)) > max(study.angles):
            faults.append(
                f"{name}.angles: {most} goes beyond the largest of study.angles: add it there"
            )
        for size in grid.samples:
            count = sample_count(size, available)
            if not classes <= count <= available:
                faults.append(
                    f"{name}.samples: {size} means {count} training sample(s), but the sizes must "
                    f"lie between {classes} (one of each class) and {available} (all there are)"
                )
            # Frozen alone would have that size: nothing to compare with.
            elif count > largest:
                faults.append(
                    f"{name}.samples: {size} goes beyond the largest of study.samples: add it there"
                )
            elif counts.setdefault(count, size) != size:
                faults.append(
                    f"{name}.samples: {size} and {counts[count]} both mean {count} samples: list "
                    "each size once"
                )
    if faults:
        raise UserError("\n       ".join(faults))
