"""Which detections are right: matched to the objects of their photo as COCO does it."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from shotcount.core.errors import UserError
from shotcount.core.tables import CORNERS
from shotcount.scoring.predictions import class_indices
from shotcount.scoring.tallies import Tested

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU: the floats that COCO compares with
MOST = 100  # detections of a photo and class that count
PAIRS = 2**20  # of boxes, compared at once


@dataclass(frozen=True)
class Matches(Tested):
    """What the seeds of a cell detected, and which of it is right.

    An image is a photo that a seed tested; images are in the order of seeds and photos. Detections
    are in the order of images, and within an image the highest score first. So a stable sort by
    score leaves ties in COCO's order.
    """

    labels: list[str]
    seed: np.ndarray  # (images,) int
    sample: np.ndarray  # (images,) int, in ascending order of the names
    photo: np.ndarray  # (images,) int
    objects: sparse.csr_array  # (images, classes) objects that are not ignored
    image: np.ndarray  # (detections,) int
    named: np.ndarray  # (detections,) int, the class
    score: np.ndarray  # (detections,) float64
    hit: np.ndarray  # (detections, thresholds) int8: 1 right, 0 wrong, -1 ignored

    @property
    def classes(self) -> int:
        return len(self.labels)

    def samples_by_class(self) -> np.ndarray:
        """Return the number of test samples that hold each class: ndarray (classes,), int."""
        image, named = self.objects.nonzero()
        held = np.unique(self.sample[image].astype(np.int64) * self.classes + named)
        return np.bincount(held % self.classes, minlength=self.classes)

    @property
    def objects_a_photo(self) -> float:
        """How many objects a photo has on average; ignored ones don't count."""
        return float(self.objects.sum() / len(self.photo))

    def guess(self) -> "Matches":
        """Return what can be detected without a look at the photos: nothing."""
        return self.only(np.zeros(len(self.image), bool))

    def only(self, kept: np.ndarray) -> "Matches":
        """Return some of the detections: `kept` is bool, (detections,)."""
        columns = ("image", "named", "score", "hit")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    def of_class(self, named: int) -> "Matches":
        """Return the detections and objects of one class."""
        own = self.only(self.named == named)
        return replace(
            own,
            labels=[self.labels[named]],
            objects=self.objects[:, [named]],
            named=np.zeros_like(own.named),
        )


def match(
    detections: pd.DataFrame, boxes: pd.DataFrame, test: pd.DataFrame, labels: list[str]
) -> Matches:
    """Match the detections of one cell to the objects of the photos, as COCO does.

    In each image and class, detections choose in the order of their scores: the object with the
    highest IoU that is still free, at each threshold of the IoU. Ignored objects are taken last,
    and as often as it comes, and what takes them counts neither as right nor as wrong (Lin et al.,
    "Microsoft COCO: common objects in context", ECCV 2014; pycocotools). Of each image and class,
    the `MOST` detections with the highest scores count.

    Parameters
    ----------
    detections : DataFrame
        With the columns `DETECTIONS` of scoring.detections, except for the cell's.
    boxes : DataFrame
        With the columns `BOXES` of core.tables.
    test : DataFrame
        seed, photo and sample of each photo that a seed tested.
    labels : list of str
        The classes. Boxes of other classes are left out.

    Raises
    ------
    UserError
        If a seed detected something in a photo that it did not test.
    """
    test = test.sort_values(["seed", "photo"], ignore_index=True)
    found, there = found_in(detections, test, labels), objects_in(boxes, test, labels)
    taken = assign(found, there, len(labels))
    hit = np.append(np.where(there.ignored, -1, 1), 0)[taken]  # taken is -1: the last, 0
    return collect(found, there, hit.astype(np.int8), test, labels)


class Found(NamedTuple):
    """Detections, as arrays of equal length."""

    image: np.ndarray  # (detections,) int: row of the test photos
    named: np.ndarray  # (detections,) int
    score: np.ndarray  # (detections,) float64
    corners: np.ndarray  # (detections, 4) float64: left, top, right, bottom


class There(NamedTuple):
    """The objects of all images, as arrays of equal length."""

    image: np.ndarray  # (objects,) int
    named: np.ndarray  # (objects,) int
    ignored: np.ndarray  # (objects,) bool
    corners: np.ndarray  # (objects, 4) float64


def found_in(detections: pd.DataFrame, test: pd.DataFrame, labels: list[str]) -> Found:
    """Return the detections that count, in the order of images, classes and scores.

    For the parameters and the error see `match`.
    """
    images = pd.MultiIndex.from_frame(test[["seed", "photo"]])
    image = images.get_indexer(pd.MultiIndex.from_frame(detections[["seed", "photo"]]))
    named = class_indices(detections["label"], labels)
    if (lost := np.minimum(image, named) < 0).any():
        first = detections[lost].iloc[0]
        raise UserError(
            f"data/evaluation: seed {first['seed']} detected {first['label']!r} in photo "
            f"{first['photo']}, but did not test the photo or knows no such class: remove "
            "data/evaluation and run `dvc repro`"
        )
    score, corners = detections["score"].to_numpy(), detections[CORNERS].to_numpy(np.float64)
    order = np.lexsort((-score, named, image))
    order = order[rank_in((image * len(labels) + named)[order]) < MOST]
    return Found(image[order], named[order], score[order], corners[order])


