"""What is wrong with detections, by kind, and how much average precision each kind costs."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from shotcount.core.tables import CORNERS, Table
from shotcount.scoring.detections import average_precision
from shotcount.scoring.matching import (
    THRESHOLDS,
    Found,
    There,
    assign,
    collect,
    found_in,
    objects_in,
    overlaps,
)

TOUCHING = 0.1  # IoU below which a detection has nothing to do with an object
MISSED, INVENTED, WRONG_CLASS, BADLY_PLACED, BOTH, DOUBLED = KINDS = (
    "missed",
    "invented",  # where there is no object
    "wrong class",
    "badly placed",
    "wrong class and badly placed",
    "doubled",  # a further detection of an object
)
FAULTS: Table = {
    "seed": "int64",
    "photo": "int64",
    "kind": "str",  # of KINDS
    "label": "str",  # of the object; empty: invented
    "predicted": "str",  # empty: missed
    "score": "float64",  # of the detection; 0: missed
    "left": "float64",  # px, of the detection; of what was missed, the object's
    "top": "float64",
    "right": "float64",
    "bottom": "float64",
    "iou": "float64",  # with the object; 0 if there is none, or no detection
}
COSTS: Table = {
    "kind": "str",
    "faults": "int64",  # of all seeds; in a study, only of detections above the chosen confidence
    "ap50_lost": "float64",  # by how much AP50 would be higher without them
}


class _Judged(NamedTuple):
    """Each detection's kind of fault, and the object that it has to do with."""

    kind: np.ndarray  # (detections,) str; empty: right, or ignored
    object: np.ndarray  # (detections,) int; -1: none
    iou: np.ndarray  # (detections,) float64
    taken: np.ndarray  # (detections,) int: the object that it was matched to; -1: none
    missed: np.ndarray  # (objects,) bool


def find_faults(
    detections: pd.DataFrame, boxes: pd.DataFrame, test: pd.DataFrame, labels: list[str]
) -> pd.DataFrame:
    """Find what is wrong with the detections of one cell.

    The kinds are those of TIDE, at an IoU of 0.5 (Bolya, Foley, Hays and Hoffman, "TIDE: a general
    toolbox for identifying object detection errors", ECCV 2020).

    Parameters
    ----------
    detections, boxes, test, labels
        As for `matching.match`, with its error. To see the faults at a confidence, give the
        detections above it.

    Returns
    -------
    DataFrame
        The columns of `FAULTS`: by kind, highest score first.
    """
    found, there, test = _arrays(detections, boxes, test, labels)
    return _table(found, there, _judge(found, there, len(labels)), test, labels)


def fault_costs(
    detections: pd.DataFrame,
    boxes: pd.DataFrame,
    test: pd.DataFrame,
    labels: list[str],
    faults: pd.DataFrame,
) -> pd.DataFrame:
    """Return what each kind of fault costs, and how many there are.

    What a kind costs is how much higher AP50 would be if its faults alone were mended: those of
    class or place become right unless another detection has their object; other detections vanish,
    and missed objects are not asked for (TIDE, as in `find_faults`). Costs don't add up to what
    AP50 lacks. Those of class and of place can be above the toolbox's, which mends an object's best
    detection of either kind.

    Parameters
    ----------
    detections, boxes, test, labels
        As for `find_faults`; the costs are AP50's only if all detections are given.
    faults : DataFrame
        Those to count: the columns of `FAULTS`.

    Returns
    -------
    DataFrame
        The columns of `COSTS`: a row for each of `KINDS`.
    """
    found, there, test = _arrays(detections, boxes, test, labels)
    lost = _lost(found, there, _judge(found, there, len(labels)), test, labels)
    counts = faults["kind"].value_counts()
    rows = [(kind, int(counts.get(kind, 0)), lost[kind]) for kind in KINDS]
    return pd.DataFrame(rows, columns=list(COSTS))


def _arrays(
    detections: pd.DataFrame, boxes: pd.DataFrame, test: pd.DataFrame, labels: list[str]
) -> tuple[Found, There, pd.DataFrame]:
    test = test.sort_values(["seed", "photo"], ignore_index=True)
    return found_in(detections, test, labels), objects_in(boxes, test, labels), test


