"""Tell what a study is about."""

from collections.abc import Sequence
from pathlib import Path

from shotcount.core import tables
from shotcount.tasks.classes import ClassTask
from shotcount.tasks.task import Task

BOXES = Path("data/boxes")


def open_task(size: int, classes: Sequence[str] = ()) -> Task:
    """Return what the study is about: boxes if there are any in data/boxes, else classes.

    Parameters
    ----------
    size : int
        Of the photos, in px.
    classes : sequence of str
        Of photos; the classes of boxes are in data/boxes.
    """
    boxes = tables.read(BOXES, tables.BOXES)
    if not len(boxes):
        return ClassTask(classes)
    # Imported here: torchvision and timm take seconds to import, more than a head takes to solve.
    from shotcount.tasks.boxes import BoxTask

    return BoxTask(boxes, size)
