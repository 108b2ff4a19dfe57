"""Check that the training split has enough samples and angles for the study."""

import pandas as pd

from shotcount.core.errors import UserError
from shotcount.core.study import StudySettings, sample_count


def check_sizes(train: pd.DataFrame, study: StudySettings) -> None:
    """Refuse sizes that the training splits (`core.tables.SPLIT`) can't fill.

    Raises
    ------
    UserError
        If there are such sizes; the message names each, and how much is available.
    """
    angles_of = train.groupby(["seed", "sample"]).size()
    most_angles = angles_of.groupby("seed").max().min()
    available = angles_of.groupby("seed").size().min()
    classes = train["label"].nunique()
    largest = max(sample_count(size, available) for size in study.samples)
    counts: dict[int, int | float] = {}
    faults = []
    for name, grid in (("study", study), ("study.frozen_grid", study.frozen_grid)):
        if absent := [str(angles) for angles in grid.angles if angles > most_angles]:
            faults.append(
                f"{name}.angles: {', '.join(absent)} angles asked, but no training sample has more "
                f"than {most_angles}: lower it or photograph more"
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
                    f"lie between {classes} (one for each class) and {available} (all there are)"
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