def _judge(found: Found, there: There, classes: int) -> _Judged:
    taken = assign(found, there, classes)[:, 0]
    which, what, iou = overlaps(
        (found.image, found.corners), (there.image, there.corners), there.ignored, TOUCHING
    )
    counted = ~there.ignored[what] & (taken[which] < 0)
    which, what, iou = which[counted], what[counted], iou[counted]
    same = found.named[which] == there.named[what]

    def nearest(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        best, at = np.zeros(len(taken)), np.full(len(taken), -1)
        order = np.argsort(iou[pairs], kind="stable")  # the last one that is written stays
        best[which[pairs][order]], at[which[pairs][order]] = iou[pairs][order], what[pairs][order]
        return best, at

    (own, own_at), (other, other_at) = nearest(same), nearest(~same)
    # The first that holds, in TIDE's order.
    holds = {
        "": taken >= 0,
        BADLY_PLACED: (own_at >= 0) & (own < THRESHOLDS[0]),
        WRONG_CLASS: other >= THRESHOLDS[0],
        DOUBLED: own_at >= 0,
        BOTH: other_at >= 0,
    }
    kind = np.select(list(holds.values()), list(holds), INVENTED)
    by_own = np.isin(kind, (BADLY_PLACED, DOUBLED))
    at = np.where(by_own, own_at, np.where(np.isin(kind, (WRONG_CLASS, BOTH)), other_at, -1))
    missed = ~there.ignored
    missed[taken[taken >= 0]] = False
    missed[at[np.isin(kind, (BADLY_PLACED, WRONG_CLASS))]] = False
    return _Judged(kind, at, np.where(at < 0, 0, np.where(by_own, own, other)), taken, missed)


def _table(
    found: Found, there: There, judged: _Judged, test: pd.DataFrame, labels: list[str]
) -> pd.DataFrame:
    """Return the columns of `FAULTS`."""
    wrong, names = np.flatnonzero(judged.kind != ""), np.array([*labels, ""], object)
    missed = np.flatnonzero(judged.missed)
    image = np.append(found.image[wrong], there.image[missed])
    at = judged.object[wrong]
    label = np.where(at < 0, -1, np.append(there.named, -1)[at])
    corners = np.vstack([found.corners[wrong], there.corners[missed]])
    none = np.zeros(len(missed))
    faults = pd.DataFrame(
        {
            "seed": test["seed"].to_numpy()[image],
            "photo": test["photo"].to_numpy()[image],
            "kind": np.append(judged.kind[wrong], np.full(len(missed), MISSED)),
            "label": names[np.append(label, there.named[missed])],
            "predicted": np.append(names[found.named[wrong]], np.full(len(missed), "")),
            "score": np.append(found.score[wrong], none),
            **dict(zip(CORNERS, corners.T, strict=True)),
            "iou": np.append(judged.iou[wrong], none),
        }
    )
    faults["place"] = faults["kind"].map(KINDS.index)
    order = ["place", "score", "photo", "seed"]
    faults = faults.sort_values(order, ascending=[True, False, True, True], kind="stable")
    return faults.drop(columns="place").reset_index(drop=True).astype(FAULTS)


def _lost(
    found: Found, there: There, judged: _Judged, test: pd.DataFrame, labels: list[str]
) -> dict[str, float]:
    """Return by how much AP50 rises if the faults of a kind alone are mended, for each kind."""

    def ap50(named: np.ndarray, hit: np.ndarray, ignored: np.ndarray) -> np.ndarray:
        matches = collect(
            found._replace(named=named),
            there._replace(ignored=ignored),
            hit[:, None].astype(np.int8),
            test,
            labels,
        )
        once = np.ones((matches.samples, 1)), np.ones((1, matches.seeds))
        return average_precision(matches, range(1))(*once)[:, 0]

    hit = np.append(np.where(there.ignored, -1, 1), 0)[judged.taken]
    now = ap50(found.named, hit, there.ignored)
    free = np.append(~there.ignored, False)
    free[judged.taken[judged.taken >= 0]] = False
    lost = {}
    for kind in KINDS:
        own = judged.kind == kind
        named, mended, ignored = found.named, np.where(own, -1, hit), there.ignored
        if kind == MISSED:
            ignored = ignored | judged.missed
        elif kind in (WRONG_CLASS, BADLY_PLACED):
            # The best of those that have the same free object becomes right.
            order = np.flatnonzero(own & free[judged.object])
            order = order[np.argsort(-found.score[order], kind="stable")]
            best = order[np.unique(judged.object[order], return_index=True)[1]]
            mended[best] = 1
            named = named.copy()
            named[best] = there.named[judged.object[best]]
        # A class of which nothing is asked any more stays in the mean, as 0.
        then = np.nan_to_num(ap50(named, mended, ignored))
        lost[kind] = float(np.mean((then - now)[~np.isnan(now)]))
    return lost