def objects_in(boxes: pd.DataFrame, test: pd.DataFrame, labels: list[str]) -> There:
    """Return the objects of all images; for the parameters see `match`."""
    own = boxes[boxes["label"].isin(labels)]
    images = test[["photo"]].assign(image=np.arange(len(test)))
    own = images.merge(own, on="photo").sort_values("image", kind="stable")
    return There(
        own["image"].to_numpy(),
        class_indices(own["label"], labels),
        own["ignored"].to_numpy(dtype=bool),
        own[CORNERS].to_numpy(np.float64),
    )


def collect(
    found: Found, there: There, hit: np.ndarray, test: pd.DataFrame, labels: list[str]
) -> Matches:
    """Return the matches of a cell, given what is right: `hit` (detections, thresholds), int8.

    `test` is in the order of seeds and photos, as for `found_in`.
    """
    order = np.lexsort((-found.score, found.image))
    counted = ~there.ignored
    places = there.image[counted], there.named[counted]
    ones = np.ones(np.count_nonzero(counted), np.int64)
    return Matches(
        labels=labels,
        seed=_small(pd.factorize(test["seed"], sort=True)[0]),
        sample=_small(pd.factorize(test["sample"], sort=True)[0]),
        photo=test["photo"].to_numpy(),
        objects=sparse.csr_array((ones, places), shape=(len(test), len(labels))),
        image=_small(found.image[order]),
        named=_small(found.named[order]),
        score=found.score[order],
        hit=hit[order],
    )


def assign(found: Found, there: There, classes: int) -> np.ndarray:
    """Return the object that each detection takes: ndarray (detections, thresholds), or -1.

    `found` is in the order of `found_in`.
    """
    key = found.image * classes + found.named
    which, what, iou = overlaps(
        (key, found.corners),
        (there.image * classes + there.named, there.corners),
        there.ignored,
        THRESHOLDS[0],
    )
    rank = rank_in(key)[which]
    # For each detection the objects that it prefers first; of equal ones COCO takes the last.
    order = np.lexsort((-what, -iou, there.ignored[what], which, rank))
    which, what, iou, rank = which[order], what[order], iou[order], rank[order]
    free = np.ones((len(there.image), len(THRESHOLDS)), bool)
    assigned = np.full((len(key), len(THRESHOLDS)), -1)
    # Detections of one rank are of different images or classes: they can't want the same object.
    starts = np.flatnonzero(np.diff(rank, prepend=-1))
    for start, end in pairwise(np.append(starts, len(rank))):
        objects, pairs = what[start:end], np.arange(end - start)
        possible = (iou[start:end, None] >= THRESHOLDS) & free[objects]
        place = np.where(possible, pairs[:, None], len(pairs))
        own, first = np.unique(which[start:end], return_index=True)
        best = np.minimum.reduceat(place, first, axis=0)  # (detections of the rank, thresholds)
        row, threshold = np.nonzero(best < len(pairs))
        chosen = objects[best[row, threshold]]
        assigned[own[row], threshold] = chosen
        free[chosen, threshold] = there.ignored[chosen]
    return assigned


def overlaps(
    found: tuple[np.ndarray, np.ndarray],
    there: tuple[np.ndarray, np.ndarray],
    ignored: np.ndarray,
    least: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of a detection and an object whose keys are equal and whose IoU suffices.

    Parameters
    ----------
    found, there : tuple of ndarray
        Keys (boxes,), int, and corners (boxes, 4) in px of detections and objects.
    ignored : ndarray of shape (objects,), bool
        The IoU with these is the share of the detection that they cover, as with COCO's crowd.
    least : float
        The least IoU.

    Returns
    -------
    which, what : ndarray of shape (pairs,), int
        Detection and object, in the order of the detections.
    iou : ndarray of shape (pairs,), float64
    """
    order = np.argsort(there[0], kind="stable")
    first = np.searchsorted(there[0][order], found[0])
    count = np.searchsorted(there[0][order], found[0], side="right") - first
    before = np.cumsum(count) - count  # pairs of the detections before
    kept = []
    # Some detections at a time: all pairs may not fit into memory.
    cuts = np.searchsorted(before, np.arange(PAIRS, count.sum(), PAIRS))
    done = 0
    for own in np.split(np.arange(len(count)), cuts):
        which = np.repeat(own, count[own])
        pair = np.arange(done, done := done + len(which))
        what = order[first[which] + pair - before[which]]
        iou = _iou(found[1][which], there[1][what], ignored[what])
        enough = iou >= least
        kept.append((which[enough], what[enough], iou[enough]))
    which, what, iou = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return which, what, iou


def _iou(found: np.ndarray, there: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Return the intersection over the union, or where ignored over the detection: (pairs,)."""
    sides = np.minimum(found[:, 2:], there[:, 2:]) - np.maximum(found[:, :2], there[:, :2])
    both = sides.clip(min=0).prod(axis=1)
    own, other = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (found, there))
    of = np.where(ignored, own, own + other - both)
    return np.divide(both, of, out=np.zeros_like(both), where=both > 0)


def rank_in(group: np.ndarray) -> np.ndarray:
    """Return the place of each entry in its group; equal entries of `group` lie together."""
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))


def _small(indices: np.ndarray) -> np.ndarray:
    """Return indices as int32: the matches of all cells are held at once."""
    return indices.astype(np.int32)
