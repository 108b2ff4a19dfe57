"""What is wrong with detections: each kind of TIDE, on one photo, and what it costs."""

import numpy as np
import pandas as pd
import pytest
from test_detections import LABELS, OWN, made, value

from shotcount.core import tables
from shotcount.core.tables import BOXES
from shotcount.scoring.faults import COSTS, FAULTS, KINDS, fault_costs, find_faults
from shotcount.scoring.matching import match

TEST = pd.DataFrame({"seed": 3, "photo": [7, 8], "sample": ["a", "b"]})
THERE = [(7, "cap", 0, 0, 10, 10, False), (8, "net", 50, 0, 60, 10, False)]
FOUND = [("cap", 0.9, (0, 0, 10, 10)), ("net", 0.9, (50, 0, 60, 10))]


def judge(
    found: list[tuple], there: list[tuple] = THERE
) -> tuple[pd.DataFrame, dict[str, float], float]:
    """The faults, the costs that aren't 0, and AP50 of detections on the photos of `TEST`."""
    rows = [(3, 7 if box[0] < 45 else 8, "a", name, score, *box) for name, score, box in found]
    own = pd.DataFrame(rows, columns=OWN), pd.DataFrame(there, columns=list(BOXES)), TEST
    faults = find_faults(*own, LABELS)
    costs = fault_costs(*own, LABELS, faults)
    assert list(faults) == list(FAULTS) and list(costs) == list(COSTS)
    assert tuple(costs["kind"]) == KINDS
    assert dict(costs.set_index("kind")["faults"]) == {
        kind: (faults["kind"] == kind).sum() for kind in KINDS
    }
    lost = costs[costs["ap50_lost"] != 0].set_index("kind")["ap50_lost"]
    return faults, dict(lost), value(match(*own, LABELS), "ap50")


def test_what_is_right_has_no_fault() -> None:
    faults, lost, ap50 = judge(FOUND)
    assert (len(faults), lost, ap50) == (0, {}, pytest.approx(1))


@pytest.mark.parametrize(
    ("found", "kind", "label", "iou", "lost"),
    [
        (FOUND[:1], "missed", "net", 0, 0),
        ([*FOUND, ("net", 0.95, (0, 30, 10, 40))], "invented", "", 0, 0.25),
        ([FOUND[0], ("bottle", 0.9, (50, 0, 60, 10))], "wrong class", "net", 1, 0.5),
        ([FOUND[0], ("net", 0.9, (50, 0, 54, 10))], "badly placed", "net", 0.4, 0.5),
        ([*FOUND, ("cap", 0.95, (48, 0, 52, 10))], "wrong class and badly placed", "net", 1 / 6,
         0.25),
        ([*FOUND, ("net", 0.8, (50, 0, 60, 9))], "doubled", "net", 0.9, 0),
    ],
)  # fmt: skip
def test_each_kind_is_told_and_costs_what_ap50_lacks(
    found: list[tuple], kind: str, label: str, iou: float, lost: float
) -> None:
    faults, costs, ap50 = judge(found)
    (fault,) = faults.itertuples()
    assert (fault.seed, fault.kind, fault.label) == (3, kind, label)
    assert fault.iou == pytest.approx(iou)
    assert costs == pytest.approx({kind: lost} if lost else {})
    if kind == "missed":
        assert (fault.photo, fault.predicted, fault.score) == (8, "", 0)
        assert (fault.left, fault.right) == (50, 60)
    else:
        assert (fault.predicted, fault.score, *fault[7:11]) == (found[-1][0], *found[-1][1:2],
                                                                 *found[-1][2])  # fmt: skip
    if lost:
        assert ap50 + lost == pytest.approx(1)


def test_missed_objects_cost_their_share_of_the_class() -> None:
    there = [*THERE, (7, "cap", 30, 0, 40, 10, False)]
    _, lost, ap50 = judge(FOUND, there)
    assert lost == {"missed": pytest.approx(1 - ap50)}
    assert ap50 == pytest.approx((51 / 101 + 1) / 2)


def test_a_class_of_which_every_object_is_missed_stays_in_the_mean() -> None:
    _, lost, ap50 = judge(FOUND[:1])
    assert (lost, ap50) == ({}, pytest.approx(0.5))


def test_of_two_that_could_be_mended_to_one_object_only_the_best_becomes_right() -> None:
    bad = [("net", 0.9, (50, 0, 54, 10)), ("net", 0.8, (50, 0, 53, 10))]
    faults, lost, _ = judge([FOUND[0], *bad])
    assert list(faults["kind"]) == ["badly placed"] * 2
    assert list(faults["score"]) == [0.9, 0.8]
    assert lost == {"badly placed": pytest.approx(0.5)}
    # The object is found already: what is mended vanishes.
    faults, lost, ap50 = judge([*FOUND, ("net", 0.95, (50, 0, 54, 10))])
    assert list(faults["kind"]) == ["badly placed"]
    assert lost == {"badly placed": pytest.approx(1 - ap50)}


def test_ignored_objects_are_no_faults() -> None:
    there = [*THERE, (7, "cap", 20, 0, 40, 40, True), (8, "bottle", 70, 0, 90, 40, True)]
    faults, _, _ = judge([*FOUND, ("cap", 0.95, (20, 0, 25, 5))], there)
    assert not len(faults)
    faults, _, _ = judge([*FOUND, ("cap", 0.95, (70, 0, 90, 40))], there)
    assert list(faults["kind"]) == ["invented"]  # no object of its class to be ignored


def test_every_wrong_detection_and_every_missed_object_is_one_fault(tmp_path) -> None:
    detections, boxes, test = made(np.random.default_rng(0), scenes=20, seeds=3, folds=3)
    detections.loc[::7, "label"] = "net"
    faults = find_faults(detections, boxes, test, LABELS)
    costs = fault_costs(detections, boxes, test, LABELS, faults)
    assert set(faults["kind"]) == set(KINDS)
    hit = match(detections, boxes, test, LABELS).hit[:, 0]
    assert (faults["kind"] != "missed").sum() == np.count_nonzero(hit == 0)
    assert (costs["ap50_lost"] >= 0).all()
    missed = faults[faults["kind"] == "missed"]
    found = np.count_nonzero(hit == 1)
    assert len(missed) <= np.count_nonzero(~boxes["ignored"]) - found
    ranked = faults.groupby("kind", sort=False)["score"]
    assert all(own.is_monotonic_decreasing for _, own in ranked)
    for name, table, columns in (("faults", faults, FAULTS), ("costs", costs, COSTS)):
        tables.write(tmp_path / name, table, columns)
        assert len(tables.read(tmp_path / name, columns)) == len(table)
