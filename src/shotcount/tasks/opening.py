"""Tell what a study is about."""

from collections.abc import Sequence

import pandas as pd

from shotcount.core.tables import is_detection
from shotcount.tasks.classes import ClassTask
from shotcount.tasks.task import Task


def open_task(boxes: pd.DataFrame, size: int, classes: Sequence[str] = ()) -> Task:
    """Return what the study is about: boxes if there are any, else classes.

    Parameters
    ----------
    boxes : DataFrame
        With the columns `BOXES` of core.tables.
    size : int
        Of the photos, in px.
    classes : sequence of str
        Of photos; those of boxes are in `boxes`.
    """
    if not is_detection(boxes):
        return ClassTask(classes)
    # Imported here: torchvision and timm take seconds to import, more than a head takes to solve.
    from shotcount.tasks.boxes import BoxTask

    return BoxTask(boxes, size)
